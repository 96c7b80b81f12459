"""Freshness of stock feeds: their rhythm, when they are late against it, which reports are too wild. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from crossdock.policy.stock import Freshness

BEAT_MIN: Final = timedelta(seconds=1)
"""Reports closer together than this are pages of one report: no beat of a rhythm."""
_WEIGHT: Final = Decimal("0.3")
_HUNDRED: Final = 100


class Weight(NamedTuple):
    """A report against what is known of its source at the locations that it names.

    `rows` it has, `negative` of them are below zero; it takes `falling` stocked SKUs to zero out of `stocked`;
    `last_rows` had the last complete one (0: there was none).
    """

    rows: int
    negative: int
    falling: int
    stocked: int
    last_rows: int
    complete: bool


def follow_rhythm(rhythm: Decimal | None, gap: timedelta) -> Decimal | None:
    """The usual seconds between reports, after one more gap: a moving average that forgets slowly."""
    if gap < BEAT_MIN:
        return rhythm
    seconds = seconds_of(gap)
    if rhythm is None:
        return seconds
    return (rhythm + (seconds - rhythm) * _WEIGHT).quantize(Decimal("0.001"))


def is_stale(heard_at: datetime, rhythm: Decimal | None, now: datetime, freshness: Freshness) -> bool:
    """Late against its own rhythm. A single report is no feed: what was loaded once does not grow stale."""
    if rhythm is None:
        return False
    return seconds_of(now - heard_at) > max(rhythm * freshness.late_factor, freshness.minimum_seconds)


def judge_report(weight: Weight, freshness: Freshness) -> str | None:
    """Why a report is too wild to be taken without a person, in a sentence; None when it is not."""
    share = freshness.wild_share_percent
    if weight.complete and weight.last_rows >= freshness.wild_rows_min:
        wanted = weight.last_rows * (_HUNDRED - share)
        if weight.rows * _HUNDRED <= wanted:
            return f"It has {weight.rows} rows where the last complete one had {weight.last_rows}."
    if weight.rows >= freshness.wild_rows_min and weight.negative * _HUNDRED >= weight.rows * share:
        return f"{weight.negative} of its {weight.rows} rows are below zero."
    enough = weight.stocked >= freshness.wild_rows_min
    if enough and weight.falling and weight.falling * _HUNDRED >= weight.stocked * share:
        return f"It takes {weight.falling} of {weight.stocked} stocked SKUs to zero."
    return None


def seconds_of(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(milliseconds=1)) / 1000
