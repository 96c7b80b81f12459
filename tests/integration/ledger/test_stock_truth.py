"""Stock truth: the hard cases of docs/inventory.md with their numbers, and the field's own complaints by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import structlog
from structlog.testing import capture_logs

from crossdock.engine.stock_facts import StockDesk
from crossdock.engine.stock_watch import StockWatch
from crossdock.insight.overview import read_overview
from crossdock.ledger import master_data, stock
from crossdock.ledger.database import open_pool
from crossdock.ledger.decisions import ReservationRow, insert_reservations
from crossdock.ledger.facts import insert_facts
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.documents import Pack, Product
from crossdock.model.facts import BalancesReported, Fact, StockMoved
from crossdock.model.stock import InventoryBalance, LotBalance, StockMovement
from crossdock.model.values import Money, Quantity
from crossdock.policy.policy import Policy
from crossdock.policy.stock import Freshness, StockOwner, StockPolicy
from crossdock.rules.ownership import Ownership, compile_ownership
from tests.integration.engine.bench_world import make_policy

DAY = datetime(2026, 3, 2, tzinfo=UTC)
TOLD = StockOwner("HAM", "erp", told_by="erp.ship")
TAKES = StockOwner("HAM", "erp", contains="orders", told_by="erp.place_order")
COUNTS = StockOwner("HAM", "wms")


def at(clock: str) -> datetime:
    """The day's time: "10:00" or "10:00:05"."""
    hours, minutes, *seconds = (int(part) for part in clock.split(":"))
    return DAY + timedelta(hours=hours, minutes=minutes, seconds=seconds[0] if seconds else 0)


@dataclass
class Place:
    """Hamburg and one SKU, as the ledger has it. The clock is what the test says."""

    pool: asyncpg.Pool[Any]
    policy: Policy
    ownership: Ownership
    desk: StockDesk
    watch: StockWatch
    clock: list[datetime] = field(default_factory=lambda: [at("09:00")])
    version: int = 0

    async def report(
        self, source: str, *rows: tuple[str, str | int, str], unit: str = "C62", complete: bool = False, key: str = "",
        **more: Any,
    ) -> None:  # fmt: skip
        """Rows are (SKU, on hand, as of) at Hamburg."""
        balances = tuple(
            InventoryBalance(sku, "HAM", Quantity(Decimal(on_hand), unit), at(as_of)) for sku, on_hand, as_of in rows
        )
        await self.hear(source, "balances.reported", BalancesReported(balances, complete, **more), key)

    async def hear(self, source: str, kind: str, body: Any, key: str = "") -> None:
        self.version += 1
        raw = msgspec.json.encode(body)
        async with self.pool.acquire() as connection:
            await insert_facts(
                connection, [Fact(source, kind, key or "HAM", raw, raw, version=str(self.version))], self.clock[0]
            )
        while await self.desk.decide_waiting():
            pass

    async def order(self, number: int, quantity: int) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await insert_reservations(connection, [ReservationRow(number, "1", "HAM", "A", Decimal(quantity))])
            for name in ("erp.place_order", "erp.cancel_order"):
                await connection.execute(
                    "INSERT INTO steps (order_id, name, connection, operation, state, needs, created_at, due_at, "
                    "payload) VALUES ($1, $2, 'erp', $2, 'waiting', '{}', $3, $3, '{}')", number, name, self.clock[0],
                )  # fmt: skip

    async def told(self, number: int, operation: str, clock: str, shipment: str = "") -> None:
        """The step's success is recorded; `clock` is when the owner answered."""
        step = f"{operation}:{shipment}" if shipment else operation
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "UPDATE steps SET state = 'done', done_at = $3 WHERE order_id = $1 AND name = $2", number, step,
                at(clock),
            )  # fmt: skip
            told = [stock.Told(number, operation, step, shipment, at(clock))]
            await stock.record_told(connection, told, at(clock), self.ownership)

    async def left(self, number: int, quantity: int, shipment: str, clock: str) -> None:
        row = stock.Departure(number, "1", "HAM", "A", Decimal(quantity), shipment, at(clock), "wms")
        async with self.pool.acquire() as connection, connection.transaction():
            await stock.ship(connection, [row], at(clock), self.ownership)

    async def cancel(self, number: int, quantity: int, clock: str) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "UPDATE steps SET created_at = $2 WHERE order_id = $1 AND name = 'erp.cancel_order'", number, at(clock)
            )
            await stock.release(connection, [(number, "1", "HAM", "A", Decimal(quantity))], at(clock), self.ownership)

    async def free(self, sku: str = "A") -> int:
        async with self.pool.acquire() as connection:
            assert await stock.recount(connection, self.ownership) == []
            row = await connection.fetchrow(
                "SELECT on_hand - quality_hold - damaged - reserved AS free, reserved FROM stock "
                "WHERE sku = $1 AND location = 'HAM'", sku,
            )  # fmt: skip
        assert row is not None
        assert row["reserved"] >= 0
        return int(row["free"])

    async def parked(self) -> list[tuple[str, str]]:
        rows = await self.pool.fetch("SELECT cause, message FROM facts WHERE state = 'quarantined' ORDER BY fact_id")
        return [(row[0], row[1]) for row in rows]

    async def replay(self) -> None:
        await self.pool.execute("UPDATE facts SET state = 'waiting', cause = NULL WHERE state = 'quarantined'")
        while await self.desk.decide_waiting():
            pass


