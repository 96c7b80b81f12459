"""The door that many may wait at: what arrives while a batch is being committed forms the next batch.

An idle system answers one alone in one commit, a busy one shares each commit among up to `size`. A few batches may be
under way at once, so that the database works on one while the next is decided. Each who waits is told how it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Self, TypeVar

import asyncpg

from crossdock.model.errors import Defect, Unavailable

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
WAITING_MAX: Final = 5000
DATABASE_LOST: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


@dataclass(frozen=True, slots=True)
class Refusals:
    """What those who wait are told when they cannot be answered: too many wait, we stop, the database is away."""

    full: tuple[str, str]
    stopping: str
    database_away: str


class BatchDoor(Generic[Asked, Answered]):
    """`decide` answers a batch, each with its answer or its own error, and has committed it when it returns. Start it
    with `async with`."""

    def __init__(
        self, name: str, decide: Callable[[list[Asked]], Awaitable[Sequence[Answered | Exception]]],
        refusals: Refusals, *, size: int, at_once: int = 1,
    ) -> None:  # fmt: skip
        self._name = name
        self._decide = decide
        self._refusals = refusals
        self._size = size
        self._at_once = at_once
        self._queue: asyncio.Queue[tuple[Asked, asyncio.Future[Answered]]] = asyncio.Queue(maxsize=WAITING_MAX)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run(), name=self._name) for _ in range(self._at_once)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self._queue.empty():
            _fail([self._queue.get_nowait()[1]], Unavailable("stopping", self._refusals.stopping))

    async def ask(self, asked: Asked) -> Answered:
        """The answer, committed. Raises Unavailable, and what `decide` has against this one."""
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((asked, future))
        except asyncio.QueueFull:
            raise Unavailable(*self._refusals.full, retry_after_seconds=1) from None
        return await future

    async def _run(self) -> None:
        while True:
            waiting = [await self._queue.get()]
            while len(waiting) < self._size and not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            await self._answer(waiting)

    async def _answer(self, waiting: list[tuple[Asked, asyncio.Future[Answered]]]) -> None:
        futures = [future for _, future in waiting]
        try:
            answers = await self._decide([asked for asked, _ in waiting])
        except asyncio.CancelledError:
            _fail(futures, Unavailable("stopping", self._refusals.stopping))
            raise
        except (asyncpg.DataError, Defect) as error:
            # One of them holds something that cannot be kept, or cannot be written as it was decided: the others must
            # not fail with it.
            if len(waiting) > 1:
                for one in waiting:
                    await self._answer([one])
            else:
                _fail(futures, error if isinstance(error, Defect) else self._database_away(error))
        except DATABASE_LOST as error:
            _fail(futures, self._database_away(error))
        except Exception as error:  # noqa: BLE001 - one batch must not take the door down: each caller is told
            _fail(futures, error)
        else:
            for future, answer in zip(futures, answers, strict=True):
                if isinstance(answer, Exception):
                    _fail([future], answer)
                elif not future.done():
                    future.set_result(answer)

    def _database_away(self, error: BaseException) -> Unavailable:
        return Unavailable(
            "database_unavailable", self._refusals.database_away, detail=str(error), retry_after_seconds=1
        )


def _fail(futures: Sequence[asyncio.Future[Any]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
