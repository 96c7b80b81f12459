"""The warehouse system of HAM and BHX: instructions in, waves, picks, shipments out.

A wave picks and ships what is open: now and then only a part (the rest follows in a later wave, as a further
shipment), rarely it finds less than the system says and reports a short pick. What is not picked yet can be cancelled.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final

import aiohttp
import msgspec

from crossdock.sandbox.service import Answer, Call, Refusal, Route
from crossdock.sandbox.storage import Storage
from crossdock.sandbox.webhooks import WebhookSender
from crossdock.sandbox.world import WAREHOUSES, World, WorldProduct

PAGE: Final = 100
INSTRUCTIONS_PER_WAVE: Final = 200
UNITS_PER_PACKAGE: Final = Decimal(200)
WHOLE: Final = frozenset({"C62", "PR", "XBX", "XPX"})
Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]


class InstructionLine(msgspec.Struct, frozen=True):
    line: str
    sku: str
    quantity: Decimal
    unit: str


class InstructionRequest(msgspec.Struct, frozen=True):
    number: str
    warehouse: str
    ship_to: dict[str, Any]
    lines: tuple[InstructionLine, ...]
    service: str = "standard"


class LineState(msgspec.Struct, frozen=True):
    line: str
    sku: str
    unit: str
    ordered: Decimal
    shipped: Decimal = Decimal(0)
    cancelled: Decimal = Decimal(0)
    short: Decimal = Decimal(0)

    @property
    def open(self) -> Decimal:
        return self.ordered - self.shipped - self.cancelled - self.short


class Instruction(msgspec.Struct, frozen=True):
    number: str
    warehouse: str
    state: str
    service: str
    ship_to: dict[str, Any]
    lines: tuple[LineState, ...]
    received_at: str


class CancelLine(msgspec.Struct, frozen=True):
    line: str
    quantity: Decimal


class CancelRequest(msgspec.Struct, frozen=True):
    """Without lines: all that is open."""

    reference: str = ""
    lines: tuple[CancelLine, ...] = ()


class Cancellation(msgspec.Struct, frozen=True):
    reference: str
    lines: tuple[CancelLine, ...]


class ShippedLine(msgspec.Struct, frozen=True):
    line: str
    sku: str
    quantity: Decimal
    unit: str


class ShippedPackage(msgspec.Struct, frozen=True):
    sscc: str
    tracking: str
    carrier: str


class WarehouseShipment(msgspec.Struct, frozen=True):
    number: str
    instruction: str
    warehouse: str
    lines: tuple[ShippedLine, ...]
    packages: tuple[ShippedPackage, ...]
    shipped_at: str


class Balance(msgspec.Struct, frozen=True):
    sku: str
    warehouse: str
    on_hand: Decimal
    unit: str


class Counted(msgspec.Struct, frozen=True):
    """Body of `POST /_control/count`: somebody counted the shelves."""

    counts: tuple[Balance, ...]


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the floor works: `POST /_control/auto`."""

    on: bool = True
    interval: Annotated[float, msgspec.Meta(ge=0.05)] = 4.0
    partial: Chance = 0.15
    short: Chance = 0.005
    seed: int = 1


