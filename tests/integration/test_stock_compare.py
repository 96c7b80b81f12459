"""`crossdock stock compare`: a partner's export against all that we believe."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.cli.stock_compare import find_file
from crossdock.engine.full_comparison import compare_channel
from crossdock.engine.ports import system_clock
from crossdock.ledger.database import open_pool
from crossdock.model.errors import Invalid
from tests.integration.insight.stock_estate import place_stock_estate


async def test_a_channels_export_is_compared_as_it_is(database_url: str, tmp_path: Path) -> None:
    now = system_clock()
    export = tmp_path / "export.csv"
    export.write_text("quantity,sku\n700,BOLT-M8\n0,NUT-M8\n9,STRANGER\n", encoding="utf-8")
    pool = await open_pool(database_url, size=2)
    try:
        await place_stock_estate(pool, now)
        await pool.execute("DELETE FROM stock_drift")
        found = await compare_channel(pool, "shop", find_file(export), Decimal(60), now)
        assert (found.given, found.believed) == (3, 2)
        assert {cause: counted.count for cause, counted in found.causes.items()} == {
            "rival_writer": 1, "unknown_sku": 2,
        }  # fmt: skip
        assert found.causes["rival_writer"].amount == Decimal("150.00")
        rows = await pool.fetch("SELECT sku, state FROM stock_drift ORDER BY sku")
        assert [tuple(row) for row in rows] == [("BOLT-M8", "suspect"), ("NUT-M8", "open"), ("STRANGER", "open")]
        export.write_text("sku,quantity\nBOLT-M8,7\nNUT-M8,many\n", encoding="utf-8")
        with pytest.raises(Invalid, match=r"export\.csv, line 3"):
            await compare_channel(pool, "shop", find_file(export), Decimal(60), now)
    finally:
        await pool.close()


@pytest.mark.parametrize("header", ["sku", "sku,amount", "sku,quantity,on_hand", ""])
def test_a_file_without_the_columns_is_refused(tmp_path: Path, header: str) -> None:
    file = tmp_path / "export.csv"
    file.write_text(f"{header}\n", encoding="utf-8")
    with pytest.raises(Invalid):
        find_file(file)
