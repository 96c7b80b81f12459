"""The clock of a process: the database's time, carried on by the process's own monotonic clock.

Leases, due times and the partner's time to settle are written by one process and read by another. Would each go by its
host's clock, one that jumps would claim what another still works on, and ask a partner before it has settled: what it
then sends again takes effect twice. So nobody reads his host's clock. Where the database's own clock moves, everybody
follows slowly, so that a second still passes in about a second; only who is far off (a host that was asleep) is set.

Who starts while others still follow begins where they are: their signs of life are dated by the time that they share.
So does who gave none himself for a while: another may have started meanwhile and found nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import structlog

from crossdock.engine.ports import Clock
from crossdock.ledger.database import Queries

SLEW: Final = 0.02
"""So much faster or slower than time a clock may run while it follows. Who learns of a jump later than another, because
he stood still, is apart from him by this part of the time between: fifteen seconds make 0.3 s."""
APART_SECONDS_MAX: Final = 0.4
"""A wait for a partner's sake (it asked for one, or must settle) is written by one process and ended by another, whose
clock may be so much ahead while both follow: it is waited for as well."""
FAR_OFF_SECONDS: Final = 600.0
FOLLOW_SECONDS: Final = 5.0
READINGS: Final = 3
PEER_SECONDS: Final = 2.5
"""So long a sign of life is waited for: two beats of whoever is alive, and a little."""
SILENT_SECONDS: Final = 2.0
"""Who gave no sign of life for so long looks where his peers are before he goes on. A starter waits longer for one."""
LOOK_SECONDS: Final = 0.05
AGREEING_SECONDS: Final = 0.25
"""Who is no further off goes by the database too: a sign of life is on its way for a while."""
_SQL: Final = Queries.load("clock")
_log: Final = structlog.get_logger("crossdock.engine.clock")

Source = Any
"""A pool or a connection of it; whoever holds a connection asks by that one, for there may be no other."""
Monotonic = Callable[[], float]


async def read_time(source: Source) -> datetime:
    """The database's time."""
    told: datetime = await source.fetchval(_SQL["read_time"])
    return told


async def read_beats(source: Source) -> Mapping[str, datetime]:
    """The last sign of life of each process that is known."""
    return {row["process"]: row["seen_at"] for row in await source.fetch(_SQL["read_beats"])}


@dataclass(frozen=True, slots=True)
class Readings:
    """What a clock goes by; simulations have their own."""

    time_of: Callable[[Source], Awaitable[datetime]] = read_time
    beats_of: Callable[[Source], Awaitable[Mapping[str, datetime]]] = read_beats
    monotonic: Monotonic = time.monotonic


