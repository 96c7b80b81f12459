"""The silent feed in simulated time: the same from the same seed, and worth what the documents say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.prove.feed_pause import (
    MARKS,
    Life,
    Line,
    Policy,
    Report,
    judge_lines,
    place_table,
    play,
    run_feed_pause,
    write_table,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "availability.md"


def test_shrinking_keeps_the_budget_and_loses_less_than_the_buffer_that_is_as_safe() -> None:
    lines, buyers = run_feed_pause(1, 1)
    assert buyers > 1000
    assert not judge_lines(lines)
    assert run_feed_pause(1, 1)[0] == lines


def test_what_the_counter_sold_in_the_silence_is_oversold_without_any_guard() -> None:
    reports = [Report(0.25 * place, 0.25 * place) for place in range(8)]
    # Two pieces; the counter sells both after the last report, and two buyers come to us.
    life = Life(2, Decimal(24), (5.0, 6.0), (7.0, 8.0))
    assert play(life, reports, Policy()).oversold == 2
    shrunk = play(life, reports, Policy(caution=Decimal(1)))
    assert (shrunk.oversold, shrunk.lost) == (0, 0)
    assert play(life, reports, Policy(buffer=2)).oversold == 0


def test_an_older_report_that_comes_late_changes_nothing() -> None:
    # At 2.0 there is one left; the report of 0.0, when there were three, comes after that of 2.0.
    reports = [Report(2.0, 2.0), Report(0.0, 2.5)]
    life = Life(3, Decimal(1), (1.0, 1.5, 2.2), (3.0, 3.1))
    assert play(life, reports, Policy()).oversold == 1


def test_a_shrinking_that_is_not_worth_it_fails() -> None:
    dear = Line("shrink x 1", 1, Decimal("0.1"), 50, Decimal(5), "buffer 1: 40 lost")
    wild = Line("shrink x 2", 9, Decimal("0.9"), 1, Decimal(1), "buffer 1: 40 lost")
    assert judge_lines([dear, wild])
    assert not judge_lines([Line("shrink x 1", 1, Decimal("0.1"), 30, Decimal(3), "buffer 1: 40 lost")])


def test_the_table_goes_between_its_marks() -> None:
    table = write_table([Line("buffer 0", 1, Decimal(1), 2, Decimal(2))], 1, 3)
    assert place_table(f"a {MARKS[0]} old {MARKS[1]} b", table) == f"a {table} b"
    with pytest.raises(ValueError, match="no place"):
        place_table("nothing", table)
    assert all(mark in DOCUMENT.read_text(encoding="utf-8") for mark in MARKS)
