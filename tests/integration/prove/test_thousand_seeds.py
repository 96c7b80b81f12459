"""A thousand seeds, each a small distributor on a day of its own, of which almost a third are a rush on scarce goods.

Two classes, so that two processes of the test run share them.
"""

from __future__ import annotations

import os

import pytest

from crossdock.prove.rig import Rig
from crossdock.prove.verdict import sum_up

SEEDS = int(os.environ.get("CROSSDOCK_PROOF_SEEDS", "1000"))
FIRST_SEED = 10_001
PART = 50
PARTS = range(FIRST_SEED, FIRST_SEED + SEEDS, PART)
# Known and not mended yet: what decision 13 (docs/adr) says is not covered. Each has just this finding; when it has
# none any more, the test says so and the seed leaves this table.
OPEN = {10_786: ("nothing_is_stuck", "CD00000001/wms.release:HAM was sent again although wms had asked to wait")}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def play_part(rig: Rig, first: int) -> None:
    last = min(first + PART, FIRST_SEED + SEEDS)
    outcomes = [rig.play(seed, size=orders_of(seed))[0] for seed in range(first, last)]
    clean = [outcome for outcome in outcomes if outcome.seed not in OPEN]
    verdict = sum_up("order-path", clean, 0)
    found = [(outcome.seed, outcome.violations[:3]) for outcome in outcomes if outcome.violations]
    assert verdict.verdict == "pass", found
    assert verdict.facts_acknowledged > len(clean) * 3
    for outcome in outcomes:
        if outcome.seed in OPEN:
            assert [(one.checker, one.message) for one in outcome.violations] == [OPEN[outcome.seed]]


def orders_of(seed: int) -> int:
    """Three to seven; `--orders` of the command."""
    return 3 + seed % 5


class TestFirstHalf:
    @pytest.mark.parametrize("first", PARTS[::2])
    def test_seeds_are_clean(self, rig: Rig, first: int) -> None:
        play_part(rig, first)


class TestSecondHalf:
    @pytest.mark.parametrize("first", PARTS[1::2])
    def test_seeds_are_clean(self, rig: Rig, first: int) -> None:
        play_part(rig, first)
