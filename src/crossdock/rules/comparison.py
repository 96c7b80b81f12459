"""Do owner, Crossdock and a channel agree on a figure, and if not, why? Pure.

A difference is no drift as long as something explains it: a figure on its way, the channel's own orders, movements
that the owner cannot contain yet. What is left has a cause, an amount of money and a proposal.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

import msgspec

Cause = Literal["late", "dropped", "unit", "rival_writer", "unknown_sku", "unlisted"]
Side = Literal["owner", "channel"]
PARKED_CAUSES: Final[Mapping[str, Cause]] = {
    "sku_unknown": "unknown_sku", "unit_unknown": "unit", "unlisted": "unlisted",
}  # fmt: skip
PROPOSALS: Final[Mapping[tuple[Side, Cause], str]] = {
    ("channel", "late"): "Tell it again; look at the channel's limits and at its connection.",
    ("channel", "dropped"): "Tell it again: the channel acknowledged the figure and shows the one before.",
    ("channel", "unit"): "Tell it again; if it stays, correct the unit of the listing.",
    ("channel", "rival_writer"): "Tell it again, and find who else writes stock at the channel.",
    ("channel", "unknown_sku"): "List it at the channel, or take it out of the channel's listings; then try again.",
    ("channel", "unlisted"): "List it again at the channel, or mark the listing as not listed.",
    ("owner", "late"): "Read the owner's balance again; see why its feed is silent.",
    ("owner", "dropped"): "Read the owner's balance again: its feed went on without this report.",
    ("owner", "unit"): "Read the owner's balance again, and correct the unit in which it reports.",
    ("owner", "rival_writer"): "Read the owner's balance again, and find who else reports this place.",
    ("owner", "unknown_sku"): "Publish the product, or correct the SKU at the owner.",
    ("owner", "unlisted"): "Take the balance as nothing, or carry the SKU at this place again.",
}
_NOTHING: Final = Decimal(0)
_ONE: Final = Decimal(1)
_CENT: Final = Decimal("0.01")


class Told(msgspec.Struct, frozen=True, gc=False):
    """A figure of a channel as we believe it, in the listing's unit of `unit_size` base units.

    `sizes` are the product's packs. `waiting_seconds`: since when a newer figure waits. `sold` is what the channel's
    own orders took that the figure may not contain, `on_way` what orders on their way to us may have taken.
    """

    sku: str
    wanted: Decimal
    acknowledged: Decimal | None
    previous: Decimal | None = None
    unit_size: Decimal = _ONE
    sizes: tuple[Decimal, ...] = (_ONE,)
    waiting_seconds: Decimal | None = None
    parked: str = ""
    sold: Decimal = _NOTHING
    on_way: Decimal = _NOTHING
    price: Decimal = _NOTHING
    currency: str = ""


class Counted(msgspec.Struct, frozen=True, gc=False):
    """A place's balance as we believe it, in base units. `expected` is what its owner should say at the time of its
    word: the reported figure and what moved until then; `in_doubt` may or may not be in it.

    `by_owner` False: our figure came from somebody else. `feed_late`: the owner's feed is silent. `heard_since`: the
    feed went on after the owner's word was counted. `known` False: there is no such product here.
    """

    sku: str
    location: str
    expected: Decimal
    in_doubt: Decimal = _NOTHING
    sizes: tuple[Decimal, ...] = (_ONE,)
    known: bool = True
    by_owner: bool = True
    feed_late: bool = False
    heard_since: bool = False
    price: Decimal = _NOTHING
    currency: str = ""


class Drift(msgspec.Struct, frozen=True, gc=False):
    """A difference that nothing explains. `certain`: it need not be seen twice; `pending`: it may be on its way still,
    so it stays a suspicion however often it is seen. `location` is "" for a channel."""

    side: Side
    sku: str
    location: str
    expected: Decimal | None
    found: Decimal | None
    cause: Cause
    amount: Decimal
    currency: str
    certain: bool
    pending: bool = False

    @property
    def proposal(self) -> str:
        return PROPOSALS[self.side, self.cause]


def judge_channel(told: Told, shown: Decimal | None, late_after: Decimal) -> Drift | None:
    """None: they agree, or the difference explains itself. `shown` None: the channel does not know the SKU."""
    if told.parked:
        cause = PARKED_CAUSES.get(told.parked, "late")
        return None if cause == "late" and shown == told.wanted else _channel_drift(told, told.wanted, shown, cause)
    expected = told.acknowledged
    if expected is None or told.waiting_seconds is not None:
        return _judge_waiting(told, shown, late_after)
    if shown == expected:
        return None
    if shown is None:
        # Of what it never showed, the first figure is lost; what it showed before is not listed any more.
        return _channel_drift(told, expected, None, "dropped" if told.previous is None else "unlisted")
    if shown < expected and expected - shown <= told.sold:
        return None
    if _is_earlier(told, shown):
        return _channel_drift(told, expected, shown, "dropped", certain=shown > expected)
    if _in_other_unit(expected, shown, told.unit_size, told.sizes):
        return _channel_drift(told, expected, shown, "unit")
    if shown < expected and expected - shown <= told.sold + told.on_way:
        return None
    return _channel_drift(told, expected, shown, "rival_writer", certain=shown > expected)


def judge_owner(counted: Counted, said: Decimal | None) -> Drift | None:
    """`said` is the owner's own word, None when it does not carry the SKU at this place."""
    if not counted.known:
        return _owner_drift(counted, said, "unknown_sku", certain=True)
    if said is None:
        return None if counted.expected == 0 else _owner_drift(counted, None, "unlisted")
    if abs(said - counted.expected) <= counted.in_doubt:
        return None
    if not counted.by_owner:
        return _owner_drift(counted, said, "rival_writer", certain=True)
    if _in_other_unit(counted.expected, said, _ONE, counted.sizes):
        return _owner_drift(counted, said, "unit")
    if counted.feed_late:
        return _owner_drift(counted, said, "late")
    # The next report may bring it: only a feed that went on without it has lost it.
    return _owner_drift(counted, said, "dropped", pending=not counted.heard_since)


