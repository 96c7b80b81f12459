"""The command as a person calls it: exit codes, sentences, JSON."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from crossdock.cli.demo import find_references, make_credentials, read_credentials
from crossdock.cli.home import Home

ROOT = Path(__file__).resolve().parents[2]


def crossdock(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CROSSDOCK_")}
    return subprocess.run(
        [sys.executable, "-m", "crossdock.cli.main", *arguments], check=False, capture_output=True, text=True, cwd=ROOT,
        env={**clean, "CROSSDOCK_HOME": str(home), "CROSSDOCK_PORT": "1", **environment}, timeout=180,
    )  # fmt: skip


def ask(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return crossdock(*arguments, home=home, **{"CROSSDOCK_PORT": "61000", **environment})


def test_version_and_help(tmp_path: Path) -> None:
    assert ask("--version", home=tmp_path).stdout.startswith("crossdock, version ")
    shown = ask("--help", home=tmp_path).stdout
    commands = "run api worker status migrate orders stock replay connections sandbox config"
    for command in commands.split():
        assert f"\n  {command} " in shown
    assert "Exit codes" in shown


def test_status_of_nothing_is_not_healthy_and_says_so(tmp_path: Path) -> None:
    ran = ask("status", "--json", home=tmp_path)
    found = json.loads(ran.stdout)
    assert ran.returncode == 1
    assert found["healthy"] is False
    assert any("There is no database yet" in problem for problem in found["problems"])


async def test_status_counts_what_is_in_the_ledger(tmp_path: Path, database_url: str) -> None:
    ran = ask("status", "--json", home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)
    found = json.loads(ran.stdout)
    assert ran.returncode == 1
    assert found["orders"]["accepted"] == 0
    assert found["facts"] == {"waiting": 0, "early": 0}
    assert found["quarantine"] == {"facts": 0, "steps": 0}
    assert "No worker has been seen lately." in found["problems"]


async def test_orders_of_an_empty_ledger(tmp_path: Path, database_url: str) -> None:
    listed = ask("orders", "list", "--json", home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)
    assert json.loads(listed.stdout)["items"] == []
    shown = ask("orders", "show", "CD00000001", home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)
    assert shown.returncode == 2
    assert "There is no order CD00000001" in shown.stderr


async def test_migrate_tells_that_all_is_there(tmp_path: Path, database_url: str) -> None:
    ran = ask("migrate", "--json", home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)
    assert json.loads(ran.stdout) == {"applied": []}


def test_a_database_that_does_not_answer_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    ran = ask("orders", "list", home=tmp_path, CROSSDOCK_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert ran.returncode == 4
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "arguments", [("orders", "list"), ("replay", "list"), ("connections", "list"), ("migrate",), ("worker",)]
)
def test_without_a_home_every_command_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ran = ask(*arguments, home=tmp_path)
    assert ran.returncode == 3
    assert "what to do" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_replay_wants_to_know_what(tmp_path: Path) -> None:
    assert ask("replay", "steps", home=tmp_path).returncode == 2
    assert ask("replay", "steps", "--all", "--connection", "erp", home=tmp_path).returncode == 2


async def test_a_rehearsal_of_one_message_showed_all_that_is_parked(tmp_path: Path, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for number in ("X-1", "X-2"):
            await connection.execute(
                "INSERT INTO facts (connection, kind, business_key, version, subject, state, body, received_at, due_at,"
                " cause, message) VALUES ('shop', 'order.paid', $1, '1', $1, 'quarantined', '{}', now(), now(),"
                " 'order_missing', 'This refers to an order that never arrived.')", number,
            )  # fmt: skip
        fact_id = await connection.fetchval("SELECT max(fact_id) FROM facts")
    finally:
        await connection.close()
    make_credentials(Home(tmp_path), ROOT / "crossdock.toml")
    ask_here = partial(ask, home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)
    rehearsed = ask_here("replay", "facts", "--fact", str(fact_id), "--rehearse", "--json")
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert [row["fact"]["fact_id"] for row in json.loads(rehearsed.stdout)] == [fact_id]
    shown = ask_here("replay", "facts", "--cause", "order_missing", "--rehearse")
    assert "X-1" in shown.stdout
    assert "X-2" in shown.stdout
    none = ask_here("replay", "steps", "--order", "CD00000001", "--rehearse", "--json")
    assert json.loads(none.stdout) == []
    assert ask_here("replay", "dismiss", "--reason", "All.").returncode == 2
    assert ask_here("replay", "settle", "CD00000001", "erp.ship:S-1", "--reason", "Done.").returncode == 2
    unknown = ask_here("replay", "settle", "CD00000001", "erp.ship:S-1", "--done", "--reason", "Done.")
    assert "is not parked" in unknown.stderr
    closed = ask_here("replay", "dismiss", "--fact", str(fact_id), "--reason", "Paid twice.", "--json")
    assert json.loads(closed.stdout) == {"dismissed": 1}


async def test_a_mistyped_connection_was_said_to_be_paused(tmp_path: Path, database_url: str) -> None:
    make_credentials(Home(tmp_path), ROOT / "crossdock.toml")
    ran = ask("connections", "pause", "epr", home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)
    assert ran.returncode == 2
    assert "There is no connection epr." in ran.stderr


async def test_a_state_that_is_none_listed_no_order_instead_of_the_states(tmp_path: Path, database_url: str) -> None:
    ran = ask("orders", "list", "--state", "open", home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)
    assert ran.returncode == 2
    assert "'shipping'" in ran.stderr


def test_the_demonstrations_configuration_is_fine(tmp_path: Path) -> None:
    ran = ask("config", "check", "--json", home=tmp_path)
    assert json.loads(ran.stdout)["problems"] == []
    assert ran.returncode == 0


def test_problems_come_with_line_and_next_action(tmp_path: Path) -> None:
    broken = tmp_path / "crossdock.toml"
    text = (ROOT / "crossdock.toml").read_text(encoding="utf-8")
    broken.write_text(text.replace('price_beyond = "hold"', 'price_beyond = "shout"', 1), encoding="utf-8")
    ran = ask("config", "check", str(broken), "--json", home=tmp_path)
    (problem,) = json.loads(ran.stdout)["problems"]
    assert ran.returncode == 3
    assert problem["line"] == text[: text.index('price_beyond = "hold"')].count("\n") + 1
    assert problem["path"] == "channels.portal.price_beyond"
    assert problem["next_action"]


def test_credentials_are_generated_once_and_private(tmp_path: Path) -> None:
    configuration = ROOT / "crossdock.toml"
    made = make_credentials(Home(tmp_path / "a"), configuration)
    assert make_credentials(Home(tmp_path / "a"), configuration) == made
    assert read_credentials(Home(tmp_path / "a")) == made
    assert stat.S_IMODE((tmp_path / "a" / "demo.json").stat().st_mode) == 0o600
    other = make_credentials(Home(tmp_path / "b"), configuration)
    assert not set(made.secrets.values()) & set(other.secrets.values())
    assert made.console.password != other.console.password
    assert {reference.variable for reference in find_references(configuration) if not reference.is_address} == set(
        made.secrets
    )
    assert set(made.clients) == {"portal", "shop", "bazaar", "agora", "sales-app", "operator"}


async def test_stock_explain_says_what_is_not_known_and_shows_a_sum(tmp_path: Path, database_url: str) -> None:
    make_credentials(Home(tmp_path), ROOT / "crossdock.toml")

    def explain(*arguments: str) -> subprocess.CompletedProcess[str]:
        return ask("stock", "explain", *arguments, home=tmp_path, CROSSDOCK_DATABASE_URL=database_url)

    ran = explain("BOLT", "--channel", "none")
    assert (ran.returncode, "There is no channel none." in ran.stderr) == (2, True), ran.stderr
    ran = explain("BOLT", "--channel", "shop")
    assert (ran.returncode, "There is no product BOLT." in ran.stderr) == (2, True), ran.stderr
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO products (sku, name, status, body, source, reported_at, changed)"
            """ VALUES ('BOLT', 'Bolt', 'active', '{"base_unit": "C62"}', 'erp', now(), 1)"""
        )
        await connection.execute(
            "INSERT INTO stock (sku, location, on_hand, reported, reserved, source, as_of, reported_at)"
            " VALUES ('BOLT', 'HAM', 80, 80, 29, 'wms', now(), now())"
        )
    finally:
        await connection.close()
    assert "available at HAM" in explain("BOLT", "--channel", "portal").stdout
    found = json.loads(explain("BOLT", "--channel", "portal", "--json").stdout)
    assert found["availability"]["locations"][0]["reserved"] == "29"
