"""The door that many wait at: shared batches, and everyone is told how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from crossdock.engine.batching import WAITING_MAX, BatchDoor, Refusals
from crossdock.model.errors import Conflict, Defect, Unavailable

REFUSALS = Refusals(("door_full", "Too many wait."), "We stop.", "Nothing was kept.")


class Desk:
    """Decides batches when it is let: `open` holds them until then."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.batches: list[list[int]] = []
        self.begun = asyncio.Semaphore(0)

    async def decide(self, asked: list[int]) -> Sequence[str | Exception]:
        self.batches.append(asked)
        self.begun.release()
        await self.open.wait()
        if 13 in asked:
            raise Defect("thirteen", "This cannot be written.")
        if 99 in asked:
            raise asyncpg.DataError("This cannot be kept.")
        if 503 in asked:
            raise ConnectionResetError("gone")
        return [Conflict("taken", "It is taken.") if number == 409 else f"answer {number}" for number in asked]


def open_door(desk: Desk, size: int = 10, at_once: int = 1) -> BatchDoor[int, str]:
    return BatchDoor("door", desk.decide, REFUSALS, size=size, at_once=at_once)


async def _ask(door: BatchDoor[int, str], *numbers: int) -> list[str | BaseException]:
    return await asyncio.gather(*(door.ask(number) for number in numbers), return_exceptions=True)


async def test_those_who_come_while_a_batch_is_committed_share_the_next() -> None:
    desk = Desk()
    desk.open.clear()
    async with open_door(desk, size=3) as door:
        first = asyncio.create_task(_ask(door, 0))
        await desk.begun.acquire()
        others = asyncio.create_task(_ask(door, 1, 2, 3, 4))
        await asyncio.sleep(0)
        desk.open.set()
        assert await first == ["answer 0"]
        assert await others == ["answer 1", "answer 2", "answer 3", "answer 4"]
    assert desk.batches == [[0], [1, 2, 3], [4]]


async def test_a_second_batch_does_not_wait_for_the_first() -> None:
    desk = Desk()
    desk.open.clear()
    async with open_door(desk, at_once=2) as door:
        first = asyncio.create_task(_ask(door, 0))
        await desk.begun.acquire()
        second = asyncio.create_task(_ask(door, 1))
        await desk.begun.acquire()
        desk.open.set()
        assert [await first, await second] == [["answer 0"], ["answer 1"]]


@pytest.mark.parametrize(("bad", "code"), [(13, "thirteen"), (99, "database_unavailable")])
async def test_what_cannot_be_kept_fails_alone(bad: int, code: str) -> None:
    async with open_door(Desk()) as door:
        answers = await _ask(door, 1, bad, 2)
    assert (answers[0], answers[2]) == ("answer 1", "answer 2")
    assert isinstance(answers[1], Defect | Unavailable)
    assert answers[1].code == code


async def test_each_may_have_an_error_of_its_own() -> None:
    async with open_door(Desk()) as door:
        answers = await _ask(door, 1, 409)
    assert answers[0] == "answer 1"
    assert isinstance(answers[1], Conflict)


async def test_without_the_database_everyone_is_asked_to_come_again() -> None:
    async with open_door(Desk()) as door:
        answers = await _ask(door, 1, 503)
        assert [getattr(answer, "code", "") for answer in answers] == ["database_unavailable"] * 2
        assert await door.ask(2) == "answer 2", "and the door goes on"


async def test_too_many_are_refused_at_once() -> None:
    desk = Desk()
    desk.open.clear()
    async with open_door(desk, size=1) as door:
        first = asyncio.create_task(door.ask(0))
        await desk.begun.acquire()
        waiting = [asyncio.create_task(door.ask(number)) for number in range(WAITING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await door.ask(1)
        assert refused.value.code == "door_full"
    await asyncio.gather(first, *waiting, return_exceptions=True)


async def test_who_waits_when_it_stops_is_told() -> None:
    desk = Desk()
    desk.open.clear()
    async with open_door(desk, size=1) as door:
        asked = [asyncio.create_task(door.ask(number)) for number in (1, 2)]
        await desk.begun.acquire()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [getattr(answer, "code", "") for answer in answers] == ["stopping", "stopping"]