@asynccontextmanager
async def open_place(
    database_url: str, *owners: StockOwner, freshness: Freshness | None = None, skus: int = 1
) -> AsyncIterator[Place]:
    base = make_policy()
    given = StockPolicy(owners, freshness or Freshness())
    policy = Policy(
        base.version, base.channels, base.regions, base.locations, base.sourcing, base.plans, given,
    )  # fmt: skip
    pool = await open_pool(database_url, size=3)
    ownership = compile_ownership(given)
    clock = [at("09:00")]
    desk = StockDesk(pool, policy, ownership, ReferenceCache(), lambda: clock[0])
    watch = StockWatch(pool, given, lambda: clock[0])
    place = Place(pool, policy, ownership, desk, watch, clock)
    names = ["A", *(f"S{number}" for number in range(1, skus))]
    async with pool.acquire() as connection, connection.transaction():
        await master_data.place_products(connection, [("erp", make_product(name)) for name in names], clock[0])
    clock[0] = at("23:00")
    try:
        yield place
    finally:
        await pool.close()


def make_product(sku: str) -> Product:
    packs = (Pack("C62", Decimal(1)), Pack("XBX", Decimal(1000)))
    return Product(sku, sku, "C62", "standard", (Money(Decimal(1), "EUR"),), packs)


# ------------------------------------------------------------------ the ERP takes an order
async def test_case_1_a_balance_taken_before_the_erp_took_the_order(database_url: str) -> None:
    async with open_place(database_url, TAKES) as place:
        await place.report("erp", ("A", 100, "10:00"))
        await place.order(1, 10)
        await place.told(1, "erp.place_order", "10:05")
        assert await place.free() == 90
        await place.report("erp", ("A", 100, "10:04"))  # taken at 10:04, comes only now
        assert await place.free() == 90


async def test_case_2_a_balance_taken_while_the_erp_takes_the_order(database_url: str) -> None:
    async with open_place(database_url, TAKES) as place:
        await place.report("erp", ("A", 100, "10:00"))
        await place.order(1, 10)
        # The ERP booked it at 10:05:00 and answered at 10:05:02; the balance of 10:05:01 has it, which we cannot know.
        await place.report("erp", ("A", 90, "10:05:01"))
        assert await place.free() == 80  # held twice for a moment: never sold twice
        await place.told(1, "erp.place_order", "10:05:02")
        assert await place.free() == 80
        await place.report("erp", ("A", 90, "10:06"))
        assert await place.free() == 90


