"""An owner and three channels with storage of their own, a ledger between them, and breaks planted with a known cause.

Time is a clock in the test's hand: nothing sleeps. The partners keep what they are told in SQLite files; these, and the
channels' write logs, say in the end whether a repair arrived.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from crossdock.engine.comparison import Reconciler
from crossdock.engine.decider import Decider
from crossdock.engine.intake import Acceptor
from crossdock.engine.ports import OpenConnection, PlanBook
from crossdock.engine.publication_lane import PublicationLane
from crossdock.engine.publication_planner import PublicationPlanner
from crossdock.engine.stock_facts import StockDesk
from crossdock.engine.worker import make_known
from crossdock.kit.connector import Connector, Shown, StockLane
from crossdock.ledger import master_data, publications
from crossdock.ledger import steps as steps_ledger
from crossdock.ledger.database import open_pool
from crossdock.ledger.facts import insert_facts
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.documents import Pack, Product
from crossdock.model.facts import BalancesReported, Fact
from crossdock.model.stock import InventoryBalance, StockFigure
from crossdock.model.values import Money, Quantity
from crossdock.policy.plans import Plans
from crossdock.policy.policy import ChannelPolicy, Location, Policy, Sourcing
from crossdock.policy.stock import ChannelStock, StockOwner, StockPolicy
from crossdock.rules.ownership import compile_ownership
from crossdock.sandbox.storage import Storage

CHANNELS = ("market", "shop", "portal")
OWNERS = {"HAM": "depot", "BHX": "silent"}
CHANNEL_BREAKS = ("dropped", "late", "unit", "rival_writer", "unknown_sku", "unlisted")
OWNER_BREAKS = ("dropped", "late", "unit", "rival_writer", "unknown_sku", "unlisted")
PACK = Decimal(12)
READ_MAX = 500
Break = tuple[str, str, str, str]
"""(side, counterpart, SKU, location)."""


class Settings(msgspec.Struct, frozen=True):
    pass


@asynccontextmanager
async def as_client(settings: Any) -> AsyncIterator[Any]:
    yield settings


@dataclass
class OwnChannel:
    """A channel: what it shows, its write log, and what is wrong with it. SKU -> what becomes of a figure."""

    storage: Storage
    faults: dict[str, str] = field(default_factory=dict)

    async def publish(self, _: Any, figures: Sequence[StockFigure]) -> Sequence[Shown]:
        answer, rows, log = [], [], []
        for figure in figures:
            fault = self.faults.get(figure.sku, "")
            code = {"late": "try_later", "unknown_sku": "sku_unknown"}.get(fault, "")
            answer.append(Shown(figure.sku, code, fault))
            if code or fault == "dropped":
                continue
            shown = figure.quantity * PACK if fault == "unit" else figure.quantity
            rows.append((figure.sku, figure.unit, str(shown), "seller"))
            log.append((figure.sku, {"quantity": str(shown)}))
        with self.storage.transaction():
            self.storage.place_listings(rows)
            self.storage.append_logs("stock", log)
        return answer

    async def read_back(self, _: Any, skus: Sequence[str]) -> Mapping[str, Decimal]:
        """What was taken off the shelf is shown as "gone" in the storage, and left out."""
        return {row[0]: Decimal(row[2]) for row in self.storage.read_listings(skus) if row[3] != "gone"}

    def write(self, sku: str, figure: Decimal, by: str) -> None:
        with self.storage.transaction():
            self.storage.place_listings([(sku, "C62", str(figure), by)])

    def told_after(self, sequence: int) -> dict[str, Decimal]:
        """SKU -> the last figure that the log took after an entry."""
        found: dict[str, Decimal] = {}
        while entries := self.storage.read_log(sequence):
            for entry in entries:
                found[entry.business_key] = Decimal(msgspec.json.decode(entry.document)["quantity"])
            sequence = entries[-1].sequence
        return found

    def last_sequence(self) -> int:
        sequence = 0
        while entries := self.storage.read_log(sequence):
            sequence = entries[-1].sequence
        return sequence


@dataclass
class OwnDepot:
    """An owner's balances in base units, by place."""

    storage: Storage
    clock: Any

    def count(self, rows: Sequence[tuple[str, Decimal]]) -> None:
        with self.storage.transaction():
            self.storage.place_listings([(sku, "C62", str(figure), "counted") for sku, figure in rows])

    def forget(self, sku: str) -> None:
        with self.storage.transaction():
            self.storage.place_listings([(sku, "C62", "0", "gone")])

    async def read(self, _: Any, location: str, skus: Sequence[str]) -> Sequence[InventoryBalance]:
        now = self.clock()
        return [
            InventoryBalance(row[0], location, Quantity(Decimal(row[2]), "C62"), now)
            for row in self.storage.read_listings(skus) if row[3] != "gone"
        ]  # fmt: skip


