"""Simulated processes: they can be killed before or after anything that others could notice, and are started again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from crossdock.prove.faults import Cut, Kill, Pause, Plan, PoolExhausted
from crossdock.prove.history import Deed
from crossdock.prove.virtual_time import VirtualLoop

RESTARTS_MAX: Final = 50


@dataclass(slots=True)
class Slot:
    """A process that is always started again. `moments` counts, over all its lives, each time that something left it or
    reached it: faults are planned by that count."""

    name: str
    loop: VirtualLoop
    deeds: list[Deed]
    kills: list[Kill] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    exhaustions: list[PoolExhausted] = field(default_factory=list)
    moments: int = 0
    lives: int = 0
    current: Process | None = None

    def note(self, nemesis: str, what: str) -> None:
        self.deeds.append(Deed(round(self.loop.time(), 3), nemesis, f"{self.name} {what}"))


def make_slot(name: str, loop: VirtualLoop, deeds: list[Deed], plan: Plan) -> Slot:
    return Slot(
        name, loop, deeds, plan.kills(name), plan.pauses(name), plan.cuts(name), plan.exhaustions(name)
    )  # fmt: skip


class Process:
    """One life of a slot."""

    def __init__(self, slot: Slot) -> None:
        slot.lives += 1
        slot.current = self
        self.slot = slot
        self.name = f"{slot.name}.{slot.lives}"
        self.alive = True
        self._still_until = 0.0
        self._without_pool_until = 0.0
        self.died: asyncio.Future[Kill] = asyncio.get_running_loop().create_future()

    async def wait_for_pool(self) -> None:
        """Wait while all connections of the process's pool are taken."""
        slot = self.slot
        for exhausted in list(slot.exhaustions):
            if slot.moments >= exhausted.moment:
                slot.exhaustions.remove(exhausted)
                self._without_pool_until = slot.loop.time() + exhausted.seconds
                slot.note("pool_exhausted", f"gets no database connection for {exhausted.seconds} s")
        rest_seconds = self._without_pool_until - slot.loop.time()
        if self.alive and rest_seconds > 0:
            await asyncio.sleep(rest_seconds)

    async def stand_still(self) -> None:
        """Wait while the process is paused. Only where it holds nothing that others wait for."""
        loop = asyncio.get_running_loop()
        for pause in list(self.slot.pauses):
            if self.slot.moments >= pause.moment and self.alive:
                self.slot.pauses.remove(pause)
                self._still_until = loop.time() + pause.seconds
                self.slot.note("pause", f"stands still for {pause.seconds} s")
        rest_seconds = self._still_until - loop.time()
        if self.alive and rest_seconds > 0:
            await asyncio.sleep(rest_seconds)

    def is_cut(self, *, after_commit: bool) -> bool:
        """Whether the process loses its database connection now."""
        for cut in self.slot.cuts:
            if self.slot.moments >= cut.moment and cut.after_commit == after_commit:
                self.slot.cuts.remove(cut)
                self.slot.note("cut", "loses the database " + ("after a commit" if after_commit else "in the middle"))
                return True
        return False

    async def reach(self) -> None:
        """A moment at which the process may be killed: it then never comes back from here."""
        if self.alive:
            self.slot.moments += 1
            for kill in self.slot.kills:
                if kill.moment == self.slot.moments:
                    self.alive = False
                    self.slot.note("kill", f"dies at its moment {kill.moment}")
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
