"""The real ERP's tables against what the other systems logged: every order, shipment, invoice and payment once, to the
cent.

Nothing here asks Crossdock. What was ordered and accepted comes from the channels' own logs, what left from the
warehouses', the taxes from the tax engine's, the money from the payment provider's.
"""

from __future__ import annotations

import json
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from crossdock.sandbox.shop import UNIT_WORDS
from crossdock.sandbox.world import REGION_OF_COUNTRY, make_world

CENT: Final = Decimal("0.01")
OFFSETS: Final[Mapping[str, int]] = {
    "erp": 1, "shop": 2, "portal": 3, "bazaar": 4, "agora": 5, "wms": 6, "tax": 7, "payment": 8,
    "supplier": 10, "centre": 11,
}  # fmt: skip
CHANNELS: Final = ("shop", "portal", "bazaar", "agora")
WAREHOUSES: Final = ("wms", "supplier", "centre")
_UNITS: Final = {word: code for code, word in UNIT_WORDS.items()}
Row = dict[str, Any]
Lines = Counter[tuple[str, Decimal, Decimal]]


@dataclass(frozen=True, slots=True)
class Ordered:
    """What a buyer ordered at a channel: SKU, base quantity and net amount of each line."""

    currency: str
    party: str
    lines: Lines

    @property
    def net(self) -> Decimal:
        return sum((amount * count for (_, _, amount), count in self.lines.items()), Decimal(0))


def ask(port: int, system: str, path: str, method: str = "GET", body: object = None) -> Any:
    address = f"http://127.0.0.1:{port + OFFSETS[system]}{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - a loopback address of our own
        return json.load(answer)


def read_log(port: int, system: str, kind: str = "") -> list[Row]:
    """A partner's whole write log, or one kind of its entries."""
    found: list[Row] = []
    after = 0
    while page := ask(port, system, f"/_log?after={after}"):
        after = page[-1]["sequence"]
        found += [row for row in page if not kind or row["kind"] == kind]
    return found


def read_shipments(port: int) -> dict[str, Row]:
    """What left any of the warehouses, by its number."""
    return {row["business_key"]: row["document"] for system in WAREHOUSES for row in read_log(port, system, "shipment")}


def read_documents(port: int, kind: str) -> list[Row]:
    """What Tryton's tables hold."""
    found: list[Row] = []
    while page := ask(port, "erp", f"/_documents?kind={kind}&after={found[-1]['id'] if found else 0}")[kind]:
        found += page
    return found


def count_done(port: int) -> int:
    return sum(row["state"] in ("posted", "paid") for row in read_documents(port, "invoices"))


def judge(port: int) -> dict[str, int]:
    """Raises AssertionError where the systems disagree; returns what was compared."""
    ordered, accepted = read_orders(port)
    sales = {row["description"]: row for row in judge_sales(port, ordered, accepted)}
    shipped = judge_shipments(port)
    invoiced = judge_invoices(port, shipped)
    paid = judge_payments(port)
    complete = 0
    for name in accepted:
        sale = sales[name]
        owed = sum((Decimal(str(line["quantity"])) for line in sale["lines"]), Decimal(0))
        left = sum((count for _, count in shipped.get(sale["reference"], {}).values()), Decimal(0))
        net = invoiced.get(sale["reference"], Decimal(0))
        assert net <= Decimal(sale["untaxed"]), name
        if owed == left:
            complete += 1
            assert net == Decimal(sale["untaxed"]), (name, net, sale["untaxed"])
            # What a card paid whole is at its end; a customer on account, or a marketplace, has yet to pay.
            ends = shipped[sale["reference"]].keys() <= paid.keys()
            assert (sale["shipment_state"], sale["state"]) == ("sent", "done" if ends else "processing"), name
    shipments = sum(map(len, shipped.values()))
    return {
        "ordered": len(ordered), "accepted": len(accepted), "shipments": shipments, "payments": len(paid),
        "shipped whole": complete,
    }  # fmt: skip


