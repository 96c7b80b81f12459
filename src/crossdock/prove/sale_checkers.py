"""Was anything sold that does not exist? Judged by the channels' and the warehouse's own logs, never by our ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import msgspec

Log = Sequence[Mapping[str, Any]]
Units = Mapping[str, Decimal]
_NO_KITS: Final[Mapping[str, Units]] = MappingProxyType({})


class Sold(msgspec.Struct, frozen=True):
    """An order as its channel wrote it down. `confirmed`: we told the channel that it will be served."""

    channel: str
    number: str
    units: dict[str, Decimal]
    confirmed: bool
    cancelled: bool


class Refused(msgspec.Struct, frozen=True):
    """A buyer who came last, and what should have been there for him by the policy alone."""

    channel: str
    sku: str
    expected: Decimal


def read_sold(
    channel: str, log: Log, sku_of_code: Mapping[str, str], kits: Mapping[str, Units] = _NO_KITS
) -> list[Sold]:
    """The orders of one channel. `sku_of_code`: GTIN -> SKU, as Agora knows goods by their packs."""
    confirmed = {str(entry["business_key"]) for entry in log if entry["kind"] == "acknowledgment"}
    confirmed |= {str(entry["business_key"]) for entry in log if entry["kind"] == "answer" and _is_promised(entry)}
    # The portal is told later what became of an order that was held when it asked.
    confirmed |= {_number(entry) for entry in log if _is_status(entry, "accepted")}
    cancelled = {
        _number(entry) for entry in log
        if entry["kind"] in ("cancellation", "buyer_cancellation") or _is_status(entry, "cancelled")
    }  # fmt: skip
    return [
        Sold(
            channel, str(entry["business_key"]), open_kits(_units(entry["document"], sku_of_code), kits),
            str(entry["business_key"]) in confirmed, str(entry["business_key"]) in cancelled,
        )
        for entry in log if entry["kind"] == "order"
    ]  # fmt: skip


def read_existing(log: Log, skus: Sequence[str]) -> dict[str, Decimal]:
    """What the warehouse counted before the sale, over its places."""
    found = dict.fromkeys(skus, Decimal(0))
    for entry in log:
        if entry["kind"] == "count" and entry["document"]["sku"] in found:
            found[entry["document"]["sku"]] += Decimal(entry["document"]["on_hand"])
    return found


def read_moved(log: Log, kind: str) -> dict[str, Decimal]:
    """Units by SKU of the warehouse's instructions or shipments."""
    found: dict[str, Decimal] = {}
    for entry in log:
        if entry["kind"] == kind:
            for line in entry["document"]["lines"]:
                found[line["sku"]] = found.get(line["sku"], Decimal(0)) + Decimal(line["quantity"])
    return found


def open_kits(units: Units, kits: Mapping[str, Units]) -> dict[str, Decimal]:
    """Units by SKU with the components in the place of kits."""
    found: dict[str, Decimal] = {}
    for sku, quantity in units.items():
        for part, count in kits.get(sku, {sku: Decimal(1)}).items():
            found[part] = found.get(part, Decimal(0)) + quantity * count
    return found


def sum_units(orders: Sequence[Sold]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for order in orders:
        for sku, quantity in order.units.items():
            found[sku] = found.get(sku, Decimal(0)) + quantity
    return found


def find_beyond(units: Units, existing: Units) -> dict[str, Decimal]:
    """SKU -> units beyond what existed."""
    return {
        sku: quantity - existing.get(sku, Decimal(0)) for sku, quantity in sorted(units.items())
        if quantity > existing.get(sku, Decimal(0))
    }  # fmt: skip


def check_sold(sold: Sequence[Sold], existing: Units) -> list[str]:
    """No channel sold what another had sold already."""
    standing = [order for order in sold if not order.cancelled]
    return [
        f"{sku}: {quantity:f} units were sold beyond the {existing.get(sku, Decimal(0)):f} that existed"
        for sku, quantity in find_beyond(sum_units(standing), existing).items()
    ]


def check_confirmed(sold: Sequence[Sold], existing: Units) -> list[str]:
    """No unit was promised to two accepted orders, whatever the channels sold."""
    confirmed = [order for order in sold if order.confirmed and not order.cancelled]
    return [
        f"{sku}: {quantity:f} units were confirmed beyond the {existing.get(sku, Decimal(0)):f} that existed"
        for sku, quantity in find_beyond(sum_units(confirmed), existing).items()
    ]


def check_served(sold: Sequence[Sold]) -> list[str]:
    """Each order that was sold is confirmed or called off in the end."""
    return [
        f"{order.number} of {order.channel} was sold and is neither confirmed nor cancelled"
        for order in sold if not order.confirmed and not order.cancelled
    ]  # fmt: skip


def check_shipped(sold: Sequence[Sold], warehouse: Log, kits: Mapping[str, Units] = _NO_KITS) -> list[str]:
    """What left the warehouse is what was confirmed, unit for unit; nothing was missing on the shelf."""
    confirmed = sum_units([order for order in sold if order.confirmed and not order.cancelled])
    found = [
        f"{entry['document']['sku']}: {entry['document']['quantity']} missing on the shelf"
        for entry in warehouse if entry["kind"] == "short"
    ]  # fmt: skip
    shipped = open_kits(read_moved(warehouse, "shipment"), kits)
    for sku in sorted(confirmed.keys() | shipped.keys()):
        left, promised = shipped.get(sku, Decimal(0)), confirmed.get(sku, Decimal(0))
        if left != promised:
            found.append(f"{sku}: {left:f} left the warehouse, {promised:f} were confirmed")
    return found


def check_refused(refused: Sequence[Refused]) -> list[str]:
    """After everything came to rest, nobody is refused what is there beyond the buffer."""
    return [f"{one.sku}: {one.channel} refused one although {one.expected:f} should be shown there" for one in refused]


def _units(document: Mapping[str, Any], sku_of_code: Mapping[str, str]) -> Mapping[str, Decimal]:
    """Units by SKU of an order in the words of any of the channels; buyers order base units only."""
    found: dict[str, Decimal] = {}
    for line in document.get("lines") or document.get("items") or ():
        sku = str(line.get("sku") or sku_of_code.get(str(line.get("gtin")), line.get("gtin")))
        quantity = line.get("quantity", line.get("packs"))
        quantity = quantity["value"] if isinstance(quantity, Mapping) else quantity
        found[sku] = found.get(sku, Decimal(0)) + Decimal(str(quantity))
    return found


def _number(entry: Mapping[str, Any]) -> str:
    return str(entry["business_key"]).partition("/")[0]


def _is_status(entry: Mapping[str, Any], status: str) -> bool:
    return bool(entry["kind"] == "status" and entry["document"]["status"] == status)


def _is_promised(entry: Mapping[str, Any]) -> bool:
    """The portal's answer from our API: accepted, and not held for a person."""
    document = entry["document"]
    return int(document["status"]) < 300 and document["answer"].get("state") not in ("held", "refused", "received")