def late_after(calls_per_second: Decimal) -> Decimal:
    """After how many seconds a figure that waits is late: a minute, or three calls where calls are rare."""
    return max(Decimal(60), 3 / calls_per_second if calls_per_second > 0 else Decimal(60))


def _judge_waiting(told: Told, shown: Decimal | None, late_after: Decimal) -> Drift | None:
    if told.waiting_seconds is None or told.waiting_seconds < late_after or shown == told.wanted:
        return None
    return _channel_drift(told, told.wanted, shown, "late")


def _is_earlier(told: Told, shown: Decimal) -> bool:
    """The figure before, less what was sold from it: the newer one never arrived."""
    if told.previous is None or told.previous == told.acknowledged:
        return False
    return shown <= told.previous and told.previous - shown <= told.sold


def _in_other_unit(expected: Decimal, found: Decimal, unit_size: Decimal, sizes: tuple[Decimal, ...]) -> bool:
    """One is the other counted in another pack of the product, whole packs."""
    if expected <= 0 or found <= 0:
        return False
    for size in sizes:
        factor = size / unit_size
        if factor in (_NOTHING, _ONE):
            continue
        if factor < 1:
            factor = 1 / factor
        if found == expected * factor or expected == found * factor:
            return True
        # Rounded down to whole packs; one pack alone is too weak a hint.
        less, more = min(expected, found), max(expected, found)
        if less > 1 and more // factor == less:
            return True
    return False


def _channel_drift(
    told: Told, expected: Decimal, found: Decimal | None, cause: Cause, *, certain: bool = True
) -> Drift:
    amount = _amount(expected, found, told.price * told.unit_size)
    return Drift("channel", told.sku, "", expected, found, cause, amount, told.currency, certain)


def _owner_drift(
    counted: Counted, said: Decimal | None, cause: Cause, *, certain: bool = False, pending: bool = False
) -> Drift:
    amount = _amount(counted.expected, said, counted.price)
    expected = counted.expected if counted.known else None
    return Drift(
        "owner", counted.sku, counted.location, expected, said, cause, amount, counted.currency, certain, pending
    )


def _amount(expected: Decimal, found: Decimal | None, price: Decimal) -> Decimal:
    return (abs(expected - (found or _NOTHING)) * price).quantize(_CENT)
