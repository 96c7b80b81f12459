"""A file of balances is judged row by row just as the rules judge a report, and taken as they would take it."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crossdock.cli.stock_file import StockFile
from crossdock.ledger import master_data
from crossdock.ledger.database import open_pool
from crossdock.ledger.stock_load import Loaded, Reject, open_load
from crossdock.model.documents import Component, Pack, Product
from crossdock.model.errors import Invalid
from crossdock.model.stock import InventoryBalance
from crossdock.model.values import Money, Quantity
from crossdock.policy.policy import Policy
from crossdock.policy.stock import StockOwner, StockPolicy
from crossdock.rules.balances import Judge
from crossdock.rules.ownership import compile_ownership
from tests.integration.engine.bench_world import make_policy

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
AS_OF = "2026-03-02T09:00:00Z"
HEADER = "sku,location,on_hand,unit,as_of,quality_hold,damaged,in_transit,lot,expires_on"
PRICES = (Money(Decimal(1), "EUR"),)
PRODUCTS = (
    Product("BOLT", "Bolt", "C62", "standard", PRICES, (Pack("C62", Decimal(1)), Pack("XBX", Decimal(1000)))),
    Product("WIRE", "Wire", "MTR", "standard", PRICES, (Pack("MTR", Decimal(1)), Pack("XBX", Decimal("12.5")))),
    Product("KIT", "Kit", "C62", "standard", PRICES, (Pack("C62", Decimal(1)),),
            components=(Component("BOLT", Decimal(4)),)),
)  # fmt: skip


def make_stock_policy(*owners: StockOwner) -> Policy:
    policy = make_policy()
    return Policy(
        policy.version, policy.channels, policy.regions, policy.locations, policy.sourcing, policy.plans,
        StockPolicy(owners),
    )  # fmt: skip


async def load(
    database_url: str, path: Path, policy: Policy, source: str = "wms", *, complete: bool = False
) -> tuple[Loaded, list[Reject], dict[tuple[str, str], Decimal]]:
    pool = await open_pool(database_url, size=2)
    try:
        async with pool.acquire() as connection, connection.transaction():
            await master_data.place_products(connection, [("erp", product) for product in PRODUCTS], NOW)
        rejects: list[Reject] = []
        loaded = Loaded()
        ownership = compile_ownership(policy.stock)
        with path.open(encoding="utf-8", newline="") as content:
            async with open_load(pool, policy, ownership, source, NOW, NOW) as work:
                loaded.rows = await work.copy(StockFile(path, content), lambda _: None)
                loaded.held = await work.judge(loaded.rows, complete=complete)
                if loaded.held is None:
                    await work.take(loaded, rejects.append, lambda _: None)
                    await work.finish(loaded, complete=complete)
        found = {(row[0], row[1]): row[2] for row in await pool.fetch("SELECT sku, location, on_hand FROM stock")}
        return loaded, rejects, found
    finally:
        await pool.close()


ROWS: list[tuple[str, str]] = [
    ("BOLT,HAM,52,XBX,", ""),  # 52,000 pieces, never 52
    ("BOLT,HAM,52.9,XBX,", "quantity_fraction"),
    ("BOLT,BHX,7,C62,", ""),
    ("WIRE,HAM,2.5,MTR,", ""),
    ("WIRE,BHX,3,XBX,", ""),
    ("NUT,HAM,7,C62,", "sku_unknown"),
    ("BOLT,MARS,7,C62,", "location_unknown"),
    ("BOLT,HAM,seven,C62,", "quantity_form"),
    ("BOLT,HAM,NaN,C62,", "quantity_form"),
    ("BOLT,HAM,7,KGM,", "unit_impossible"),
    ("BOLT,HAM,7.5,C62,", "quantity_fraction"),
    ("BOLT,HAM,-3,C62,", "quantity_negative"),
    ("BOLT,HAM,99999999999,C62,", "quantity_absurd"),
    ("BOLT,HAM,7,C62,2031-01-01T00:00:00Z", "as_of_future"),
    ("KIT,HAM,7,C62,", "kit_stock"),
    ("KIT,HAM,0,C62,", ""),
]


@pytest.mark.parametrize(("row", "code"), ROWS)
async def test_a_row_of_a_file_is_judged_as_a_row_of_a_report(
    database_url: str, tmp_path: Path, row: str, code: str
) -> None:
    path = tmp_path / "stock.csv"
    cells = row.split(",")
    time = cells[4] or AS_OF
    path.write_text(f"{HEADER}\n{','.join(cells[:4])},{time},,,,,\n")
    policy = make_stock_policy()
    loaded, rejects, found = await load(database_url, path, policy)
    assert [reject.code for reject in rejects] == ([code] if code else [])
    assert loaded.rejected == bool(code)
    try:
        value = Decimal(cells[2])
    except ArithmeticError:
        return
    as_of = msgspec.convert(time, datetime)
    judge = Judge({product.sku: product for product in PRODUCTS}, frozenset(policy.locations),
                  compile_ownership(StockPolicy()), NOW)  # fmt: skip
    judged = judge.balances("wms", [InventoryBalance(cells[0], cells[1], Quantity(value, cells[3]), as_of)])
    assert [refused.code for refused in judged.refused] == ([code] if code else [])
    assert found == {(taken.sku, taken.location): taken.on_hand for taken in judged.taken}


async def test_one_bad_line_among_good_ones_is_rejected_with_its_line_and_the_rest_goes_on(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "stock.csv"
    path.write_text(f"{HEADER}\nBOLT,HAM,5,C62,{AS_OF},,,,,\nNUT,HAM,5,C62,{AS_OF},,,,,\nWIRE,HAM,5,MTR,{AS_OF},,,,,\n")
    _, rejects, found = await load(database_url, path, make_stock_policy())
    assert [(reject.line, reject.sku) for reject in rejects] == [(3, "NUT")]
    assert found == {("BOLT", "HAM"): Decimal(5), ("WIRE", "HAM"): Decimal(5)}


async def test_a_place_named_twice_is_taken_from_neither_line(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "stock.csv"
    path.write_text("sku,location,on_hand\nBOLT,HAM,5\nBOLT,HAM,6\nBOLT,BHX,7\n")
    _, rejects, found = await load(database_url, path, make_stock_policy())
    assert [(reject.line, reject.code) for reject in rejects] == [(2, "row_twice"), (3, "row_twice")]
    assert found == {("BOLT", "BHX"): Decimal(7)}


async def test_lots_of_a_file_add_up_and_keep_their_expiry(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "stock.csv"
    path.write_text(
        f"{HEADER}\nBOLT,HAM,5,C62,{AS_OF},,,,L1,2026-12-31\nBOLT,HAM,6,C62,{AS_OF},,,,L2,\nWIRE,HAM,1,MTR,{AS_OF},,,,,\n"
    )
    _, rejects, found = await load(database_url, path, make_stock_policy())
    assert rejects == []
    assert found["BOLT", "HAM"] == Decimal(11)
    pool = await open_pool(database_url, size=1)
    rows = await pool.fetch("SELECT lot, quantity, expires_on::text FROM stock_lots ORDER BY lot")
    await pool.close()
    assert [tuple(row) for row in rows] == [("L1", Decimal(5), "2026-12-31"), ("L2", Decimal(6), None)]


async def test_a_file_about_a_place_of_another_owner_is_shown_and_never_applied(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "stock.csv"
    path.write_text("sku,location,on_hand\nBOLT,HAM,5\nBOLT,BHX,7\n")
    loaded, _, found = await load(database_url, path, make_stock_policy(StockOwner("HAM", "erp")))
    assert found == {("BOLT", "BHX"): Decimal(7)}
    assert loaded.foreign == 1


async def test_a_complete_file_half_as_long_as_usual_is_held_and_nothing_of_it_is_taken(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "stock.csv"
    policy = make_stock_policy()
    few = msgspec.structs.replace(policy.stock.freshness, wild_rows_min=2)
    policy = Policy(
        policy.version, policy.channels, policy.regions, policy.locations, policy.sourcing, policy.plans,
        StockPolicy(freshness=few),
    )  # fmt: skip
    with path.open("w", newline="") as out:
        rows: list[tuple[Any, ...]] = [("sku", "location", "on_hand", "as_of")]
        rows += [(sku, place, 5, AS_OF) for sku in ("BOLT", "WIRE") for place in ("HAM", "BHX")]
        csv.writer(out).writerows(rows)
    loaded, _, found = await load(database_url, path, policy, complete=True)
    assert (loaded.held, loaded.taken, len(found)) == (None, 4, 4)
    later = (NOW - timedelta(minutes=1)).isoformat()
    path.write_text(f"sku,location,on_hand,as_of\nBOLT,HAM,5,{later}\nWIRE,HAM,5,{later}\n")
    loaded, _, found = await load(database_url, path, policy, complete=True)
    assert loaded.held is None  # BHX is not named: nothing is said about it
    assert len(found) == 4
    path.write_text(f"sku,location,on_hand,as_of\nBOLT,HAM,5,{NOW.isoformat()}\n")
    loaded, _, found = await load(database_url, path, policy, complete=True)
    assert loaded.held is not None
    assert found["WIRE", "HAM"] == Decimal(5)


def test_a_file_without_the_columns_says_which(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="lacks on_hand"):
        StockFile(tmp_path / "stock.csv", ["sku,location\n"])