def read_orders(port: int) -> tuple[dict[str, Ordered], set[str]]:
    """Every order of every channel by "channel number", and those that the channel was told are accepted."""
    ordered: dict[str, Ordered] = {}
    accepted: set[str] = set()
    for channel in CHANNELS:
        for row in read_log(port, channel):
            name, document = f"{channel} {row['business_key']}", row["document"]
            if row["kind"] == "order":
                ordered[name] = _READERS[channel](document)
            elif row["kind"] == "acknowledgment":
                accepted.add(name)
            elif row["kind"] == "answer":
                accepted |= {name} if document["answer"].get("state") == "accepted" else set()
            elif row["kind"] in ("status", "cancellation"):
                name = name.partition("/")[0]
                if row["kind"] == "cancellation" or document["status"] in ("cancelled", "held"):
                    accepted.discard(name)
                elif document["status"] == "accepted":
                    accepted.add(name)
    return ordered, accepted


def judge_sales(port: int, ordered: Mapping[str, Ordered], accepted: set[str]) -> list[Row]:
    """Each accepted order is one sale with its lines and its total; nothing else is there."""
    live = [row for row in read_documents(port, "sales") if row["state"] in ("confirmed", "processing", "done")]
    live = [row for row in live if not (row["reference"] or "").endswith("/cancelled")]
    names = Counter(row["description"] for row in live)
    doubled = [name for name, count in names.items() if count > 1]
    assert not doubled, f"twice in the ERP: {doubled}"
    assert len({row["reference"] for row in live}) == len(live)
    missing, strange = accepted - names.keys(), names.keys() - accepted
    assert not missing, f"accepted, but not in the ERP: {sorted(missing)}"
    assert not strange, f"in the ERP, but not accepted: {sorted(strange)}"
    for sale in live:
        wish = ordered[sale["description"]]
        lines: Lines = Counter(
            (line["product"], Decimal(str(line["quantity"])).normalize(), Decimal(line["amount"]))
            for line in sale["lines"]
        )
        assert lines == wish.lines, (sale["description"], lines - wish.lines, wish.lines - lines)
        assert (Decimal(sale["untaxed"]), sale["currency"], sale["party"]) == (wish.net, wish.currency, wish.party)
    return live


def judge_shipments(port: int) -> dict[str, dict[str, tuple[str, Decimal]]]:
    """What left each warehouse is one goods issue in the ERP. Returns order -> shipment -> its number and pieces."""
    left = read_shipments(port)
    booked = [row for row in read_documents(port, "shipments") if row["reference"]]
    assert Counter(row["reference"] for row in booked) == dict.fromkeys(left, 1)
    shipped: dict[str, dict[str, tuple[str, Decimal]]] = defaultdict(dict)
    for row in booked:
        document = left[row["reference"]]
        assert (row["state"], row["warehouse"]) == ("done", document["warehouse"]), row["reference"]
        assert {move["state"] for move in row["moves"]} == {"done"}, row["reference"]
        moved = _summed((move["product"], move["quantity"]) for move in row["moves"])
        assert moved == _summed(pair for line in document["lines"] for pair in _parts(line["sku"], line["quantity"])), (
            row["reference"]
        )
        shipped[document["instruction"][:10]][row["reference"]] = (row["number"], sum(moved.values(), Decimal(0)))
    return shipped


def judge_invoices(port: int, shipped: Mapping[str, Mapping[str, Any]]) -> dict[str, Decimal]:
    """Each shipment has one posted invoice; tax engine and payment provider agree with it. Returns net by order."""
    order_of = {shipment: order for order, found in shipped.items() for shipment in found}
    invoices = [row for row in read_documents(port, "invoices") if row["state"] != "cancelled"]
    assert Counter(row["reference"] for row in invoices) == dict.fromkeys(order_of, 1)
    assert {row["state"] for row in invoices} <= {"posted", "paid"}
    assert len({row["number"] for row in invoices}) == len(invoices)
    taxes = {row["document"]["document"]: Decimal(str(row["document"]["tax"])) for row in _transactions(port)}
    assert taxes.keys() == order_of.keys()
    captured = {row["business_key"]: row["document"]["amount"] for row in read_log(port, "payment", "capture")}
    nets: dict[str, Decimal] = defaultdict(Decimal)
    for row in invoices:
        shipment, net, tax = row["reference"], Decimal(row["untaxed"]), Decimal(row["tax"])
        assert tax == taxes[shipment], (shipment, tax, taxes[shipment])
        if shipment in captured:
            assert captured[shipment] == (net + tax) * 100, (shipment, captured[shipment], net, tax)
        nets[order_of[shipment]] += net
    return nets


