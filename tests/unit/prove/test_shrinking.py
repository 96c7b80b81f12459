"""What fails is made smaller: never below what was seen to fail, and within so many runs."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.prove.order_path_real import NEMESES, RealRun, shrink_run
from crossdock.prove.sale_world import FAULTS, Sale, draw_troubles, shrink_sale
from crossdock.prove.shrinking import leave_out, make_fewer


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=3))
def test_all_that_is_not_needed_is_left_out(count: int, wanted: set[int]) -> None:
    needed = {part for part in wanted if part < count}
    kept = leave_out(range(count), lambda some: needed <= set(some), 1000)
    assert set(kept) == needed or (not needed and len(kept) <= 1)


def test_no_more_runs_than_allowed() -> None:
    tried: list[tuple[int, ...]] = []

    def fails(some: tuple[int, ...]) -> bool:
        tried.append(some)
        return False

    kept = leave_out(range(64), fails, 5)
    assert len(tried) == 5
    assert kept == tuple(range(64))


def test_a_number_is_halved_while_it_fails() -> None:
    assert make_fewer(60, 4, lambda number: number >= 10, 9) == 15
    assert make_fewer(60, 4, lambda _: True, 9) == 4
    assert make_fewer(60, 4, lambda _: False, 9) == 60


def test_a_failed_run_of_real_processes_keeps_the_nemeses_that_it_needs() -> None:
    runs: list[RealRun] = []

    def play(run: RealRun) -> Collection[str]:
        runs.append(run)
        return ["money"] if {"kill", "network"} <= set(run.nemeses) and run.orders > 20 else ["leaks"]

    smallest = shrink_run(RealRun(7, 60), ["money"], play, 40)
    assert set(smallest.nemeses) == {"kill", "network"}
    assert (smallest.seed, smallest.orders) == (7, 30)
    assert set(runs[0].nemeses) < set(NEMESES)


@pytest.mark.parametrize("nemeses", [(), ("kill", "pause")])
def test_a_failed_sale_keeps_the_faults_that_it_needs(nemeses: tuple[str, ...]) -> None:
    sale = Sale(3, orders=240, faults=("kill_api", "lost_answers"), nemeses=nemeses)

    def play(tried: Sale) -> Collection[str]:
        needed = {"kill_api"} <= {trouble.kind for trouble in draw_troubles(tried)}
        return ["sold"] if needed and set(nemeses[:1]) <= set(tried.nemeses) else []

    smallest = shrink_sale(sale, ["sold"], play, 60)
    assert [trouble.kind for trouble in draw_troubles(smallest)] == ["kill_api"]
    assert smallest.nemeses == nemeses[:1]
    assert smallest.orders == 30
    assert len(FAULTS) == 4
