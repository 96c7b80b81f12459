"""The clock of a process: the database's time, carried on by the process's own monotonic clock.

Leases, due times and the partner's time to settle are written by one process and read by another. Would each go by its
host's clock, one that jumps would claim what another still works on, and ask a partner before it has settled: what it
then sends again takes effect twice. So nobody reads his host's clock. Where the database's own clock moves, everybody
follows slowly, so that a second still passes in about a second; only who is far off (a host that was asleep) is set.

Who starts while others still follow begins where they are: their signs of life are dated by the time that they share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import structlog

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
LOOK_SECONDS: Final = 0.05
AGREEING_SECONDS: Final = 0.25
"""Who is no further off goes by the database too: a sign of life is on its way for a while."""
_SQL: Final = Queries.load("clock")
_log: Final = structlog.get_logger("crossdock.engine.clock")

ReadTime = Callable[[], Awaitable[datetime]]
ReadBeats = Callable[[], Awaitable[Mapping[str, datetime]]]
"""The last sign of life of each process that is known."""
Monotonic = Callable[[], float]


class SharedClock:
    """Call it for the time. It never goes back, but for one that was far off."""

    def __init__(self, start: datetime, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self._ahead_seconds = start.timestamp() - self._looked_at
        self._wanted_ahead_seconds = self._ahead_seconds

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

    async def keep_following(self, read: ReadTime) -> None:
        """Ask the database every few seconds until cancelled; while it is away, go on alone."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            asked_at = self._monotonic()
            try:
                told = await read()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                continue
            self.follow(told, asked_at, self._monotonic())


async def open_clock(
    read_time: ReadTime, read_beats: ReadBeats | None, monotonic: Monotonic = time.monotonic
) -> SharedClock:
    """The clock of a process that starts: where its peers are, else at the database's time. A command that ends in a
    moment looks for no peers."""
    least, most = await _bounds(read_time, monotonic)
    ahead_seconds = database_ahead = (least + most) / 2
    if read_beats is not None:
        ahead_seconds = await _find_peers(read_beats, database_ahead, monotonic)
    if ahead_seconds != database_ahead:
        _log.info("clock_joins_peers", seconds=round(ahead_seconds - database_ahead, 3))
    clock = SharedClock(datetime.fromtimestamp(monotonic() + ahead_seconds, UTC), monotonic)
    told_at = monotonic()
    clock.follow(datetime.fromtimestamp(told_at + database_ahead, UTC), told_at, told_at)
    return clock


async def _bounds(read_time: ReadTime, monotonic: Monotonic) -> tuple[float, float]:
    """Between which bounds the database is ahead of the monotonic clock, by a few answers."""
    least, most = float("-inf"), float("inf")
    for _ in range(READINGS):
        asked_at = monotonic()
        told = (await read_time()).timestamp()
        low, high = told - monotonic(), told - asked_at
        # An answer that contradicts those before it: the database's clock has jumped meanwhile.
        agrees = low <= most and high >= least
        least, most = (max(least, low), min(most, high)) if agrees else (low, high)
    return least, most


async def _find_peers(read_beats: ReadBeats, database_ahead: float, monotonic: Monotonic) -> float:
    """How far those are ahead of the monotonic clock who give a sign of life now; the database, if nobody does."""
    looked_at = monotonic()
    known = await read_beats()
    now = looked_at + database_ahead
    # Without a peer there is nobody to wait for. Who is still further off is set to the database's time himself.
    if all(abs(seen_at.timestamp() - now) > FAR_OFF_SECONDS for seen_at in known.values()):
        return database_ahead
    ends = looked_at + PEER_SECONDS
    while looked_at < ends:
        await asyncio.sleep(LOOK_SECONDS)
        asked_at = monotonic()
        beats = await read_beats()
        fresh = [seen_at for name, seen_at in beats.items() if known.get(name) != seen_at]
        if fresh:
            # It was given between the look before and this one, or a little earlier.
            given = max(fresh).timestamp()
            peers_ahead = min(max(database_ahead, given - monotonic()), given - looked_at)
            return database_ahead if abs(peers_ahead - database_ahead) <= AGREEING_SECONDS else peers_ahead
        looked_at = asked_at
    return database_ahead


def time_of(pool: asyncpg.Pool[Any]) -> ReadTime:
    """Reads the database's time."""

    async def read() -> datetime:
        told: datetime = await pool.fetchval(_SQL["read_time"])
        return told

    return read


def beats_of(pool: asyncpg.Pool[Any]) -> ReadBeats:
    """Reads the processes' signs of life."""

    async def read() -> Mapping[str, datetime]:
        return {row["process"]: row["seen_at"] for row in await pool.fetch(_SQL["read_beats"])}

    return read