def judge_payments(port: int) -> dict[str, Decimal]:
    """What was captured for a shipment is the one payment of its invoice, posted and reconciled, so that Tryton itself
    calls that invoice paid, and no other. Returns the amount by shipment."""
    captured = {row["business_key"]: row["document"] for row in read_log(port, "payment", "capture")}
    payments = read_documents(port, "payments")
    assert Counter(row["reference"] for row in payments) == dict.fromkeys(captured, 1)
    for row in payments:
        shipment, amount = row["reference"], Decimal(row["amount"])
        assert amount * 100 == captured[shipment]["amount"], (shipment, amount, captured[shipment])
        assert (row["state"], row["reconciled"]) == ("posted", True), row
        assert row["description"].split() == [captured[shipment]["id"], shipment], row
    invoices = [row for row in read_documents(port, "invoices") if row["state"] != "cancelled"]
    assert {row["reference"] for row in invoices if row["state"] == "paid"} == captured.keys()
    currencies = {row["reference"]: row["currency"] for row in invoices}
    assert all(row["currency"] == currencies[row["reference"]] for row in payments)
    return {row["reference"]: Decimal(row["amount"]) for row in payments}


def _transactions(port: int) -> list[Row]:
    rows = read_log(port, "tax", "transaction")
    for row in rows:
        row["document"]["tax"] = sum((Decimal(str(line["tax"])) for line in row["document"]["lines"]), Decimal(0))
    return rows


def _parts(sku: str, quantity: Any) -> list[tuple[str, Decimal]]:
    """What left: of a kit its components."""
    product = _PRODUCTS.get(sku)
    components = product.components if product is not None else ()
    return [(part.sku, part.quantity * Decimal(str(quantity))) for part in components] or [(sku, quantity)]


def _summed(pairs: Any) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for sku, quantity in pairs:
        found[sku] += Decimal(str(quantity))
    return found


_PRODUCTS: Final = {product.sku: product for product in make_world().sold}
_GTINS: Final = {pack.gtin: (product.sku, pack) for product in _PRODUCTS.values() for pack in product.packs}


def _line(sku: str, unit: str, quantity: str, price: Decimal) -> tuple[str, Decimal, Decimal]:
    packs = {pack.unit: pack.quantity for pack in _PRODUCTS[sku].packs} if sku in _PRODUCTS else {}
    count = Decimal(str(quantity))
    return sku, (count * packs.get(unit, 1)).normalize(), (count * price).quantize(CENT, ROUND_HALF_UP)


def _lines(lines: Iterable[tuple[str, Decimal, Decimal]]) -> Lines:
    """As the ERP has them: components in the place of a kit, the first of them at its price."""
    found: Lines = Counter()
    for sku, count, amount in lines:
        product = _PRODUCTS.get(sku)
        parts = [(part.sku, part.quantity) for part in product.components] if product is not None else []
        for place, (part, each) in enumerate(parts or [(sku, 1)]):
            found[part, (count * each).normalize(), amount if place == 0 else amount * 0] += 1
    return found


def _consumer(country: str) -> str:
    return f"WEB-{REGION_OF_COUNTRY.get(country, '')}"


def _shop(document: Row) -> Ordered:
    lines = (
        _line(row["sku"], _UNITS.get(row["unit"], row["unit"]), row["quantity"], Decimal(str(row["price"])))
        for row in document["lines"]
    )
    return Ordered(document["currency"], _consumer(document["shipping_address"]["country"]), _lines(lines))


def _portal(document: Row) -> Ordered:
    lines = (
        _line(row["sku"], row["quantity"]["unit"], row["quantity"]["value"], Decimal(row["unit_price"]["amount"]))
        for row in document["lines"]
    )
    return Ordered(document["currency"], document["customer"], _lines(lines))


def _bazaar(document: Row) -> Ordered:
    lines = (
        _line(row["sku"], row["unit"], row["quantity"], Decimal(row["unit_price_minor"]) / 100)
        for row in document["items"]
    )
    return Ordered(document["currency"], _consumer(document["ship_to"]["country_code"]), _lines(lines))


def _agora(document: Row) -> Ordered:
    lines = []
    for row in document["lines"]:
        sku, pack = _GTINS.get(row["gtin"], (row["gtin"], None))
        lines.append(_line(sku, pack.unit if pack else "", row["packs"], Decimal(row["pricePerPack"])))
    return Ordered(document["currencyCode"], _consumer(document["deliverTo"]["country"]), _lines(lines))


_READERS: Final = {"shop": _shop, "portal": _portal, "bazaar": _bazaar, "agora": _agora}
