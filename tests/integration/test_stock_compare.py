"""`crossdock stock compare`: a partner's export against all that we believe."""

from __future__ import annotations

import json
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from crossdock.cli.demo import make_credentials
from crossdock.cli.home import Home
from crossdock.cli.stock_compare import find_file
from crossdock.engine.full_comparison import compare_channel
from crossdock.engine.ports import system_clock
from crossdock.ledger.database import open_pool
from crossdock.model.errors import Invalid
from tests.integration.insight.stock_estate import place_stock_estate
from tests.integration.test_cli import ROOT, ask


async def test_a_channels_export_is_compared_as_it_is(database_url: str, tmp_path: Path) -> None:
    now = system_clock()
    export = tmp_path / "export.csv"
    export.write_text("quantity,sku\n700,BOLT-M8\n0,NUT-M8\n9,STRANGER\n", encoding="utf-8")
    pool = await open_pool(database_url, size=2)
    try:
        await place_stock_estate(pool, now)
        await pool.execute("DELETE FROM stock_drift")
        found = await compare_channel(pool, "shop", "shop", find_file(export), Decimal(60), now)
        assert (found.given, found.believed) == (3, 2)
        assert {cause: counted.count for cause, counted in found.causes.items()} == {
            "rival_writer": 1, "unknown_sku": 2,
        }  # fmt: skip
        assert found.causes["rival_writer"].amount == Decimal("150.00")
        rows = await pool.fetch("SELECT sku, state FROM stock_drift ORDER BY sku")
        assert [tuple(row) for row in rows] == [("BOLT-M8", "suspect"), ("NUT-M8", "open"), ("STRANGER", "open")]
        export.write_text("sku,quantity\nBOLT-M8,7\nNUT-M8,many\n", encoding="utf-8")
        with pytest.raises(Invalid, match=r"export\.csv, line 3"):
            await compare_channel(pool, "shop", "shop", find_file(export), Decimal(60), now)
    finally:
        await pool.close()


@pytest.mark.parametrize("header", ["sku", "sku,amount", "sku,quantity,on_hand", ""])
def test_a_file_without_the_columns_is_refused(tmp_path: Path, header: str) -> None:
    file = tmp_path / "export.csv"
    file.write_text(f"{header}\n", encoding="utf-8")
    with pytest.raises(Invalid):
        find_file(file)


def test_without_options_every_told_channel_and_owned_place_of_the_demonstration_is_compared(
    tmp_path: Path, database_url: str
) -> None:
    make_credentials(Home(tmp_path), ROOT / "crossdock.toml")
    ran = ask("stock", "compare", "--json", home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)
    assert ran.returncode == 0, ran.stderr
    compared = json.loads(ran.stdout)["comparisons"]
    assert {one["counterpart"] for one in compared if not one["location"]} == {"shop", "portal", "bazaar", "agora"}
    assert {one["location"] for one in compared if one["location"]} == {"HAM", "BHX", "DSP", "FBB"}
    refused = ask("stock", "compare", "--channel", "sales-app", home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)
    assert (refused.returncode, "sales-app is no channel" in refused.stderr) == (2, True), refused.stderr


async def test_the_command_compares_files_and_lists_what_differs(tmp_path: Path, database_url: str) -> None:
    make_credentials(Home(tmp_path), ROOT / "crossdock.toml")
    pool = await open_pool(database_url, size=2)
    try:
        await place_stock_estate(pool, system_clock())
    finally:
        await pool.close()
    file = tmp_path / "count.csv"
    file.write_text("sku,quantity\nBOLT-M8,783\nNUT-M8,5\n", encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return ask("stock", *arguments, home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)

    ran = run("compare", "--channel", f"shop={file}", "--location", f"BHX={file}", "--json")
    assert ran.returncode == 0, ran.stderr
    shop, place = json.loads(ran.stdout)["comparisons"]
    assert (shop["counterpart"], shop["given"], shop["causes"]["rival_writer"]["count"]) == ("shop", 2, 1)
    assert (place["location"], place["believed"]) == ("BHX", 60)
    listed = json.loads(run("drift", "--cause", "rival_writer", "--json").stdout)["drift"]
    assert {one["sku"] for one in listed} == {"BOLT-M8"}
    assert "BOLT-M8" in run("drift").stdout
    refused = run("compare", "--channel", "nobody")
    assert (refused.returncode, "nobody is no channel" in refused.stderr) == (2, True), refused.stderr