async def test_case_3_a_balance_taken_after_the_erp_took_the_order(database_url: str) -> None:
    async with open_place(database_url, TAKES) as place:
        await place.report("erp", ("A", 100, "10:00"))
        await place.order(1, 10)
        await place.told(1, "erp.place_order", "10:05")
        await place.report("erp", ("A", 90, "10:06"))
        assert await place.free() == 90
        await place.left(1, 10, "S-1", "11:00")
        assert await place.free() == 90  # it was in the ERP's books already


async def test_case_3_also_when_the_balance_comes_before_the_answer_is_recorded(database_url: str) -> None:
    async with open_place(database_url, TAKES) as place:
        await place.report("erp", ("A", 100, "10:00"))
        await place.order(1, 10)
        await place.report("erp", ("A", 90, "10:06"))
        assert await place.free() == 80
        await place.told(1, "erp.place_order", "10:05")  # it took effect before 10:06: contained, not counted twice
        assert await place.free() == 90


# ------------------------------------------------------------------ partial shipments
async def test_case_4_partial_shipments_of_which_the_erp_knows_one(database_url: str) -> None:
    async with open_place(database_url, TOLD) as place:
        await place.report("erp", ("A", 100, "10:00"))
        await place.order(1, 10)
        await place.left(1, 4, "S-1", "10:10")
        await place.told(1, "erp.ship", "10:12", "S-1")
        await place.left(1, 3, "S-2", "10:20")
        assert await place.free() == 90  # 100 - 4 - 3 moved, 3 reserved
        await place.report("erp", ("A", 96, "10:30"))  # knows of S-1 only
        assert await place.free() == 90  # 96 - 3 moved, 3 reserved
        await place.told(1, "erp.ship", "10:31", "S-2")
        await place.report("erp", ("A", 93, "10:40"))
        assert await place.free() == 90


# ------------------------------------------------------------------ cancellation after the ERP took it
async def test_case_5_a_cancellation_gives_back_when_the_erp_has_cancelled(database_url: str) -> None:
    async with open_place(database_url, TAKES) as place:
        await place.report("erp", ("A", 100, "10:00"))
        await place.order(1, 10)
        await place.told(1, "erp.place_order", "10:05")
        await place.report("erp", ("A", 90, "10:06"))
        await place.cancel(1, 10, "10:10")
        assert await place.free() == 90  # the ERP still has it
        await place.told(1, "erp.cancel_order", "10:12")
        assert await place.free() == 100
        await place.report("erp", ("A", 100, "10:15"))
        assert await place.free() == 100


async def test_case_5_also_when_the_balance_with_the_cancellation_comes_first(database_url: str) -> None:
    async with open_place(database_url, TAKES) as place:
        await place.report("erp", ("A", 100, "10:00"))
        await place.order(1, 10)
        await place.told(1, "erp.place_order", "10:05")
        await place.cancel(1, 10, "10:10")
        await place.report("erp", ("A", 100, "10:11"))
        assert await place.free() == 100  # not 110
        await place.told(1, "erp.cancel_order", "10:12")
        assert await place.free() == 100


# ------------------------------------------------------------------ the warehouse
async def test_case_6_a_short_pick_leaves_the_count_to_the_owner(database_url: str) -> None:
    async with open_place(database_url, COUNTS) as place:
        await place.report("wms", ("A", 10, "10:00"))
        await place.order(1, 10)
        await place.cancel(1, 4, "10:20")  # four were not found: the reservation gives them back
        await place.left(1, 6, "S-1", "10:25")
        assert await place.free() == 4
        await place.report("wms", ("A", 0, "10:30"))  # the count that the short pick caused
        assert await place.free() == 0


async def test_case_7_a_cycle_count_in_the_middle_of_a_shipment(database_url: str) -> None:
    async with open_place(database_url, COUNTS) as place:
        await place.report("wms", ("A", 100, "10:00"))
        await place.order(1, 10)
        await place.report("wms", ("A", 87, "10:30"))  # counted after 10 left at 10:20; three are missing
        assert await place.free() == 77  # that they left is not known yet: held, not free
        await place.left(1, 10, "S-1", "10:20")  # known now, and older than the count
        assert await place.free() == 87


