"""An event loop whose time passes only when nothing else can happen, so that a run depends on its seed alone.

Whatever is ready runs first, in its order; then the database is asked what somebody waits for, as long as it takes and
without time passing; only then does time jump to the next timer. Timers are moved by a little chance, which is how a
seed chooses who comes first.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import selectors
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVarTuple, Unpack

Arguments = TypeVarTuple("Arguments")
EPOCH: Final = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
JITTER_SECONDS: Final = 0.002
ANSWER_SECONDS_MAX: Final = 60.0


class StalledError(Exception):
    """Nothing is ready, nothing is outstanding and no timer is set: the simulation would wait for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`outstanding` counts what is waited for in real time: the network, while a connection is opened or closed."""

    def __init__(self, chance: random.Random) -> None:
        self.outstanding = 0
        self._asked: list[Callable[[], None]] = []
        self._virtual_seconds = 0.0
        self._chance = chance
        super().__init__(_PatientSelector(self))

    def time(self) -> float:
        return self._virtual_seconds

    def now(self) -> datetime:
        """The simulated clock of every process."""
        return EPOCH + timedelta(microseconds=round(self._virtual_seconds * 1_000_000))

    def advance(self, seconds: float) -> None:
        self._virtual_seconds += seconds

    def ask(self, work: Callable[[], None]) -> None:
        """Do something in real time once nothing is ready; no virtual time passes meanwhile."""
        self._asked.append(work)

    def answer(self) -> bool:
        """Do the first of what was asked; False when nothing was."""
        if not self._asked:
            return False
        self._asked.pop(0)()
        return True

    def begin_again(self) -> None:
        """Time from the beginning, for the next run; nothing of the last one may be left."""
        self._virtual_seconds = 0.0

    def call_at(
        self, when: float, callback: Callable[[Unpack[Arguments]], object], *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:  # fmt: skip
        moved = when + self._chance.random() * JITTER_SECONDS if when > self._virtual_seconds else when
        return super().call_at(moved, callback, *args, context=context)


class _PatientSelector(selectors.BaseSelector):
    """Looks at the network only when no callback is ready: an answer that came early is not seen early."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if (timeout is not None and timeout <= 0) or self._loop.answer():
            return []
        if self._loop.outstanding:
            ready = self._real.select(ANSWER_SECONDS_MAX)
            if not ready:
                raise StalledError("The database does not answer.")
            return ready
        if timeout is None:
            raise StalledError("Everybody waits for somebody else.")
        self._loop.advance(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()
