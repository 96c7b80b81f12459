"""Crossdock's whole order path, as `bench.order_path` measures it: five-line business orders through intake, with
price, credit, reservation and plan; five steps at null partners that write down what came; completion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import uvloop

from bench.peers.saga import Acknowledged, PartnerLog, arguments, serve
from bench.world import make_arrivals, open_bench_world
from crossdock.kit.connector import Call, Done
from tests.integration.engine.bench_world import SERVICE, Partner, World, open_partners

FIRST_LETTERS = len("B-")
PLACES = {step.operation: place for place, step in enumerate(SERVICE.steps)}


@dataclass
class WritingPartner(Partner):
    """A null partner whose log is the file that all engines' partners write."""

    file: PartnerLog | None = None

    async def perform_many(self, client: Any, calls: Sequence[Call]) -> list[Done]:
        assert self.file is not None
        self.file.write([
            (int(call.order.channel_number[FIRST_LETTERS:]), PLACES[call.operation]) for call in calls
        ])  # fmt: skip
        return [self._answer(call) for call in calls]


class CrossdockPath:
    batch = 1
    lanes = 600
    waits = False

    def __init__(self, address: str, log: PartnerLog) -> None:
        self._address, self._log = address, log
        self._stack = AsyncExitStack()
        self._world: World | None = None
        self._worker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        opened = await self._stack.enter_async_context(open_bench_world(self._address))
        partners: dict[str, Partner] = {name: WritingPartner(file=self._log) for name in opened.partners}
        self._world = replace(opened, partners=partners, connections=open_partners(partners, batch=True))
        self._worker = asyncio.create_task(self._world.make_worker("bench").run())

    async def accept(self, numbers: Sequence[int]) -> None:
        assert self._world is not None
        for number in numbers:
            answer = await self._world.intake.place(make_arrivals(number, 1)[0])
            if answer.acknowledgment is None or answer.acknowledgment.state != "accepted":
                raise RuntimeError(f"not accepted: {answer}")

    async def finish(self, number: int) -> None:
        raise NotImplementedError

    async def completed(self) -> int:
        assert self._world is not None
        return int(await self._world.pool.fetchval("SELECT count(*) FROM order_progress WHERE state = 'completed'"))

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        await self._stack.aclose()


async def main() -> None:
    address, directory, _ = arguments()
    log = PartnerLog(directory)
    await serve(CrossdockPath(address, log), log, Acknowledged(directory))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
