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
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def play_part(rig: Rig, first: int) -> None:
    last = min(first + PART, FIRST_SEED + SEEDS)
    outcomes = [rig.play(seed, size=orders_of(seed))[0] for seed in range(first, last)]
    verdict = sum_up("order-path", outcomes, 0)
    assert verdict.verdict == "pass", [(outcome.seed, outcome.violations[:3]) for outcome in outcomes]
    assert verdict.facts_acknowledged > len(outcomes) * 3


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
