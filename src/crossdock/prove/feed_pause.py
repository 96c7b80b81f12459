"""The scenario `feed-pause`: a place that sells by itself falls silent; later its reports come late and jumbled.

Simulated time, no processes: the rules of promises and freshness decide, as everywhere. The place (a store with a
counter) sells on while nobody hears of it; our channel sells from what we promise. Compared are fixed buffers and the
shrinking by sales speed: how many units are sold that are gone, and how many buyers are sent away from what is there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from crossdock.policy.stock import Freshness
from crossdock.rules.availability import Position, Saleable, Stocked, Terms, count_promise
from crossdock.rules.freshness import follow_rhythm, is_stale

NAME: Final = "feed-pause"
TITLE: Final = "A store falls silent for hours, its feed returns jumbled: buffers against shrinking (simulated time)."
HOURS: Final = 48.0
REPORT_HOURS: Final = 0.25
SKUS: Final = 60
BUDGET_PERCENT: Final = Decimal("0.5")
BUFFERS: Final = (0, 1, 2, 4, 8, 12, 16, 24)
CAUTIONS: Final = (Decimal("0.5"), Decimal(1), Decimal("1.5"), Decimal(2))
MARKS: Final = ("<!-- feed-pause: written by the command -->", "<!-- feed-pause: end -->")
_START: Final = datetime(2026, 3, 2, tzinfo=UTC)
_SOURCE: Final = "store"
_ONE: Final = Decimal(1)
_NOTHING: Final = Decimal(0)


class Policy(msgspec.Struct, frozen=True):
    """A fixed buffer, or a caution with which a silent place shrinks, or both. No caution: silence changes nothing."""

    buffer: int = 0
    caution: Decimal = _NOTHING

    @property
    def name(self) -> str:
        if self.caution:
            return f"shrink x {self.caution}" + (f", buffer {self.buffer}" if self.buffer else "")
        return f"buffer {self.buffer}"


POLICIES: Final = (
    *(Policy(buffer=buffer) for buffer in BUFFERS), *(Policy(caution=caution) for caution in CAUTIONS),
    Policy(1, Decimal(1)), Policy(2, Decimal(1)),
)  # fmt: skip


class Report(msgspec.Struct, frozen=True):
    """When the store counted, and when we hear of it. Both in hours."""

    counted: float
    heard: float


class Life(msgspec.Struct, frozen=True):
    """Two days of one of the goods: what there is, who wants one and when. `per_day`: as our orders of the past say."""

    stock: int
    per_day: Decimal
    counter: tuple[float, ...]
    buyers: tuple[float, ...]


class Tally(msgspec.Struct):
    """`oversold`: sold by us and gone. `lost`: sent away although it was there."""

    wanted: int = 0
    sold: int = 0
    oversold: int = 0
    lost: int = 0

    def add(self, other: Tally) -> None:
        self.wanted += other.wanted
        self.sold += other.sold
        self.oversold += other.oversold
        self.lost += other.lost


class Line(msgspec.Struct, frozen=True):
    """A policy over all seeds. `against`: the smallest buffer that oversells no more, and what that loses."""

    policy: str
    oversold: int
    oversold_percent: Decimal
    lost: int
    lost_percent: Decimal
    against: str = ""


class FeedOutcome(msgspec.Struct, frozen=True):
    """The verdict: some shrinking keeps the budget and loses fewer sales than the buffer that oversells as little."""

    scenario: str
    seed: int
    seeds: int
    facts_acknowledged: int
    faults: dict[str, int]
    violations: dict[str, list[str]]
    lines: list[Line]
    seconds: float
    verdict: str


def make_reports(chance: random.Random) -> list[Report]:
    """Every quarter of an hour, in order; for hours nothing; then what was held up comes late and jumbled."""
    silent_from = chance.uniform(4, 24)
    silent_until = silent_from + chance.uniform(3, 12)
    found = []
    for place in range(int(HOURS / REPORT_HOURS)):
        counted = place * REPORT_HOURS
        if silent_from <= counted < silent_until:
            # One in ten is only late, and overtaken by younger ones.
            if chance.random() < 0.1:
                found.append(Report(counted, silent_until + chance.uniform(0, 2)))
            continue
        jumbled = silent_until <= counted < silent_until + 2
        found.append(Report(counted, counted + (chance.uniform(0, 0.75) if jumbled else 0.01)))
    return sorted(found, key=lambda report: report.heard)


def make_life(chance: random.Random) -> Life:
    """From one a day to hundreds a day; the counter sells less or more than we do, which we do not know."""
    per_day = chance.lognormvariate(2.2, 1.3)
    counter_per_day = per_day * chance.uniform(0.3, 1.5)
    stock = max(2, round((per_day + counter_per_day) * chance.uniform(0.3, 2.2)))
    return Life(
        stock, Decimal(str(round(per_day, 2))), _arrivals(chance, counter_per_day), _arrivals(chance, per_day)
    )


def _arrivals(chance: random.Random, per_day: float) -> tuple[float, ...]:
    found = []
    at = chance.expovariate(per_day / 24)
    while at < HOURS:
        found.append(at)
        at += chance.expovariate(per_day / 24)
    return tuple(found)


def play(life: Life, reports: Sequence[Report], policy: Policy) -> Tally:
    """Two days of one of the goods under a policy."""
    tally = Tally(wanted=len(life.buyers))
    freshness = Freshness(caution=policy.caution)
    terms = Terms("shop", None, buffer=Decimal(policy.buffer), caution=policy.caution)
    there = life.stock
    counter, heard = 0, 0
    known = Decimal(life.stock)
    counted_at, heard_at, rhythm = 0.0, 0.0, None
    left_after: list[float] = []  # what we sold, by time: the movements that a balance may not contain
    history: list[tuple[float, int]] = [(0.0, life.stock)]
    for now in life.buyers:
        while counter < len(life.counter) and life.counter[counter] <= now:
            if there > 0:
                there -= 1
                history.append((life.counter[counter], there))
            counter += 1
        while heard < len(reports) and reports[heard].heard <= now:
            report = reports[heard]
            rhythm = follow_rhythm(rhythm, timedelta(hours=report.heard - heard_at))
            heard_at = max(heard_at, report.heard)
            # An older balance never replaces a younger one.
            if report.counted >= counted_at:
                counted_at, known = report.counted, Decimal(_count_at(history, report.counted))
            heard += 1
        on_hand = known - sum(sold > counted_at for sold in left_after)
        if _promise(life, policy, terms, freshness, known, on_hand, now, heard_at, rhythm) < 1:
            tally.lost += there > 0
            continue
        tally.sold += 1
        if there > 0:
            there -= 1
            history.append((now, there))
            left_after.append(now)
        else:
            # It is called off once the shelf is seen to be empty; until then it stays reserved.
            tally.oversold += 1
            left_after.append(now)
    return tally


def _count_at(history: Sequence[tuple[float, int]], at: float) -> int:
    """What was on the shelf at a time."""
    for when, there in reversed(history):
        if when <= at:
            return there
    return history[0][1]


def _promise(
    life: Life, policy: Policy, terms: Terms, freshness: Freshness, known: Decimal, on_hand: Decimal, now: float,
    heard_at: float, rhythm: Decimal | None,
) -> Decimal:  # fmt: skip
    at = _START + timedelta(hours=now)
    position = Position(
        _SOURCE, _SOURCE, _START, known, on_hand, _NOTHING, _NOTHING, _NOTHING
    )
    stale: dict[tuple[str, str], Decimal] = {}
    if policy.caution and is_stale(_START + timedelta(hours=heard_at), rhythm, at, freshness):
        stale[_SOURCE, _SOURCE] = Decimal(str(round((now - heard_at) / 24, 4)))
    item = Saleable("SKU", "C62", "C62", ((_ONE, Stocked("SKU", "C62", (position,), sold_per_day=life.per_day)),))
    return count_promise(item, terms, stale, at.date()).quantity


def run_feed_pause(first_seed: int, seeds: int) -> tuple[list[Line], int]:
    """The lines of the table, and how many buyers there were."""
    tallies = {policy: Tally() for policy in POLICIES}
    for seed in range(first_seed, first_seed + seeds):
        chance = random.Random(f"{seed}/feed")
        reports = make_reports(chance)
        lives = [make_life(chance) for _ in range(SKUS)]
        for policy, tally in tallies.items():
            for life in lives:
                tally.add(play(life, reports, policy))
    lines = []
    for policy, tally in tallies.items():
        against = ""
        if policy.caution:
            # Buffers are tried from the smallest: the first that oversells no more is the cheapest.
            equal = [Policy(buffer=buffer) for buffer in BUFFERS]
            found = next((one for one in equal if tallies[one].oversold <= tally.oversold), None)
            against = f"{found.name}: {tallies[found].lost} lost" if found is not None else "no buffer is so safe"
        lines.append(Line(
            policy.name, tally.oversold, _percent(tally.oversold, tally.sold), tally.lost,
            _percent(tally.lost, tally.wanted), against,
        ))  # fmt: skip
    return lines, next(iter(tallies.values())).wanted


def judge_lines(lines: Sequence[Line]) -> list[str]:
    """Why shrinking is not worth it, in sentences; none when it is."""
    shrunk = [line for line in lines if line.against]
    good = [line for line in shrunk if line.oversold_percent <= BUDGET_PERCENT and _loses_less(line)]
    if good:
        return []
    return [f"No shrinking keeps {BUDGET_PERCENT} % oversold and loses less than the buffer that is as safe"]


def _loses_less(line: Line) -> bool:
    """Than the buffer that oversells no more; where none is so safe, there is nothing to lose against."""
    text = line.against.partition(": ")[2].partition(" ")[0]
    return not text or line.lost < int(text)


def prove_feed_pause(first_seed: int, seeds: int) -> FeedOutcome:
    """Play the seeds and judge the table."""
    started = time.monotonic()
    lines, buyers = run_feed_pause(first_seed, seeds)
    violations = judge_lines(lines)
    faults = {"silence": seeds, "late_reports": seeds}
    return FeedOutcome(
        NAME, first_seed, seeds, buyers, faults, {"budget": violations}, lines, round(time.monotonic() - started, 1),
        "violations" if violations else "pass",
    )  # fmt: skip


def _percent(part: int, whole: int) -> Decimal:
    return (Decimal(part) * 100 / max(whole, 1)).quantize(Decimal("0.01"))


def write_table(lines: Sequence[Line], seed: int, seeds: int) -> str:
    """The table for the documents, between its marks."""
    rows = [
        f"| {line.policy} | {line.oversold} | {line.oversold_percent} % | {line.lost} | {line.lost_percent} % "
        f"| {line.against} |" for line in lines
    ]  # fmt: skip
    head = (
        f"Seeds {seed} to {seed + seeds - 1}, {SKUS} SKUs each, {HOURS:.0f} hours, a silence of 3 to 12 hours.",
        "", "| policy | oversold | of what was sold | lost | of what was wanted | the buffer that oversells no more |",
        "|---|---|---|---|---|---|",
    )  # fmt: skip
    return "\n".join((MARKS[0], *head, *rows, MARKS[1]))


def place_table(document: str, table: str) -> str:
    """The document with its table replaced. Raises ValueError when the marks are not there."""
    before, mark, rest = document.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not mark or not end:
        raise ValueError(f"there is no place for the table: {MARKS[0]}")
    return f"{before}{table}{after}"
