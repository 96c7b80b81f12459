"""A run of the benchmark says how it compares with the last release."""

from __future__ import annotations

from typing import Any

import pytest
from bench.comparison import compare, title
from bench.report import table


def result(commit: str = "", **other: Any) -> dict[str, Any]:
    row = {
        "id": "order_path", "commit": commit, "value": 300.0, "unit": "orders/s", "baseline": 1000.0, "ratio": 0.3,
        "goal": 0.35, "met": False, "hardware": "2 cores", "load_average": 1.0, "complete": True,
    }  # fmt: skip
    return {**row, **other}


HISTORY = [
    result("a1", value=100.0), result("b2", value=200.0, runs=[190, 200, 220]), result("b2", value=210.0),
    result("c3", value=900.0),
]  # fmt: skip


def released(commit: str) -> bool:
    return commit in {"a1", "b2"}


def test_all_runs_of_the_newest_released_commit_are_compared_with() -> None:
    compared = compare([result(value=420.0, runs=[400, 420, 440])], HISTORY, released)["order_path"]
    assert compared.commit == "b2"
    assert compared.ratio == pytest.approx(420 / 205)
    assert compared.lowest == pytest.approx(400 / 220)
    assert compared.highest == pytest.approx(440 / 190)


def test_where_less_is_wanted_more_than_one_is_still_better() -> None:
    history = [result("b2", value=80.0, below=True)]
    compared = compare([result(value=40.0, below=True)], history, released)["order_path"]
    assert (compared.ratio, compared.lowest, compared.highest) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize("other", [
    {"hardware": "64 cores"}, {"complete": False}, {"unit": "ms"}, {"id": "drain"}, {"commit": ""},
])  # fmt: skip
def test_what_was_measured_otherwise_is_not_compared_with(other: dict[str, Any]) -> None:
    assert compare([result()], [{**result("b2"), **other}], released) == {}


def test_the_closing_table_says_it() -> None:
    fresh = [result(value=410.0), result(id="drain")]
    compared = compare(fresh, HISTORY, released)
    lines = table(fresh, title("v0.1.0", compared), compared).splitlines()
    assert lines[0].endswith("| Load | Against v0.1.0 |")
    assert lines[2].endswith("| 2.00 (1.86 to 2.16) |")
    assert lines[3].endswith("| 1.0 |  |")
    assert title(None, compared) == "No release yet: against b2"
