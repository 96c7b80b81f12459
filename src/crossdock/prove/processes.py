"""Simulated processes: they can be killed before or after anything that others could notice, and are started again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from crossdock.prove.faults import Cut, Kill, Pause

RESTARTS_MAX: Final = 50


@dataclass(slots=True)
class Slot:
    """A process that is always started again. `moments` counts, over all its lives, each time that something left it or
    reached it: kills are planned by that count."""

    name: str
    kills: list[Kill]
    pauses: list[Pause] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    paused: int = 0
    cut: int = 0
    moments: int = 0
    lives: int = 0
    deaths: list[int] = field(default_factory=list)
    current: Process | None = None


class Process:
    """One life of a slot."""

    def __init__(self, slot: Slot) -> None:
        slot.lives += 1
        slot.current = self
        self.slot = slot
        self.name = f"{slot.name}.{slot.lives}"
        self.alive = True
        self._still_until = 0.0
        self.died: asyncio.Future[Kill] = asyncio.get_running_loop().create_future()

    async def stand_still(self) -> None:
        """Wait while the process is paused. Only where it holds nothing that others wait for."""
        loop = asyncio.get_running_loop()
        for pause in list(self.slot.pauses):
            if self.slot.moments >= pause.moment and self.alive:
                self.slot.pauses.remove(pause)
                self._still_until = loop.time() + pause.seconds
                self.slot.paused += 1
        rest_seconds = self._still_until - loop.time()
        if self.alive and rest_seconds > 0:
            await asyncio.sleep(rest_seconds)

    def is_cut(self, *, after_commit: bool) -> bool:
        """Whether the process loses its database connection now."""
        for cut in self.slot.cuts:
            if self.slot.moments >= cut.moment and cut.after_commit == after_commit:
                self.slot.cuts.remove(cut)
                self.slot.cut += 1
                return True
        return False

    async def reach(self) -> None:
        """A moment at which the process may be killed: it then never comes back from here."""
        if self.alive:
            self.slot.moments += 1
            for kill in self.slot.kills:
                if kill.moment == self.slot.moments:
                    self.alive = False
                    self.slot.deaths.append(kill.moment)
                    self.died.set_result(kill)
        if not self.alive:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # It is being buried: what it still tries while it is taken down reaches nobody.
                raise ConnectionResetError("This simulated process is dead.")
            await asyncio.get_running_loop().create_future()


class Burial(Protocol):
    """Takes a dead process's hold off what it shared with others."""

    async def __call__(self, process: Process) -> None: ...


async def keep_running(slot: Slot, work: Callable[[Process], Awaitable[None]], bury: Burial) -> None:
    """Run a slot's work, life after life, until cancelled. What the work itself raises is raised."""
    for _ in range(RESTARTS_MAX):
        process = Process(slot)
        task = asyncio.ensure_future(work(process))
        try:
            watched: list[asyncio.Future[Any]] = [task, process.died]
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        if not process.died.done():
            await task
            return
        await bury(process)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(process.died.result().down_seconds)


def count_kills(slots: Sequence[Slot]) -> int:
    return sum(len(slot.deaths) for slot in slots)