@dataclass
class DriftWorld:
    pool: asyncpg.Pool[Any]
    channels: dict[str, OwnChannel]
    owners: dict[str, OwnDepot]
    skus: list[str]
    now: datetime
    seed: int
    lanes: list[PublicationLane] = field(default_factory=list)
    planner: PublicationPlanner | None = None
    reconciler: Reconciler | None = None
    desk: StockDesk | None = None
    planted: dict[Break, str] = field(default_factory=dict)

    def clock(self) -> datetime:
        return self.now

    async def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        async with self.pool.acquire() as connection:
            await steps_ledger.beat(connection, "worker-1", "worker", self.now)

    async def report(self, source: str, location: str, rows: Sequence[tuple[str, Decimal]], key: str) -> None:
        """The owner's feed brings a report, in parts of a thousand rows, and the desk takes it."""
        facts = []
        for first in range(0, len(rows), 1000):
            balances = tuple(
                InventoryBalance(sku, location, Quantity(figure, "C62"), self.now)
                for sku, figure in rows[first : first + 1000]
            )
            body = msgspec.json.encode(BalancesReported(balances))
            version = self.now.isoformat()
            facts.append(Fact(source, "balances.reported", f"{key}-{first}", body, body, version=version))
        async with self.pool.acquire() as connection:
            await insert_facts(connection, facts, self.now)
        await self.decide()

    async def decide(self) -> None:
        assert self.desk is not None
        while await self.desk.decide_waiting():
            pass

    async def decide_orders(self) -> int:
        plans = PlanBook({}, {name: name for name in CHANNELS}, {}, compile_ownership(make_policy().stock))
        acceptor = Acceptor(make_policy(), plans, ReferenceCache(), self.clock)
        return await Decider(self.pool, acceptor, plans, self.clock).decide_orders()

    async def publish(self) -> None:
        """Until nothing is to be counted and no lane tells anything any more."""
        assert self.planner is not None
        while await self.planner.count_changes():
            pass
        for lane in self.lanes:
            while await lane.turn():
                pass

    async def compare_everything(self) -> None:
        """A look at every slice of every channel and place, twice, as time goes on."""
        assert self.reconciler is not None
        slices = 2 * (len(self.skus) // (READ_MAX // 2) + 3)
        for _ in range(slices):
            await self.pass_time(3)
            for lane in self.lanes:
                await lane.turn()
        for _ in range(2 * (len(self.skus) // 100 + 3)):
            await self.pass_time(3)
            await self.reconciler.look_at_owners()
        await self.reconciler.look_at_channels()

    async def repair(self, rounds: int) -> None:
        """Time goes on: repairs are made, told, read back."""
        assert self.reconciler is not None
        for _ in range(rounds):
            await self.pass_time(60)
            await self.reconciler.look_at_channels()
            await self.reconciler.look_at_owners()
            await self.decide()
            await self.publish()

    async def found(self, states: Sequence[str] = ("open", "repairing", "repaired")) -> dict[Break, str]:
        rows = await self.pool.fetch(
            "SELECT side, counterpart, sku, location, cause FROM stock_drift WHERE state = ANY ($1::text[])",
            list(states),
        )
        return {(row[0], row[1], row[2], row[3]): row[4] for row in rows}


def make_policy(repair: Any = "ask") -> Policy:
    told = ChannelStock(compare_calls_per_minute=600, repair=repair, calls_per_second=Decimal(1_000_000))
    owners = tuple(
        StockOwner(location, connection, compare_calls_per_minute=600, repair=repair)
        for location, connection in OWNERS.items()
    )
    return Policy(
        version=repair,
        channels={name: ChannelPolicy(connection=name, currencies=("EUR",), payments=("card",)) for name in CHANNELS},
        regions={"DE": "EU"}, locations={code: Location(code, "EU", owner) for code, owner in OWNERS.items()},
        sourcing=Sourcing({"EU": tuple(OWNERS)}), plans=Plans([]),
        stock=StockPolicy(owners=owners, channels=dict.fromkeys(CHANNELS, told)),
    )  # fmt: skip


def make_product(sku: str, gtin: str = "") -> Product:
    packs = (Pack("C62", Decimal(1)), Pack("XBX", PACK, gtin))
    return Product(sku, sku, "C62", "standard", (Money(Decimal("2.50"), "EUR"),), packs)


async def place_products(pool: asyncpg.Pool[Any], skus: Sequence[str], now: datetime, gtin: str = "") -> None:
    for first in range(0, len(skus), 1000):
        async with pool.acquire() as connection, connection.transaction():
            await master_data.place_products(
                connection, [("erp", make_product(sku, gtin)) for sku in skus[first : first + 1000]], now
            )


@asynccontextmanager
async def open_drift_world(dsn: str, home: Path, count: int, seed: int) -> AsyncIterator[DriftWorld]:
    """`count` SKUs, each at one of two places, told to three channels: four pairs each."""
    pool = await open_pool(dsn, size=6)
    channels = {name: OwnChannel(Storage(home / f"{name}.sqlite")) for name in CHANNELS}
    skus = [f"D-{number:06d}" for number in range(count)]
    world = DriftWorld(pool, channels, {}, skus, datetime.now(UTC), seed)
    world.owners = {name: OwnDepot(Storage(home / f"{name}.sqlite"), world.clock) for name in OWNERS.values()}
    try:
        await place_products(pool, skus, world.now)
        await start(world, "ask")
        yield world
    finally:
        await pool.close()
        for storage in [each.storage for each in channels.values()] + [each.storage for each in world.owners.values()]:
            storage.close()


async def start(world: DriftWorld, repair: str) -> None:
    """The worker's parts under a policy that repairs by itself, or asks."""
    policy = make_policy(repair)
    connections = []
    for name, channel in world.channels.items():
        lane = StockLane(
            publish=channel.publish, read_back=channel.read_back, batch_max=1000, read_max=READ_MAX,
            calls_per_second=1000.0, burst=1000.0,
        )  # fmt: skip
        connections.append(OpenConnection(name, Connector(name, name, Settings, open=as_client, stock=lane), channel))
    for name, owner in world.owners.items():
        connector = Connector(name, name, Settings, open=as_client, read_balances=owner.read)
        connections.append(OpenConnection(name, connector, owner))
    await make_known(world.pool, connections)
    await world.pass_time(60)
    world.lanes = [
        PublicationLane(
            world.pool, opened.name, opened, opened.connector.stock, policy.stock.channels[opened.name], "worker-1",
            world.clock,
        )
        for opened in connections if opened.connector.stock is not None
    ]  # fmt: skip
    world.planner = PublicationPlanner(world.pool, policy, CHANNELS, world.clock, lambda _: None)
    paces = {lane.channel: lane.pace for lane in world.lanes}
    async with world.pool.acquire() as connection, connection.transaction():
        await publications.place_lanes(connection, paces, policy.version, world.now)
    calls = {channel: pace.calls_per_second for channel, pace in paces.items()}
    world.reconciler = Reconciler(world.pool, connections, policy.stock, calls, world.clock)
    ownership = compile_ownership(policy.stock)
    world.desk = StockDesk(world.pool, policy, ownership, ReferenceCache(), world.clock)


async def settle(world: DriftWorld) -> None:
    """Two rounds of reports and figures, so that every channel acknowledged a figure and the one before."""
    chance = random.Random(world.seed)
    for round_number in range(2):
        await world.pass_time(30)
        for index, (location, owner) in enumerate(OWNERS.items()):
            rows = [(sku, Decimal(chance.randint(200, 900))) for sku in world.skus[index::2]]
            world.owners[owner].count(rows)
            await world.report(owner, location, rows, f"round-{round_number}")
        await world.publish()
