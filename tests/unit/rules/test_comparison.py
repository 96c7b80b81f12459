"""Which differences between owner, Crossdock and channel are drift, and with which cause."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.rules.comparison import Counted, Told, judge_channel, judge_owner, late_after

LATE = Decimal(60)
BOLT = Told(
    "BOLT", Decimal(40), Decimal(40), previous=Decimal(55), sizes=(Decimal(1), Decimal(12)), price=Decimal("2.50"),
    currency="EUR",
)  # fmt: skip
PLACE = Counted("BOLT", "HAM", Decimal(120), sizes=(Decimal(1), Decimal(12)), price=Decimal("2.50"), currency="EUR")


@pytest.mark.parametrize(
    ("change", "shown", "cause"),
    [
        ({}, 40, None),
        ({}, 55, "dropped"),
        ({"sold": Decimal(2)}, 53, "dropped"),
        ({"sold": Decimal(2)}, 38, None),
        ({"sold": Decimal(2)}, 37, "rival_writer"),
        ({"on_way": Decimal(1)}, 39, None),
        ({}, 480, "unit"),
        ({}, 3, "unit"),
        ({}, 77, "rival_writer"),
        ({}, 0, "rival_writer"),
        ({}, None, "unlisted"),
        ({"previous": None}, None, "dropped"),
        ({"parked": "sku_unknown"}, None, "unknown_sku"),
        ({"parked": "unlisted"}, None, "unlisted"),
        ({"parked": "unit_unknown"}, 40, "unit"),
        ({"parked": "try_later"}, 40, None),
        ({"parked": "try_later"}, 39, "late"),
        ({"wanted": Decimal(9), "waiting_seconds": Decimal(30)}, 40, None),
        ({"wanted": Decimal(9), "waiting_seconds": Decimal(61)}, 40, "late"),
        ({"wanted": Decimal(9), "waiting_seconds": Decimal(61)}, 9, None),
        ({"unit_size": Decimal(12)}, 480, "unit"),
    ],
)
def test_a_channels_figure(change: dict[str, object], shown: int | None, cause: str | None) -> None:
    found = judge_channel(msgspec.structs.replace(BOLT, **change), None if shown is None else Decimal(shown), LATE)
    assert (found.cause if found else None) == cause


def test_money_at_stake_is_the_difference_at_list_price() -> None:
    found = judge_channel(msgspec.structs.replace(BOLT, unit_size=Decimal(12)), Decimal(77), LATE)
    assert found is not None
    assert (found.amount, found.currency) == (Decimal("1110.00"), "EUR")
    assert "who else writes" in found.proposal


def test_a_figure_above_ours_is_certain_one_below_is_looked_at_twice() -> None:
    above, below = judge_channel(BOLT, Decimal(77), LATE), judge_channel(BOLT, Decimal(23), LATE)
    assert above is not None
    assert below is not None
    assert (above.certain, below.certain) == (True, False)


@pytest.mark.parametrize(
    ("change", "said", "cause"),
    [
        ({}, 120, None),
        ({"in_doubt": Decimal(5)}, 115, None),
        ({"in_doubt": Decimal(5)}, 114, "dropped"),
        ({"known": False}, 7, "unknown_sku"),
        ({}, None, "unlisted"),
        ({"expected": Decimal(0)}, None, None),
        ({"by_owner": False}, 99, "rival_writer"),
        ({}, 10, "unit"),
        ({}, 1440, "unit"),
        ({"feed_late": True}, 99, "late"),
        ({"heard_since": True}, 99, "dropped"),
    ],
)
def test_an_owners_word(change: dict[str, object], said: int | None, cause: str | None) -> None:
    found = judge_owner(msgspec.structs.replace(PLACE, **change), None if said is None else Decimal(said))
    assert (found.cause if found else None) == cause


def test_what_the_next_report_may_bring_stays_a_suspicion() -> None:
    found = judge_owner(PLACE, Decimal(99))
    assert found is not None
    assert found.pending
    assert not found.certain
    heard = judge_owner(msgspec.structs.replace(PLACE, heard_since=True), Decimal(99))
    assert heard is not None
    assert not heard.pending


@given(st.integers(0, 10_000), st.integers(0, 500), st.integers(0, 500))
def test_no_sale_of_the_channel_itself_is_ever_drift(shows: int, sold: int, unseen: int) -> None:
    told = Told("BOLT", Decimal(shows), Decimal(shows), sold=Decimal(sold), on_way=Decimal(unseen))
    taken = min(sold, shows)
    assert judge_channel(told, Decimal(shows - taken), LATE) is None


def test_a_partner_that_is_called_rarely_is_late_later() -> None:
    assert late_after(Decimal("2.5")) == 60
    assert late_after(Decimal(10) / 3600) == 1080