class SharedClock:
    """Call it for the time. It never goes back, but for one that was far off."""

    def __init__(self, start: datetime, readings: Readings = Readings()) -> None:
        self._readings = readings
        self._monotonic = readings.monotonic
        self._looked_at = self._heard_at = self._monotonic()
        self._ahead_seconds = start.timestamp() - self._looked_at
        self._wanted_ahead_seconds = self._ahead_seconds
        self._joining = asyncio.Lock()

    def __call__(self) -> datetime:
        now = self._monotonic()
        most = (now - self._looked_at) * SLEW
        missing = self._wanted_ahead_seconds - self._ahead_seconds
        self._ahead_seconds += min(max(missing, -most), most)
        self._looked_at = now
        return datetime.fromtimestamp(now + self._ahead_seconds, UTC)

    def follow(self, told: datetime, asked_at: float, answered_at: float) -> None:
        """Take in what the database said between two moments of the monotonic clock.

        An answer says between which bounds the database's time lies: one that took long says little, and none that
        agrees with what is known changes anything.
        """
        self()
        least, most = told.timestamp() - answered_at, told.timestamp() - asked_at
        self._wanted_ahead_seconds = min(max(self._wanted_ahead_seconds, least), most)
        off_seconds = self._wanted_ahead_seconds - self._ahead_seconds
        if abs(off_seconds) > FAR_OFF_SECONDS:
            _log.warning("clock_set", seconds=round(off_seconds, 3))
            self._ahead_seconds = self._wanted_ahead_seconds

    async def keep_following(self, source: Source) -> None:
        """Ask the database every few seconds until cancelled; while it is away, go on alone."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            asked_at = self._monotonic()
            try:
                told = await self._readings.time_of(source)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                continue
            self.follow(told, asked_at, self._monotonic())

    @asynccontextmanager
    async def sign_of_life(self, source: Source) -> AsyncIterator[None]:
        """One is written while the block runs. It dates from before: nobody can have seen an older one last."""
        await self.join_after_silence(source)
        given_at = self._monotonic()
        yield
        self._heard_at = given_at

    async def join_after_silence(self, source: Source) -> None:
        """At once if a sign of life was given a moment ago. Otherwise be set to where the peers are, also back."""
        if self._monotonic() - self._heard_at < SILENT_SECONDS:
            return
        async with self._joining:
            if self._monotonic() - self._heard_at < SILENT_SECONDS:
                return
            database_ahead = await _ahead_of(source, self._readings)
            self()
            # Who is where the database is has missed nothing: neither has anybody who started meanwhile.
            if abs(self._ahead_seconds - database_ahead) > AGREEING_SECONDS:
                before = self._ahead_seconds
                self._ahead_seconds = await _find_peers(source, self._readings, database_ahead)
                self._looked_at = self._monotonic()
                _log.warning("clock_joins_peers", seconds=round(self._ahead_seconds - before, 3), after="silence")
            self._wanted_ahead_seconds = database_ahead
            self._heard_at = self._monotonic()


async def in_step(clock: Clock, source: Source) -> None:
    """To be asked before a process claims, judges others' leases, records, or gives a sign of life: by a time that it
    alone still goes by, it would call partners that asked another to wait, or that have not settled."""
    if isinstance(clock, SharedClock):
        await clock.join_after_silence(source)


@asynccontextmanager
async def sign_of_life(clock: Clock, source: Source) -> AsyncIterator[None]:
    """A sign of life is written while the block runs, dated by the time that all share."""
    async with clock.sign_of_life(source) if isinstance(clock, SharedClock) else nullcontext():
        yield


async def open_clock(source: Source, readings: Readings = Readings(), *, has_peers: bool = True) -> SharedClock:
    """The clock of a process that starts: where its peers are, else at the database's time. A command that ends in a
    moment looks for no peers."""
    ahead_seconds = database_ahead = await _ahead_of(source, readings)
    if has_peers:
        ahead_seconds = await _find_peers(source, readings, database_ahead)
    if ahead_seconds != database_ahead:
        _log.info("clock_joins_peers", seconds=round(ahead_seconds - database_ahead, 3), after="start")
    clock = SharedClock(datetime.fromtimestamp(readings.monotonic() + ahead_seconds, UTC), readings)
    told_at = readings.monotonic()
    clock.follow(datetime.fromtimestamp(told_at + database_ahead, UTC), told_at, told_at)
    return clock


async def _ahead_of(source: Source, readings: Readings) -> float:
    """How far the database is ahead of the monotonic clock, by a few answers."""
    least, most = float("-inf"), float("inf")
    for _ in range(READINGS):
        asked_at = readings.monotonic()
        told = (await readings.time_of(source)).timestamp()
        low, high = told - readings.monotonic(), told - asked_at
        # An answer that contradicts those before it: the database's clock has jumped meanwhile.
        agrees = low <= most and high >= least
        least, most = (max(least, low), min(most, high)) if agrees else (low, high)
    return (least + most) / 2


async def _find_peers(source: Source, readings: Readings, database_ahead: float) -> float:
    """How far those are ahead of the monotonic clock who give a sign of life now; the database, if nobody does."""
    looked_at = readings.monotonic()
    known = await readings.beats_of(source)
    now = looked_at + database_ahead
    # Without a peer there is nobody to wait for. Who is still further off is set to the database's time himself.
    if all(abs(seen_at.timestamp() - now) > FAR_OFF_SECONDS for seen_at in known.values()):
        return database_ahead
    ends = looked_at + PEER_SECONDS
    while looked_at < ends:
        await asyncio.sleep(LOOK_SECONDS)
        asked_at = readings.monotonic()
        beats = await readings.beats_of(source)
        fresh = [seen_at for name, seen_at in beats.items() if known.get(name) != seen_at]
        if fresh:
            # It was given between the look before and this one, or a little earlier.
            given = max(fresh).timestamp()
            peers_ahead = min(max(database_ahead, given - readings.monotonic()), given - looked_at)
            return database_ahead if abs(peers_ahead - database_ahead) <= AGREEING_SECONDS else peers_ahead
        looked_at = asked_at
    return database_ahead
