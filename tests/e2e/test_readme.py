"""What the documents show is so: the README's commands run, links lead somewhere, exit codes are the code's."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crossdock.cli import exits
from crossdock.cli.demo import read_credentials
from crossdock.cli.home import Home
from crossdock.ledger import master_data
from crossdock.ledger.clients import ApiClient, place_client
from crossdock.ledger.database import open_pool
from crossdock.model.documents import Customer, Pack, Product
from crossdock.model.values import Money
from crossdock.sandbox.world import make_world
from tests.integration.test_api_process import api_process

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = ".venv/bin/crossdock "


def commands() -> list[str]:
    """Every line of the README after a prompt."""
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def crossdock(arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")}
    return subprocess.run(
        [sys.executable, "-m", "crossdock.cli.main", *arguments.split()], check=False, capture_output=True, text=True,
        cwd=ROOT, env={**clean, **environment}, timeout=180,
    )  # fmt: skip


def test_every_command_of_the_readme_is_looked_at_here() -> None:
    known = ("make ", COMMAND, "CLIENT=", "TOKEN=", "ORDER=", "curl ")
    assert len(commands()) > 8
    assert [command for command in commands() if not command.startswith(known)] == []


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("make ")])
def test_the_make_targets_are_there(command: str) -> None:
    ran = subprocess.run(
        ["make", "--dry-run", *command.split()[1:]], check=False, capture_output=True, text=True, cwd=ROOT, timeout=180
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith(COMMAND)])
def test_the_commands_run_on_a_ledger(command: str, tmp_path: Path, database_url: str) -> None:
    ran = crossdock(
        command.removeprefix(COMMAND), CROSSDOCK_HOME=str(tmp_path), CROSSDOCK_PORT="61000",
        CROSSDOCK_DATABASE_URL=database_url,
    )  # fmt: skip
    # Nothing runs on this ledger, which `status` rightly calls not healthy.
    assert ran.returncode == (exits.NOT_HEALTHY if "status" in command else exits.OK), ran.stderr


def test_the_configuration_is_fine(tmp_path: Path) -> None:
    assert crossdock("config check", CROSSDOCK_HOME=str(tmp_path)).returncode == exits.OK


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs bash and curl")
async def test_the_order_of_the_readme_is_placed_once_and_no_channel_is_waited_for(
    tmp_path: Path, database_url: str
) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    home = tmp_path / ".crossdock"
    home.mkdir()
    with api_process(home, database_url) as running:
        pool = await open_pool(database_url, size=2)
        try:
            await _place_business(pool, home)
            typed = [command for command in commands() if command.startswith(("CLIENT=", "TOKEN=", "ORDER=", "curl "))]
            placing = next(command for command in typed if '-d "$ORDER"' in command)
            answers = await _type([*typed, placing], running.url, tmp_path)
            assert answers[0]["state"] == "accepted", answers
            assert answers[1]["items"][0]["number"] == answers[0]["number"]
            assert answers[2] == answers[0]
            steps = await pool.fetch("SELECT operation, connection, needs FROM steps ORDER BY operation")
        finally:
            pool.terminate()
    assert [(step["operation"], step["connection"]) for step in steps] == [
        ("erp.place_order", "erp"), ("tax.quote", "tax"), ("wms.release", "wms"),
    ]  # fmt: skip


async def _place_business(pool: Any, home: Path) -> None:
    """What the demonstration's first start brings in, as far as the README's order needs it."""
    world, now = make_world(), datetime.now(UTC)
    product, customer = world.products[0], world.customers[0]
    credentials = read_credentials(Home(home))
    assert credentials is not None
    async with pool.acquire() as connection, connection.transaction():
        await master_data.place_products(connection, [("erp", Product(
            product.sku, product.name, product.base_unit, product.tax_category,
            (Money(product.list_price_eur, "EUR"),), (Pack(product.base_unit, Decimal(1)),),
        ))], now)  # fmt: skip
        await master_data.place_customers(connection, [("erp", Customer(
            customer.code, customer.name, customer.currency, "active", price_group=customer.group,
            payment_term_days=30, credit_limit=customer.credit_limit,
        ))], now)  # fmt: skip
        await connection.execute(
            "INSERT INTO stock (sku, location, on_hand, source, as_of, reported_at) "
            "VALUES ($1, 'HAM', 100, 'wms', $2, $2)",
            product.sku, now,
        )  # fmt: skip
    for client in credentials.clients.values():
        await place_client(pool, ApiClient(client.client_id, client.scopes, client.channels), client.client_secret, now)


async def _type(typed: list[str], url: str, folder: Path) -> list[Any]:
    """Type commands in `folder`; what each curl that is not for a token answers, one line each."""
    script = "\n".join(f"{command}; echo" if command.startswith("curl ") else command for command in typed)
    process = await _bash(script.replace("http://127.0.0.1:8700", url), folder)
    return [json.loads(line) for line in process.splitlines() if line]


async def _bash(script: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == 0
    return output.decode()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_the_exit_codes_are_the_codes() -> None:
    said = dict(re.findall(r"^  (\d)  (.+)$", exits.HELP, re.MULTILINE))
    told = dict(re.findall(r"^\| (\d) \| (.+) \|$", (ROOT / "docs" / "operations.md").read_text("utf-8"), re.MULTILINE))
    assert {code: text.replace("`", "") for code, text in told.items()} == {
        code: text.replace("`", "") for code, text in said.items()
    }
