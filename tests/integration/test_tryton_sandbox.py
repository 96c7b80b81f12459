"""The ERP's sandbox as a process: seeded once, its proxy honest about what was committed, and no child left behind.

Runs where an environment with Tryton is named (CROSSDOCK_TEST_TRYTON_VENV, made from requirements/tryton.txt).
"""

from __future__ import annotations

import signal
import stat
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from crossdock.sandbox.tryton.rpc import Rpc
from crossdock.sandbox.world import TAX_CODES, WAREHOUSES, World, make_world
from tests.erp_process import END_SECONDS_MAX, START_SECONDS_MAX, VENV, Erp, is_free, wait_until

pytestmark = [
    pytest.mark.process, pytest.mark.slow,
    pytest.mark.skipif(not VENV, reason="CROSSDOCK_TEST_TRYTON_VENV names no Tryton"),
]  # fmt: skip


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as opened:
        yield opened


@pytest.fixture
def world() -> World:
    return make_world()


async def ask(client: aiohttp.ClientSession, erp: Erp, path: str) -> Any:
    async with client.get(erp.url + path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def misbehave(client: aiohttp.ClientSession, erp: Erp, plan: dict[str, Any]) -> int:
    async with client.put(f"{erp.url}/_faults", json=plan) as answer:
        return answer.status


async def sign_in(client: aiohttp.ClientSession, erp: Erp) -> Rpc:
    await misbehave(client, erp, {})
    rpc = Rpc(client, erp.url, "tryton")
    await rpc.login("crossdock", (erp.home / "crossdock.password").read_text(encoding="ascii"))
    rpc.context = await rpc.call("model.res.user.get_preferences", True)
    return rpc


async def test_unfinished_database_is_made_anew(erp: Erp) -> None:
    assert any("made anew" in line for line in erp.said), erp.said


async def test_world_is_there(client: aiohttp.ClientSession, erp: Erp, world: World) -> None:
    rpc = await sign_in(client, erp)
    skus = {product.sku for product in world.sold}
    products = await rpc.call("model.product.product.search_read", [], 0, None, None, ["code"])
    assert {row["code"] for row in products} == skus
    codes = [customer.code for customer in world.customers]
    assert len(await rpc.find("party.party", ("code", "in", codes))) == len(codes)
    for code, rate in TAX_CODES.values():
        tax = await rpc.call("model.account.tax.search_read", [("name", "=", code)], 0, None, None, ["rate"])
        assert [row["rate"] for row in tax] == [rate]


@pytest.mark.parametrize("warehouse", WAREHOUSES)
async def test_stock_is_the_worlds(client: aiohttp.ClientSession, erp: Erp, world: World, warehouse: str) -> None:
    rpc = await sign_in(client, erp)
    location = await rpc.find("stock.location", ("type", "=", "warehouse"), ("code", "=", warehouse))
    assert len(location) == 1
    rows = await rpc.call(
        "model.product.product.search_read", [("type", "=", "goods")], 0, None, None, ["code", "quantity"],
        context={"locations": location},
    )
    found = {row["code"]: row["quantity"] for row in rows}
    assert found == {product.sku: float(dict(product.stock)[warehouse]) for product in world.products}


async def test_secrets_are_their_owners_only(erp: Erp) -> None:
    for name in ("crossdock.password", "admin.password", "trytond.conf"):
        assert stat.S_IMODE((erp.home / name).stat().st_mode) == 0o600, name


async def test_log_has_what_was_committed(client: aiohttp.ClientSession, erp: Erp) -> None:
    """A refused write and a read leave no entry; a write does, also where the caller never hears of it."""
    rpc = await sign_in(client, erp)
    before = len(await ask(client, erp, "/_log"))
    await rpc.find("party.party")
    with pytest.raises(Exception, match="party"):
        await rpc.create("party.party", [{"name": "Twice", "code": "C0001"}])
    assert len(await ask(client, erp, "/_log")) == before
    await misbehave(client, erp, {"commit_then_drop": 1, "methods": ["POST"]})
    with pytest.raises(aiohttp.ClientError):
        await rpc.create("party.party", [{"name": "Heard of by nobody", "code": "T0001"}])
    await misbehave(client, erp, {})
    entries = (await ask(client, erp, "/_log"))[before:]
    assert [entry["kind"] for entry in entries] == ["model.party.party.create"]
    assert "T0001" in str(entries[0]["document"]["arguments"])
    assert await rpc.find("party.party", ("code", "=", "T0001")) == entries[0]["document"]["result"]


async def test_faults_before_the_work_leave_nothing(client: aiohttp.ClientSession, erp: Erp) -> None:
    rpc = await sign_in(client, erp)
    before = len(await ask(client, erp, "/_log"))
    plans: list[dict[str, Any]] = [{"reset": 1}, {"status_429": 1}, {"status_503": 1}, {"down": True}]
    for number, plan in enumerate(plans):
        assert await misbehave(client, erp, plan) == 200
        with pytest.raises(Exception, match=r".*"):
            await rpc.create("party.party", [{"name": "Nobody", "code": f"N{number}"}])
    assert await misbehave(client, erp, {}) == 200
    assert await rpc.find("party.party", ("name", "=", "Nobody")) == []
    assert len(await ask(client, erp, "/_log")) == before
    assert await misbehave(client, erp, {"no_such_fault": 1}) == 400


async def test_request_delivered_twice_is_committed_twice(client: aiohttp.ClientSession, erp: Erp) -> None:
    rpc = await sign_in(client, erp)
    await misbehave(client, erp, {"duplicate": 1, "paths": "party.category.create"})
    await rpc.create("party.category", [{"name": "Twice", "parent": (await rpc.find("party.category"))[0]}])
    await misbehave(client, erp, {})
    log = await ask(client, erp, "/_log")
    made = [entry for entry in log if entry["kind"] == "model.party.category.create"]
    assert len(await rpc.find("party.category", ("name", "=", "Twice"))) == len(made)


async def test_killed_without_warning_it_takes_tryton_along_and_starts_again(
    client: aiohttp.ClientSession, erp: Erp
) -> None:
    """Its log and its data are kept; nothing is seeded twice."""
    log = await ask(client, erp, "/_log")
    inner = erp.inner_port()
    assert not is_free(inner)
    erp.end(signal.SIGKILL)
    assert wait_until(lambda: is_free(inner), END_SECONDS_MAX), "Tryton outlives its parent"
    erp.start(START_SECONDS_MAX)
    assert [line for line in erp.said if "listens on" not in line] == []
    assert await ask(client, erp, "/healthz") == {"status": "ok", "name": "tryton"}
    assert await ask(client, erp, "/_log") == log
    assert set(await ask(client, erp, "/_documents")) == {"sales", "shipments", "invoices", "payments"}


async def test_told_to_stop_it_ends_with_tryton(erp: Erp) -> None:
    inner = erp.inner_port()
    assert erp.end(signal.SIGTERM) == 0
    assert is_free(inner)