async def test_a_warehouse_that_writes_whole_seconds_does_not_make_a_shipped_unit_free_again(
    database_url: str,
) -> None:
    """Found by `prove --scenario flash-sale --seed 11`: counted 14:11:12.30, left 14:11:12.68, noted 14:11:12."""
    async with open_place(database_url, COUNTS) as place:
        counted = at("10:20:12") + timedelta(milliseconds=300)
        balances = (InventoryBalance("A", "HAM", Quantity(Decimal(15), "C62"), counted),)
        await place.hear("wms", "balances.reported", BalancesReported(balances, complete=False))
        await place.order(1, 10)
        await place.left(1, 10, "S-1", "10:20:12")
        assert await place.free() == 5
        moved = StockMovement("M-1", "A", "HAM", Quantity(Decimal(-2), "C62"), at("10:20:12"))
        await place.hear("wms", "stock.moved", StockMoved((moved,)), key="M-1")
        assert await place.free() == 3
        await place.report("wms", ("A", 3, "10:20:14"))
        assert await place.free() == 3


async def test_case_8_two_owners_on_the_day_of_the_hand_over(database_url: str) -> None:
    noon = StockOwner("HAM", "wms", since=at("12:00"))
    async with open_place(database_url, TOLD, noon) as place:
        await place.report("erp", ("A", 100, "11:30"))
        await place.order(1, 10)
        await place.left(1, 10, "S-1", "11:50")  # the ERP does not know of it
        assert await place.free() == 90
        await place.report("wms", ("A", 90, "11:55"))  # not yet the owner: shown, not applied
        assert await place.free() == 90
        shown = await place.pool.fetchrow("SELECT source, standing, difference FROM stock_reports")
        assert shown is not None
        assert tuple(shown) == ("wms", "not_owner", Decimal(0))
        await place.report("wms", ("A", 88, "12:05"))
        assert await place.free() == 88  # the shipment of 11:50 is in it, though the ERP was never told
        await place.report("erp", ("A", 100, "12:10"))
        assert await place.free() == 88
        await place.report("erp", ("A", 95, "11:59"))  # the old owner's last word, late: older than 12:05
        assert await place.free() == 88


async def test_case_9_an_owner_whose_clock_is_two_seconds_ahead(database_url: str) -> None:
    skewed = msgspec.structs.replace(TOLD, clock_skew_seconds=Decimal(3))
    async with open_place(database_url, skewed) as place:
        await place.report("erp", ("A", 100, "10:00"))
        await place.order(1, 10)
        await place.left(1, 10, "S-1", "10:10")
        await place.told(1, "erp.ship", "10:12:00", "S-1")
        # Counted at 10:11:59 of our time, before it knew of S-1; its clock says 10:12:01.
        await place.report("erp", ("A", 100, "10:12:01"))
        assert await place.free() == 90
        await place.report("erp", ("A", 90, "10:12:04"))
        assert await place.free() == 90


# ------------------------------------------------------------------ late, twice, out of order, in any unit
async def test_balances_late_twice_and_out_of_order_in_boxes(database_url: str) -> None:
    async with open_place(database_url) as place:
        await place.report("wms", ("A", 52, "10:00"), unit="XBX")
        await place.report("wms", ("A", 51, "11:00"), unit="XBX")
        await place.report("wms", ("A", 52, "10:00"), unit="XBX")
        await place.report("wms", ("A", 51, "11:00"), unit="XBX")
        assert await place.free() == 51_000