class Warehouse:
    def __init__(
        self, storage: Storage, world: World, sender: WebhookSender | None, pace: Pace, carrier: tuple[str, str],
        places: Sequence[str] = WAREHOUSES,
    ) -> None:  # fmt: skip
        self._places = tuple(places)
        self._storage = storage
        self._sender = sender
        self._carrier_url, self._carrier_key = carrier
        self._products = {product.sku: product for product in world.sold}
        self._follow(pace)
        with storage.transaction():
            self._fill(world)

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/api/instructions", self.take_instruction, sequel=self.wave_now),
            Route("GET", "/api/instructions/{number}", self.read_instruction),
            Route("POST", "/api/instructions/{number}/cancellation", self.cancel),
            Route("GET", "/api/shipments", self.list_shipments),
            Route("GET", "/api/shorts", self.list_shorts),
            Route("GET", "/api/stock", self.read_stock),
            Route("POST", "/_control/wave", self.wave_now),
            Route("POST", "/_control/auto", self.set_pace),
            Route("POST", "/_control/count", self.count),
        )

    async def live(self) -> None:
        while True:
            await self._fetch_tracking_numbers()
            await asyncio.sleep(self._pace.interval)
            if self._pace.on:
                with self._storage.transaction():
                    self._wave()
                if self._sender is not None:
                    self._sender.announce()

    def take_instruction(self, call: Call) -> Answer:
        request = call.read(InstructionRequest)
        existing = self._storage.read("instruction", request.number, Instruction)
        if existing is not None:
            raise Refusal(409, "duplicate_number", "an instruction with this number is here already", existing)
        if request.warehouse not in self._places:
            raise Refusal(422, "unknown_warehouse", f"no warehouse {request.warehouse}")
        for line in request.lines:
            product = self._products.get(line.sku)
            if product is None or line.quantity <= 0 or line.unit not in {pack.unit for pack in product.packs}:
                raise Refusal(422, "bad_line", f"line {line.line}: unknown SKU, unit, or no quantity")
        lines = tuple(LineState(line.line, line.sku, line.unit, line.quantity) for line in request.lines)
        instruction = Instruction(
            request.number, request.warehouse, "open", request.service, request.ship_to, lines,
            datetime.now(UTC).isoformat(),
        )  # fmt: skip
        self._keep(instruction)
        self._storage.append_log("instruction", request.number, request)
        return Answer(instruction, 201)

    def read_instruction(self, call: Call) -> Answer:
        instruction = self._instruction(call.path["number"])
        cancellations = self._storage.read_children("cancellation", instruction.number, Cancellation)
        return Answer({**msgspec.to_builtins(instruction), "cancellations": cancellations})

    def cancel(self, call: Call) -> Answer:
        """Answers what could still be cancelled, per line; a repeated reference gets its first answer."""
        instruction, request = self._instruction(call.path["number"]), call.read(CancelRequest)
        for found in self._storage.read_children("cancellation", instruction.number, Cancellation):
            if request.reference and found.reference == request.reference:
                raise Refusal(409, "duplicate_reference", "this cancellation was done already", found)
        asked = {line.line: line.quantity for line in request.lines}
        lines, done = [], []
        for line in instruction.lines:
            quantity = min(line.open, asked.get(line.line, Decimal(0)) if request.lines else line.open)
            lines.append(msgspec.structs.replace(line, cancelled=line.cancelled + quantity))
            done.append(CancelLine(line.line, quantity))
        cancellation = Cancellation(request.reference, tuple(done))
        self._keep(msgspec.structs.replace(instruction, lines=tuple(lines)))
        number = self._storage.next_number("cancellation")
        self._storage.place("cancellation", str(number), cancellation, parent=instruction.number)
        self._storage.append_log("cancellation", f"{instruction.number}/{request.reference}", cancellation)
        return Answer(cancellation)

    def list_shipments(self, call: Call) -> Answer:
        return self._changes(call, "shipment", WarehouseShipment)

    def list_shorts(self, call: Call) -> Answer:
        return self._changes(call, "short", dict[str, Any])

    def read_stock(self, call: Call) -> Answer:
        warehouse = call.query.get("warehouse", self._places[0])
        after = call.query.get("after", "")
        if asked := call.query.get("skus", ""):
            keys = [f"{warehouse}/{sku}" for sku in asked.split(",")[:PAGE]]
            some = [self._storage.read("balance", key, Balance) for key in keys]
            known = [balance for balance in some if balance is not None]
            now = datetime.now(UTC).isoformat()
            return Answer({"as_of": now, "warehouse": warehouse, "balances": known, "next": ""})
        found = self._storage.read_by_key("balance", warehouse, after, PAGE + 1, Balance)
        cursor = f"{warehouse}/{found[PAGE - 1].sku}" if len(found) > PAGE else ""
        as_of = datetime.now(UTC).isoformat()
        return Answer({"as_of": as_of, "warehouse": warehouse, "balances": found[:PAGE], "next": cursor})

    def wave_now(self, call: Call) -> Answer:
        return Answer({"shipments": self._wave()})

    def set_pace(self, call: Call) -> Answer:
        self._follow(call.read(Pace))
        return Answer(self._pace)

    def count(self, call: Call) -> Answer:
        counts = call.read(Counted).counts
        for one in counts:
            self._storage.place("balance", f"{one.warehouse}/{one.sku}", one, parent=one.warehouse)
        self._storage.append_logs("count", [(f"{one.warehouse}/{one.sku}", one) for one in counts])
        return Answer({"counted": len(counts)})

    def _follow(self, pace: Pace) -> None:
        self._pace = pace
        self._chance = random.Random(pace.seed)

    def _fill(self, world: World) -> None:
        """Opening stock, once, in base units; a place that the world does not know, as a supplier's, begins empty."""
        if self._storage.next_number("opening", 1) > 1:
            return
        for product in world.products:
            for warehouse, quantity in product.stock:
                if warehouse not in self._places:
                    continue
                balance = Balance(product.sku, warehouse, Decimal(quantity), product.base_unit)
                self._storage.place("balance", f"{warehouse}/{product.sku}", balance, parent=warehouse)

    def _wave(self) -> list[str]:
        shipments = []
        for instruction in self._storage.read_children("open", "", Instruction, INSTRUCTIONS_PER_WAVE):
            number = self._pick(self._instruction(instruction.number))
            if number:
                shipments.append(number)
        return shipments

    def _pick(self, instruction: Instruction) -> str:
        partial = self._chance.random() < self._pace.partial
        lines, shipped = [], []
        for line in instruction.lines:
            after, quantity = self._pick_line(instruction, line, partial)
            if quantity > 0:
                after = msgspec.structs.replace(after, shipped=after.shipped + quantity)
                shipped.append(ShippedLine(line.line, line.sku, quantity, line.unit))
            lines.append(after)
        self._keep(msgspec.structs.replace(instruction, lines=tuple(lines)))
        return self._ship(instruction, tuple(shipped)) if shipped else ""

    def _pick_line(self, instruction: Instruction, line: LineState, partial: bool) -> tuple[LineState, Decimal]:
        """Return the line without what turned out to be short, and what was picked."""
        if line.open <= 0:
            return line, Decimal(0)
        if self._chance.random() < self._pace.short:
            after, quantity = self._short(instruction, line, line.open // 2)
            return self._take(instruction, after, quantity)
        quantity = self._part(line) if partial else line.open
        return self._take(instruction, line, quantity) if quantity > 0 else (line, Decimal(0))

    def _part(self, line: LineState) -> Decimal:
        if self._chance.random() < 0.4:
            return Decimal(0)
        return max((line.open / 2).to_integral_value(), Decimal(1)) if line.open >= 1 else line.open

    def _take(self, instruction: Instruction, line: LineState, quantity: Decimal) -> tuple[LineState, Decimal]:
        """Lower the balances, of a kit those of its components; what is not there is short."""
        product = self._products[line.sku]
        per_unit = {pack.unit: pack.quantity for pack in product.packs}[line.unit]
        needed = {part.sku: part.quantity * per_unit for part in product.components} or {line.sku: per_unit}
        balances = {sku: self._balance(instruction.warehouse, sku, product) for sku in needed}
        there = min(balance.on_hand / needed[sku] for sku, balance in balances.items())
        if line.unit in WHOLE:
            there = there // 1
        if there < quantity:
            line, quantity = self._short(instruction, line, there)
        if quantity > 0:
            for sku, balance in balances.items():
                lowered = msgspec.structs.replace(balance, on_hand=balance.on_hand - quantity * needed[sku])
                self._storage.place("balance", f"{instruction.warehouse}/{sku}", lowered, parent=instruction.warehouse)
        return line, quantity

    def _balance(self, warehouse: str, sku: str, product: WorldProduct) -> Balance:
        found = self._storage.read("balance", f"{warehouse}/{sku}", Balance)
        return found or Balance(sku, warehouse, Decimal(0), product.base_unit)

    def _short(self, instruction: Instruction, line: LineState, found: Decimal) -> tuple[LineState, Decimal]:
        """Only `found` is there: the rest will not be shipped, and is told."""
        missing = line.open - found
        number = f"SP-{self._storage.next_number('short', 1001)}"
        short = {
            "number": number, "instruction": instruction.number, "warehouse": instruction.warehouse,
            "line": line.line, "sku": line.sku, "quantity": missing, "unit": line.unit, "reason": "not on the shelf",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        self._storage.place("short", number, short)
        self._storage.append_log("short", number, short)
        self._tell("instruction.short", short)
        return msgspec.structs.replace(line, short=line.short + missing), found

    def _ship(self, instruction: Instruction, lines: tuple[ShippedLine, ...]) -> str:
        number = f"SH-{instruction.warehouse}-{self._storage.next_number('shipment number', 100001)}"
        count = min(5, 1 + int(sum(line.quantity for line in lines) // UNITS_PER_PACKAGE))
        packages = tuple(ShippedPackage(self._sscc(), self._tracking_number(), "swiftline") for _ in range(count))
        shipped_at = datetime.now(UTC).isoformat(timespec="seconds")
        shipment = WarehouseShipment(number, instruction.number, instruction.warehouse, lines, packages, shipped_at)
        self._storage.place("shipment", number, shipment)
        self._storage.append_log("shipment", number, shipment)
        self._tell("shipment.shipped", shipment)
        return number

    def _sscc(self) -> str:
        body = f"34012345{self._storage.next_number('sscc', 1):09d}"
        total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body)))
        return f"{body}{-total % 10}"

    def _tracking_number(self) -> str:
        """A number from the roll that the carrier gave us, or one of our own when the roll is empty."""
        rolls = self._storage.read_changes("roll", self._roll_used(), 1, str)
        if not rolls:
            return f"HB{self._storage.next_number('tracking', 550000001)}EU"
        position, number = rolls[0]
        self._storage.place("roll used", "last", position)
        return number

    def _roll_used(self) -> int:
        return self._storage.read("roll used", "last", int) or 0

    async def _fetch_tracking_numbers(self) -> None:
        """Keep a small roll of the carrier's labels at hand, so that no wave waits for the carrier."""
        if not self._carrier_url:
            return
        missing = 20 - len(self._storage.read_changes("roll", self._roll_used(), 20, str))
        headers = {"authorization": f"Bearer {self._carrier_key}"}
        timeout = aiohttp.ClientTimeout(total=3)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            for _ in range(max(0, missing)):
                try:
                    async with session.post(f"{self._carrier_url}/v1/shipments", json={"sscc": ""}) as response:
                        label = msgspec.json.decode(await response.read(), type=dict[str, Any])
                        if response.status != 201:
                            return
                except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
                    return
                with self._storage.transaction():
                    self._storage.place("roll", str(label["tracking_number"]), str(label["tracking_number"]))

    def _changes(self, call: Call, kind: str, shape: type[Any]) -> Answer:
        after = call.number("after", 0)
        changes = self._storage.read_changes(kind, after, PAGE + 1, shape)
        page = changes[:PAGE]
        cursor = str(page[-1][0] if page else after)
        return Answer({f"{kind}s": [found for _, found in page], "cursor": cursor, "more": len(changes) > PAGE})

    def _instruction(self, number: str) -> Instruction:
        instruction = self._storage.read("instruction", number, Instruction)
        if instruction is None:
            raise Refusal(404, "not_found", "no such instruction")
        return instruction

    def _keep(self, instruction: Instruction) -> None:
        done = all(line.open <= 0 for line in instruction.lines)
        moved = any(line.shipped > 0 for line in instruction.lines)
        state = ("shipped" if moved else "cancelled") if done else "partly_shipped" if moved else "open"
        instruction = msgspec.structs.replace(instruction, state=state)
        self._storage.place("instruction", instruction.number, instruction)
        # The list of open work is read by its parent; a finished instruction leaves it.
        self._storage.place("open", instruction.number, instruction, parent="done" if done else "")

    def _tell(self, topic: str, document: object) -> None:
        body = {"type": topic, "timestamp": datetime.now(UTC).isoformat(), "data": document}
        self._storage.queue_message(topic, msgspec.json.encode(body))
