"""The clock of a process: the database's time, carried on by the process itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.engine.clock import (
    APART_SECONDS_MAX,
    FAR_OFF_SECONDS,
    PEER_SECONDS,
    READINGS,
    SILENT_SECONDS,
    SLEW,
    Readings,
    SharedClock,
    in_step,
    open_clock,
)

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class Ticking:
    """A monotonic clock that somebody turns."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_clock_goes_on_by_itself_from_what_the_database_said() -> None:
    ticking = Ticking()
    clock = SharedClock(START, Readings(monotonic=ticking))
    ticking.seconds += 90
    assert clock() == START + timedelta(seconds=90)


@given(jump=st.floats(-FAR_OFF_SECONDS + 1, FAR_OFF_SECONDS - 1), steps=st.lists(st.floats(0.001, 30), max_size=40))
def test_a_database_whose_clock_jumps_is_followed_slowly_and_never_back(jump: float, steps: list[float]) -> None:
    ticking = Ticking()
    clock = SharedClock(START, Readings(monotonic=ticking))
    clock.follow(START + timedelta(seconds=jump), ticking.seconds, ticking.seconds)
    before = clock()
    for seconds in steps:
        ticking.seconds += seconds
        now = clock()
        passed = (now - before).total_seconds()
        assert seconds * (1 - SLEW) - 0.00001 <= passed <= seconds * (1 + SLEW) + 0.00001
        before = now
    ticking.seconds += abs(jump) / SLEW + 1
    elapsed = ticking.seconds - 1000.0
    assert abs((clock() - START).total_seconds() - elapsed - jump) < 0.001


def test_a_host_that_was_asleep_is_set_at_once() -> None:
    ticking = Ticking()
    clock = SharedClock(START, Readings(monotonic=ticking))
    clock.follow(START + timedelta(hours=3), ticking.seconds, ticking.seconds)
    assert clock() == START + timedelta(hours=3)


def test_an_answer_that_took_long_says_no_more_than_its_bounds() -> None:
    ticking = Ticking()
    clock = SharedClock(START, Readings(monotonic=ticking))
    clock.follow(START + timedelta(seconds=1), ticking.seconds, ticking.seconds + 2)
    ticking.seconds += 100
    assert clock() == START + timedelta(seconds=100)
    clock.follow(START + timedelta(seconds=105), ticking.seconds - 2, ticking.seconds)
    ticking.seconds += 1000
    assert clock() == START + timedelta(seconds=1105)


@given(jump=st.floats(-FAR_OFF_SECONDS + 1, FAR_OFF_SECONDS - 1), late_seconds=st.floats(0, 15))
def test_who_stood_still_while_the_databases_clock_jumped_is_no_further_from_the_others_than_waits_allow_for(
    jump: float, late_seconds: float
) -> None:
    """He learned of it ten seconds later, stayed a second ahead, and called a partner that had asked to wait."""
    ticking = Ticking()
    first, late = SharedClock(START, Readings(monotonic=ticking)), SharedClock(START, Readings(monotonic=ticking))
    first.follow(START + timedelta(seconds=jump), ticking.seconds, ticking.seconds)
    ticking.seconds += late_seconds
    told = START + timedelta(seconds=jump + late_seconds)
    late.follow(told, ticking.seconds, ticking.seconds)
    for _ in range(5):
        assert abs((first() - late()).total_seconds()) <= APART_SECONDS_MAX
        ticking.seconds += 60


@given(trips=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.floats(0, 20)), max_size=30))
def test_answers_of_a_steady_database_never_move_a_clock_that_is_right(trips: list[tuple[float, float, float]]) -> None:
    ticking = Ticking()
    clock = SharedClock(START, Readings(monotonic=ticking))
    for there, back, between in trips:
        asked_at = ticking.seconds
        told = START + timedelta(seconds=asked_at + there - 1000.0)
        ticking.seconds += there + back
        clock.follow(told, asked_at, ticking.seconds)
        ticking.seconds += between
        assert abs((clock() - START).total_seconds() - (ticking.seconds - 1000.0)) < 0.00001


class Database:
    """Its own clock may be off; a question takes a while there and back. What processes wrote stands in it."""

    def __init__(self, ticking: Ticking, trips: list[tuple[float, float]] | None = None) -> None:
        self.ticking = ticking
        self.trips = trips or []
        self.off = timedelta()
        self.beats: dict[str, datetime] = {}
        self.beating: dict[str, timedelta] = {}
        self.looks = 0
        self.look_seconds = 0.05

    def true_time(self) -> datetime:
        return START + timedelta(seconds=self.ticking.seconds - 1000.0)

    def readings(self) -> Readings:
        return Readings(self.read_time, self.read_beats, self.ticking)

    async def read_time(self, _source: object) -> datetime:
        there, back = self.trips.pop(0) if self.trips else (0.0, 0.0)
        self.ticking.seconds += there
        told = self.true_time() + self.off
        self.ticking.seconds += back
        return told

    async def read_beats(self, _source: object) -> Mapping[str, datetime]:
        """By the fourth look, who is alive has beaten again."""
        self.looks += 1
        self.ticking.seconds += self.look_seconds
        if self.looks == 4:
            self.beats |= {name: self.true_time() + off for name, off in self.beating.items()}
        return dict(self.beats)