async def test_a_movement_before_and_after_the_balance_that_has_it(database_url: str) -> None:
    async with open_place(database_url, COUNTS) as place:

        def moved(key: str, quantity: int, clock: str) -> StockMoved:
            return StockMoved((StockMovement(key, "A", "HAM", Quantity(Decimal(quantity), "C62"), at(clock)),))

        await place.hear("wms", "stock.moved", moved("M-1", 30, "09:30"))  # before any balance
        assert await place.free() == 30
        await place.report("wms", ("A", 130, "10:00"))  # contains it
        assert await place.free() == 130
        await place.hear("wms", "stock.moved", moved("M-2", -5, "10:30"))
        await place.hear("wms", "stock.moved", moved("M-2", -5, "10:30"))  # twice
        await place.hear("wms", "stock.moved", moved("M-0", 7, "09:00"))  # late: contained
        assert await place.free() == 125
        await place.hear("erp", "stock.moved", moved("M-3", 50, "10:40"))  # not the owner
        assert await place.free() == 125


# ------------------------------------------------------------------ bad input
async def test_offending_rows_are_parked_with_line_reason_and_fix_and_the_rest_goes_on(database_url: str) -> None:
    async with open_place(database_url, skus=3) as place:
        await place.report("wms", ("A", 7, "10:00"), ("NUT", 7, "10:00"), ("S1", "1.5", "10:00"), ("S2", -4, "10:00"))
        assert await place.free() == 7
        assert await place.free("S2") == 0  # nothing can be there that is below zero
        assert [(cause, message.partition(":")[0]) for cause, message in await place.parked()] == [
            ("sku_unknown", "line 2"), ("quantity_fraction", "line 3"), ("quantity_negative", "line 4"),
        ]  # fmt: skip


async def test_lots_and_serial_numbers_are_carried_with_their_expiry(database_url: str) -> None:
    async with open_place(database_url, COUNTS) as place:
        day = date(2027, 1, 31)
        lots = (LotBalance("L-7", Decimal(3), expires_on=day), LotBalance("L-8", Decimal(1), serial="SN-0001"))
        balance = InventoryBalance("A", "HAM", Quantity(Decimal(4), "C62"), at("10:00"), lots=lots)
        await place.hear("wms", "balances.reported", BalancesReported((balance,)))
        rows = await place.pool.fetch("SELECT lot, serial, quantity, expires_on FROM stock_lots ORDER BY lot")
        assert [tuple(row) for row in rows] == [("L-7", "", 3, day), ("L-8", "SN-0001", 1, None)]
        assert await place.free() == 4


async def test_a_row_whose_product_comes_later_is_taken_by_itself(database_url: str) -> None:
    async with open_place(database_url) as place:
        await place.report("wms", ("A", 7, "10:00"), ("NUT", 9, "10:00"))
        await place.watch.look()
        assert len(await place.parked()) == 1
        async with place.pool.acquire() as connection, connection.transaction():
            await master_data.place_products(connection, [("erp", make_product("NUT"))], at("22:00"))
        await place.watch.look()
        await place.desk.decide_waiting()
        assert await place.free("NUT") == 9
        assert await place.parked() == []


async def test_a_balance_from_the_future_is_parked(database_url: str) -> None:
    async with open_place(database_url) as place:
        await place.report("wms", ("A", 7, "23:30"))
        assert [cause for cause, _ in await place.parked()] == ["as_of_future"]


# ------------------------------------------------------------------ feeds that go wild, or silent
FEW = Freshness(wild_rows_min=4)


async def test_half_the_catalogue_at_zero_is_held_for_a_person_whose_replay_takes_it(database_url: str) -> None:
    async with open_place(database_url, freshness=FEW, skus=8) as place:
        names = ["A", *(f"S{number}" for number in range(1, 8))]
        await place.report("wms", *((name, 5, "10:00") for name in names))
        wild = [(name, 0 if number < 4 else 5, "11:00") for number, name in enumerate(names)]
        await place.report("wms", *wild)
        assert await place.free("A") == 5
        assert [cause for cause, _ in await place.parked()] == ["report_wild"]
        held = await place.pool.fetchval("SELECT held_reason FROM stock_sources")
        assert held == "It takes 4 of 8 stocked SKUs to zero."
        await place.replay()
        assert await place.free("A") == 0
        assert await place.pool.fetchval("SELECT held_reason FROM stock_sources") is None


