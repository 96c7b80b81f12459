"""What the simulated partners do when asked: tax engine, payment provider, ERP, warehouse system, shop."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType
from typing import Any, Final

import msgspec

from crossdock.kit.arrivals import named, translate_items
from crossdock.kit.connector import Call, Connector, Done, Feed, Page
from crossdock.model.codes import gs1_check_digit
from crossdock.model.errors import Invalid, Refused, Unavailable
from crossdock.model.facts import BalancesReported, Fact, FulfilmentShorted
from crossdock.model.fulfilment import FulfilmentOrder, Package, Shipment, ShipmentPart, ShippedLine
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Quantity
from crossdock.prove.faults import FeedFault, Plan
from crossdock.prove.history import Dispatched, Effect
from crossdock.prove.partners import Caller, Serve, SimulatedPartner, declare
from crossdock.prove.shelves import declare_lane
from crossdock.prove.stock_history import Telling
from crossdock.prove.virtual_time import VirtualLoop

DECLINED: Final = "tok_declined"
CENT: Final = Decimal("0.01")
FEED: Final = "deliveries"
FEED_SECONDS: Final = 0.6
PAGE_SIZE: Final = 4
_ENCODER: Final = msgspec.json.Encoder()
_PART: Final = msgspec.json.Decoder(ShipmentPart)
_RELEASE: Final = msgspec.json.Decoder(FulfilmentOrder)


@dataclass(slots=True)
class Instruction:
    """What the warehouse was asked to ship in one call, and what it still will."""

    order: FulfilmentOrder
    rest: dict[str, Decimal]
    skus: dict[str, str]
    may_be_short: bool


@dataclass(slots=True)
class Pace:
    """How a warehouse works in this run: shares of instructions that are split, or not picked in full."""

    slowest_seconds: float = 4.0
    split: float = 0.3
    short: float = 0.15
    counts_max: int = 5
    count_gap_seconds: tuple[float, float] = (0.2, 2)
    places_max: int = 12


class Warehouse(SimulatedPartner):
    """Picks what was released after a while, tells shipments and shorts in its feed, keeps its own stock."""

    def __init__(
        self, name: str, plan: Plan, loop: VirtualLoop, chance: random.Random, stock: Mapping[tuple[str, str], Decimal],
        pace: Pace,
    ) -> None:  # fmt: skip
        super().__init__(name, plan, loop, chance)
        self.stock = dict(stock)
        self.dispatched: list[Dispatched] = []
        self.told: list[Fact] = []
        self.instructions: dict[str, Instruction] = {}
        self.counting = False
        self.expected = 0
        self._pace = pace
        self._pages: Mapping[int, FeedFault] = plan.pages(name)
        self._reads = 0
        self._numbers: dict[str, int] = defaultdict(int)

    def is_busy(self) -> bool:
        is_picking = any(any(instruction.rest.values()) for instruction in self.instructions.values())
        return self.counting or self.expected > 0 or is_picking

    async def count(self) -> None:
        """Now and then somebody counts some places, and may find goods that nobody knew of; what is there is told, some
        of it late."""
        self.counting = True
        late = []
        for _ in range(self.chance.randint(0, self._pace.counts_max)):
            await asyncio.sleep(self.chance.uniform(*self._pace.count_gap_seconds))
            most = min(len(self.stock), self._pace.places_max)
            places = self.chance.sample(sorted(self.stock), self.chance.randint(1, most))
            if self.chance.random() < 0.4:
                self.stock[places[0]] += self.chance.randint(1, 5)
            delay_seconds = self.chance.uniform(1, 6) if self.chance.random() < 0.4 else 0.0
            late.append(self.begin(self._tell_late(delay_seconds, self._number("B"), self._balances(places))))
        await asyncio.gather(*late)
        self.counting = False

    def _balances(self, places: Sequence[tuple[str, str]]) -> BalancesReported:
        as_of = self.loop.now()
        return BalancesReported(tuple(
            InventoryBalance(sku, location, Quantity(self.stock[sku, location], "C62"), as_of)
            for sku, location in places
        ))  # fmt: skip

    async def receive(self, at_seconds: float, goods: Mapping[tuple[str, str], Decimal]) -> None:
        """Goods that a supplier brings: put away, counted, told."""
        self.expected += 1
        await asyncio.sleep(max(at_seconds - self.loop.time(), 0))
        for place, quantity in goods.items():
            self.stock[place] += quantity
        self._tell("balances.reported", self._number("B"), "", self._balances(sorted(goods)))
        self.expected -= 1

    async def _tell_late(self, delay_seconds: float, number: str, body: BalancesReported) -> None:
        await asyncio.sleep(delay_seconds)
        self._tell("balances.reported", number, "", body)

    async def pick(self, instruction: Instruction) -> None:
        await asyncio.sleep(self.chance.uniform(0.01, self._pace.slowest_seconds))
        if instruction.may_be_short and self.chance.random() < self._pace.short:
            self._come_short(instruction)
        if self.chance.random() < self._pace.split:
            first = {line: (rest / 2).to_integral_value(ROUND_HALF_UP) for line, rest in instruction.rest.items()}
            self._ship(instruction, first)
            await asyncio.sleep(self.chance.uniform(0.01, self._pace.slowest_seconds))
        self._ship(instruction, dict(instruction.rest))

    def call_back(self, instruction: Instruction) -> dict[str, Decimal]:
        called_back = dict(instruction.rest)
        instruction.rest = dict.fromkeys(instruction.rest, Decimal(0))
        return called_back

    def _come_short(self, instruction: Instruction) -> None:
        line = self.chance.choice(sorted(instruction.rest))
        missing = Decimal(self.chance.randint(1, max(int(instruction.rest[line]), 1)))
        if not instruction.rest[line]:
            return
        instruction.rest[line] -= missing
        order = instruction.order
        body = FulfilmentShorted(
            order.number, order.warehouse, instruction.skus[line], str(missing), self.loop.now(), line, "not found"
        )
        self._tell("fulfilment.shorted", self._number("M"), order.number, body)

    def _ship(self, instruction: Instruction, wanted: Mapping[str, Decimal]) -> None:
        leaving = {line: quantity for line, quantity in wanted.items() if quantity > 0}
        if not leaving:
            return
        order = instruction.order
        goods: dict[str, Decimal] = {}
        for line, quantity in leaving.items():
            sku = instruction.skus[line]
            instruction.rest[line] -= quantity
            goods[sku] = goods.get(sku, Decimal(0)) + quantity
            self.stock[sku, order.warehouse] -= quantity
        number = self._number("S")
        names_lines = self.chance.random() < 0.7
        body = Shipment(
            number, order.number, order.warehouse, self.loop.now(),
            tuple(
                ShippedLine(instruction.skus[line], Quantity(quantity, "C62"), line if names_lines else "")
                for line, quantity in leaving.items()
            ),
            (Package(_sscc(number), f"TRK-{number}", "carrier"),),
        )  # fmt: skip
        self.dispatched.append(Dispatched(self.loop.now(), number, order.order_number, order.warehouse, goods))
        self._tell("shipment.confirmed", number, order.number, body)

    def _tell(self, kind: str, number: str, subject: str, body: Any) -> None:
        raw = _ENCODER.encode(body)
        self.told.append(Fact(self.name, kind, number, raw, raw, subject=subject))

    def _number(self, letter: str) -> str:
        self._numbers[letter] += 1
        return f"{letter}{self._numbers[letter]:05d}"

    def translate(self, connection: str, raw: bytes) -> list[Fact]:
        """A message in the other shape, which our side can read once it was told how."""
        if self.speaks_otherwise() is not None:
            raise Invalid("payload_form", "It does not have the expected form: no field `shipment`.")
        fields = msgspec.json.decode(raw)
        body = _ENCODER.encode(fields["content"])
        return [Fact(connection, fields["type"], fields["id"], body, raw, subject=fields["about"])]

    async def read(self, caller: Caller, cursor: str) -> Page:
        await caller.process.reach()
        await asyncio.sleep(self.chance.uniform(0.002, 0.05))
        self._reads += 1
        fault = self._pages.get(self._reads)
        if fault is not None:
            self.note(fault.kind, f"at its page {self._reads}")
        if fault is not None and fault.kind == "feed_down":
            raise Unavailable("partner_unavailable", "The feed is being maintained.", retry_after_seconds=0.5)
        after = int(cursor or "0")
        first = 0 if fault is not None and fault.kind == "repeat_page" else after
        last = min(after + PAGE_SIZE, len(self.told))
        facts = self.told[first:last]
        if fault is not None and fault.kind == "reorder_page":
            facts = facts[::-1]
        if self.speaks_otherwise() is not None:
            self.note("api_changed", f"tells {len(facts)} messages in another shape")
            facts = translate_items(
                self.name, FEED, [_ENCODER.encode(_in_other_shape(fact)) for fact in facts], self.translate, _number_of
            )
        await caller.process.reach()
        return Page(facts, str(last), more=last < len(self.told))


def _in_other_shape(fact: Fact) -> dict[str, Any]:
    return {"type": fact.kind, "id": fact.business_key, "about": fact.subject, "content": msgspec.Raw(fact.body)}


def _number_of(raw: bytes) -> str:
    return named(raw, "id")


def _done(
    partner: SimulatedPartner,
    call: Call,
    amount: Decimal = Decimal(0),
    result: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Done, Effect]:
    number = f"{partner.name}-{call.key}"
    effect = Effect(partner.loop.now(), partner.name, call.operation, call.key, call.number, amount, {}, number)
    return Done(_ENCODER.encode(dict(result)), number), effect


def _quote(partner: SimulatedPartner, call: Call) -> tuple[Done, Effect]:
    amounts = {line.line: (line.amount.amount * 19 / 100).quantize(CENT, ROUND_HALF_UP) for line in call.order.lines}
    taxes = {line: {"code": "EU-STD", "rate": "0.19", "amount": str(amount)} for line, amount in amounts.items()}
    return _done(partner, call, Decimal(0), {"taxes": taxes})


def _authorise(partner: SimulatedPartner, call: Call) -> tuple[Done, Effect]:
    if call.order.payment.token == DECLINED:
        raise Refused("card_declined", "The card was declined.", next_action="Ask the buyer for another card.")
    gross = call.order.net.amount
    for name, result in call.results.items():
        if name == "tax.quote":
            taxes = msgspec.json.decode(result)["taxes"]
            gross += sum((Decimal(line["amount"]) for line in taxes.values()), Decimal(0))
    return _done(partner, call, gross, {"authorisation": f"A-{call.key}", "amount": str(gross)})


def _with_part(partner: SimulatedPartner, call: Call) -> tuple[Done, Effect]:
    for needed in _BASED_ON.get(call.operation, ()):
        if partner.has_forgotten(f"{call.number}/{needed}"):
            raise Refused("document_unknown", f"There is no {needed} for {call.number}.", next_action="Enter it again.")
    part = _PART.decode(call.payload)
    done, effect = _done(partner, call, part.gross.amount, {"invoice": f"INV-{part.shipment}"})
    goods: dict[str, Decimal] = {}
    for line in part.lines:
        goods[line.sku] = goods.get(line.sku, Decimal(0)) + line.quantity.value
    return done, msgspec.structs.replace(effect, goods=goods)


def _plain(partner: SimulatedPartner, call: Call) -> tuple[Done, Effect]:
    return _done(partner, call, call.order.net.amount)


def _release(partner: SimulatedPartner, call: Call) -> tuple[Done, Effect]:
    if not isinstance(partner, Warehouse):
        raise TypeError(partner.name)
    order = _RELEASE.decode(call.payload)
    rest = {line.line: line.quantity.value for line in order.lines}
    skus = {line.line: line.sku for line in order.lines}
    instruction = Instruction(order, rest, skus, "#" not in call.name)
    # Asked twice, it would ship twice: the instruction is found by its key only when it is called back.
    partner.instructions.setdefault(call.key, instruction)
    partner.begin_work(partner.pick(instruction))
    done, effect = _done(partner, call)
    goods: dict[str, Decimal] = {}
    for line in order.lines:
        goods[line.sku] = goods.get(line.sku, Decimal(0)) + line.quantity.value
    return done, msgspec.structs.replace(effect, goods=goods)


def _call_back(partner: SimulatedPartner, call: Call) -> tuple[Done, Effect]:
    if not isinstance(partner, Warehouse):
        raise TypeError(partner.name)
    undone = msgspec.json.decode(call.payload)["undoes"]
    instruction = partner.instructions.get(f"{call.number}/{undone}")
    if instruction is None:
        raise Refused("instruction_unknown", "There is no such instruction.")
    called_back = partner.call_back(instruction)
    cancelled = {line: str(quantity) for line, quantity in called_back.items()}
    done, effect = _done(partner, call, Decimal(0), {"cancelled": cancelled})
    goods: dict[str, Decimal] = {}
    for line, quantity in called_back.items():
        goods[instruction.skus[line]] = goods.get(instruction.skus[line], Decimal(0)) + quantity
    return done, msgspec.structs.replace(effect, goods=goods)


async def _read_deliveries(client: Caller, connection: str, cursor: str) -> Page:
    if not isinstance(client.partner, Warehouse):
        raise TypeError(client.partner.name)
    return await client.partner.read(client, cursor)


def _sscc(number: str) -> str:
    body = f"34012345{number[1:]:0>9}"
    return body + gs1_check_digit(body)


_BASED_ON: Final = {"erp.ship": ("erp.place_order",), "payment.capture": ("payment.authorise",)}
SYSTEMS: Final = ("tax", "payment", "erp", "wms")
_SERVED: Final[Mapping[str, Mapping[str, Serve]]] = {
    "tax": {"tax.quote": _quote},
    "payment": {"payment.authorise": _authorise, "payment.capture": _with_part, "payment.void": _plain},
    "erp": {"erp.place_order": _plain, "erp.ship": _with_part, "erp.cancel_order": _plain},
    "wms": {"wms.release": _release, "wms.cancel": _call_back},
}  # fmt: skip
_CHANNEL: Final[Mapping[str, Serve]] = {
    "channel.acknowledge": _plain, "channel.ship": _with_part, "channel.cancel": _plain, "channel.status": _plain,
}  # fmt: skip


def declare_all(
    warehouse: Warehouse, channels: Sequence[str], shelves: Mapping[str, Telling] = MappingProxyType({})
) -> dict[str, Connector]:
    """The connectors of all simulated systems and channels; the warehouse is polled, shelves are told stock."""
    feeds = (Feed(FEED, read=_read_deliveries, interval_seconds=FEED_SECONDS, translate=warehouse.translate),)
    served = {**_SERVED, **dict.fromkeys(channels, _CHANNEL)}
    return {
        name: declare(
            name, served[name], feeds if name == warehouse.name else (),
            declare_lane(shelves[name]) if name in shelves else None,
        )
        for name in served
    }  # fmt: skip