async def test_who_starts_alone_goes_by_the_database_at_once() -> None:
    """By the tightest of a few answers: one that took long told a time that was old by the whole way back."""
    database = Database(Ticking(), trips=[(0.001, 0.9), (0.3, 0.4), (0.002, 0.004)])
    clock = await open_clock(None, database.readings())
    assert abs(clock() - database.true_time()) <= timedelta(seconds=0.003)
    assert (database.looks, database.trips) == (1, [])
    assert READINGS == 3


@pytest.mark.parametrize("jump", [-90.0, -5.0, 5.0, 90.0])
async def test_who_starts_after_the_databases_clock_jumped_begins_where_the_others_are(jump: float) -> None:
    """A worker began at the jumped clock, asked a warehouse before it had settled, and released a second time."""
    database = Database(Ticking())
    database.off = timedelta(seconds=jump)
    database.beats = {"worker-1": database.true_time() - timedelta(seconds=0.7), "worker-2": START}
    database.beating = {"worker-1": timedelta()}
    clock = await open_clock(None, database.readings())
    assert abs(clock() - database.true_time()) <= timedelta(seconds=0.11)
    database.ticking.seconds += abs(jump) / SLEW + 10
    assert abs(clock() - database.true_time() - database.off) <= timedelta(seconds=0.001)


async def test_peers_that_go_by_the_database_do_not_make_the_start_less_exact() -> None:
    database = Database(Ticking())
    database.beats = {"worker-1": database.true_time()}
    database.beating = {"worker-1": timedelta(seconds=-0.02)}
    clock = await open_clock(None, database.readings())
    assert abs(clock() - database.true_time()) <= timedelta(microseconds=10)


async def test_the_dead_are_not_waited_for_longer_than_two_beats() -> None:
    database = Database(Ticking())
    database.look_seconds = 0.5
    database.beats = {"worker-1": database.true_time() - timedelta(seconds=20)}
    started = database.ticking.seconds
    clock = await open_clock(None, database.readings())
    assert abs(clock() - database.true_time()) <= timedelta(microseconds=10)
    assert database.ticking.seconds - started <= PEER_SECONDS + 1


async def test_those_who_died_long_ago_are_not_waited_for_at_all() -> None:
    database = Database(Ticking())
    database.beats = {"worker-1": database.true_time() - timedelta(seconds=FAR_OFF_SECONDS + 60)}
    await open_clock(None, database.readings())
    assert database.looks == 1


async def joined(database: Database, clock: SharedClock) -> timedelta:
    """How far the clock is from the database's after it was asked whether it is in step."""
    await in_step(clock, None)
    return clock() - database.true_time() - database.off


async def test_who_was_heard_a_moment_ago_asks_nobody() -> None:
    database = Database(Ticking())
    clock = SharedClock(START, database.readings())
    database.off = timedelta(seconds=-21)
    database.ticking.seconds += SILENT_SECONDS - 0.1
    assert await joined(database, clock) == timedelta(seconds=21)
    async with clock.sign_of_life(None):
        pass
    database.ticking.seconds += SILENT_SECONDS - 0.1
    assert await joined(database, clock) == timedelta(seconds=21)
    assert database.looks == 0


async def test_who_was_silent_while_the_databases_clock_was_set_back_joins_who_began_anew_meanwhile() -> None:
    """Seed 10786: he came back 21 s ahead of one that had started, and sent although a partner had asked to wait."""
    database = Database(Ticking())
    clock = SharedClock(START, database.readings())
    database.ticking.seconds += 25
    database.off = timedelta(seconds=-21)
    database.beats = {"worker-2": database.true_time() + database.off}
    database.beating = {"worker-2": database.off}
    assert abs(await joined(database, clock)) <= timedelta(seconds=0.11)
    assert database.looks >= 4
    assert (await joined(database, clock), database.looks) == (clock() - database.true_time() - database.off, 4)


async def test_who_was_silent_goes_on_as_before_where_the_others_still_follow_slowly() -> None:
    database = Database(Ticking())
    clock = SharedClock(START, database.readings())
    database.ticking.seconds += 25
    database.off = timedelta(seconds=-21)
    database.beats = {"worker-2": database.true_time() - timedelta(seconds=0.4)}
    database.beating = {"worker-2": timedelta()}
    assert abs(await joined(database, clock) - timedelta(seconds=21)) <= timedelta(seconds=0.11)


async def test_who_was_silent_alone_goes_by_the_database() -> None:
    database = Database(Ticking())
    database.look_seconds = 0.5
    clock = SharedClock(START, database.readings())
    database.ticking.seconds += 25
    database.off = timedelta(seconds=33)
    database.beats = {"worker-2": database.true_time() - timedelta(seconds=20)}
    assert abs(await joined(database, clock)) <= timedelta(microseconds=10)


async def test_who_was_silent_while_nothing_happened_to_the_clock_waits_for_nobody() -> None:
    database = Database(Ticking())
    clock = SharedClock(START, database.readings())
    database.ticking.seconds += 25
    database.beats = {"worker-2": START}
    before = clock()
    assert await joined(database, clock) == timedelta()
    assert (clock() - before, database.looks) == (timedelta(), 0)