async def test_a_complete_report_half_as_long_as_usual_is_held(database_url: str) -> None:
    async with open_place(database_url, freshness=FEW, skus=8) as place:
        names = ["A", *(f"S{number}" for number in range(1, 8))]
        await place.report("wms", *((name, 5, "10:00") for name in names), complete=True)
        await place.report("wms", *((name, 5, "11:00") for name in names[:4]), complete=True)
        assert [cause for cause, _ in await place.parked()] == ["report_wild"]
        await place.report("wms", *((name, 5, "12:00") for name in names[:7]), complete=True)
        assert await place.free("S6") == 5
        assert await place.free("S7") == 0  # not named: not there


async def test_a_complete_report_in_parts_empties_nothing_before_its_last_part_came(database_url: str) -> None:
    async with open_place(database_url, skus=3) as place:
        await place.report("wms", ("A", 5, "10:00"), ("S1", 5, "10:00"), ("S2", 5, "10:00"))
        parts: dict[str, Any] = {"complete": True, "snapshot": "N-1", "parts": 2}
        await place.report("wms", ("S1", 4, "11:00"), key="p2", part=2, **parts)
        assert await place.free("S2") == 5
        await place.report("wms", ("A", 6, "11:00"), key="p1", part=1, **parts)
        assert [await place.free(sku) for sku in ("A", "S1", "S2")] == [6, 4, 0]


async def test_a_late_feed_is_marked_once_and_fresh_again_when_it_returns(database_url: str) -> None:
    async with open_place(database_url) as place:
        for minute in range(5):
            place.clock[0] = at(f"10:0{minute}")
            await place.report("wms", ("A", 5, f"10:0{minute}"))
        structlog.reset_defaults()
        with capture_logs() as logs:
            for minute in (6, 8, 9):
                place.clock[0] = at(f"10:0{minute}")
                await place.watch.look()
        assert [log["event"] for log in logs] == ["stock_feed_late"]
        (troubled,) = (await read_overview(place.pool, place.clock[0])).troubled_stock
        assert (troubled.source, troubled.location, troubled.stale_since) == ("wms", "HAM", at("10:08"))
        await place.report("wms", ("A", 5, "10:09"))
        await place.watch.look()
        assert await place.pool.fetchval("SELECT stale_since FROM stock_sources") is None


# ------------------------------------------------------------------ complaints of the field
async def test_erp_on_hand_that_ignores_imported_but_unpicked_orders_never_lifts_the_shop_s_stock(
    database_url: str,
) -> None:
    """OCA/connector-magento#226, Starktail/woocommerce_fusion#170: the ERP counts the shelf; orders that nobody has
    picked yet are not in its figure."""
    async with open_place(database_url, TOLD) as place:
        await place.report("erp", ("A", 20, "10:00"))
        for number in range(1, 6):
            await place.order(number, 3)
        assert await place.free() == 5
        for clock in ("10:15", "10:30", "10:45"):
            await place.report("erp", ("A", 20, clock))
            assert await place.free() == 5


async def test_a_reservation_is_never_negative_and_always_released(database_url: str) -> None:
    """medusajs/medusa#13625, medusajs/medusa#11703: it went negative, or was never released."""
    async with open_place(database_url, COUNTS) as place:
        await place.report("wms", ("A", 20, "10:00"))
        await place.order(1, 5)
        await place.cancel(1, 5, "10:10")
        await place.cancel(1, 5, "10:11")
        await place.left(1, 5, "S-1", "10:12")  # it had left all the same
        assert await place.free() == 15
        assert await place.pool.fetchval("SELECT reserved FROM stock") == 0


async def test_a_backorder_s_reservation_counts_like_any_other(database_url: str) -> None:
    """magento/inventory#3178: a backorder ignores reservations."""
    async with open_place(database_url, COUNTS) as place:
        await place.report("wms", ("A", 5, "10:00"))
        await place.order(1, 5)
        await place.report("wms", ("A", 9, "11:00"))  # supply came; the order still holds its five
        assert await place.free() == 4
