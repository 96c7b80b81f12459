from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.model.errors import ERROR_KINDS, CrossdockError, Unavailable
from crossdock.policy.resilience import RetryRule, RetryTable
from crossdock.rules.retry import ACTIONS, next_move
from tests.scenarios.reading import read_table

CASES = read_table("retries")
KINDS = {kind.kind: kind for kind in ERROR_KINDS}
TABLE = RetryTable(codes={"slow": RetryRule(base_seconds=10, attempts_max=3), "stop": "park"})
NEARLY_ONE = 1 - 2**-53


def make_error(kind: str, code: str = "", asked: float | None = None) -> CrossdockError:
    if kind == "unavailable":
        return Unavailable(code, "Away.", retry_after_seconds=asked)
    return KINDS[kind](code, "No.")


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_table_of_retries(case: dict[str, str]) -> None:
    error = make_error(case["error"], case["code"], float(case["asked"]) if case["asked"] else None)
    soonest = next_move(error, int(case["failures"]), 0, TABLE, 4)
    latest = next_move(error, int(case["failures"]), NEARLY_ONE, TABLE, 4)
    assert soonest.action == latest.action == case["action"]
    waits = [float(wait) for wait in case["wait"].split()] or [0, 0]
    assert [soonest.after_seconds, latest.after_seconds] == pytest.approx(waits)


def test_every_class_of_error_has_an_action() -> None:
    assert set(ACTIONS) == {kind.kind for kind in ERROR_KINDS}
    assert {case["error"] for case in CASES} == set(ACTIONS)


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True), st.sampled_from(["unavailable", "in_doubt"]))
def test_waits_never_are_nothing_and_never_pass_the_cap(failures: int, jitter: float, kind: str) -> None:
    move = next_move(make_error(kind), failures, jitter, TABLE)
    assert 0.5 <= move.after_seconds <= 60
