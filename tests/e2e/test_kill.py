"""Our processes are killed at random moments while partners misbehave in every way; their own logs are the judges.

The long form: `CROSSDOCK_PROOF_ORDERS=2000 CROSSDOCK_PROOF_KILLS=40 .venv/bin/pytest tests/e2e/test_kill.py`.
`CROSSDOCK_PROOF_SEED` repeats another run's orders and faults.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from tests.e2e.canaries import Person, files_left, find_canaries, secrets_of
from tests.e2e.proof_world import Log, World, make_basket, open_world, read_logs, seen_requests

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(3600)]
ORDERS = int(os.environ.get("CROSSDOCK_PROOF_ORDERS", "30"))
KILLS = int(os.environ.get("CROSSDOCK_PROOF_KILLS", "6"))
SEED = int(os.environ.get("CROSSDOCK_PROOF_SEED", "1"))
PLACED_AT_ONCE: Final = 50

FAULTS: Final[Mapping[str, Any]] = {
    "seed": SEED, "paths": "^/(api|v1)",
    "commit_then_drop": 0.3, "commit_then_500": 0.02, "truncate": 0.03, "break_off": 0.03, "wrong_content_type": 0.03,
    "status_429": 0.03, "retry_after": 1, "retry_after_left_out": 0.5, "status_503": 0.03, "reset": 0.02,
    "duplicate": 0.2, "duplicate_answer": 0.5, "callback_first": 0.1, "delay_ms": (0, 250),
    "page_reorder": 0.5, "page_repeat": 0.5, "page_stale": 0.2,
    "webhook_duplicate": 1, "webhook_again": 0.2, "webhook_reorder": True, "webhook_drop": 0.1,
}  # fmt: skip
# The shop takes each fulfilment that arrives as a further one and knows no key: what its own network delivers twice,
# nobody on our side can prevent. There only the acknowledgment is doubled.
OWN_FAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "shop": {"duplicate_paths": "/acknowledgment$"}, "payment": {"delay_after_commit": True},
    "tax": {"delay_after_commit": True},
}  # fmt: skip


async def place_orders(world: World, chance: random.Random, person: Person) -> dict[str, list[str]]:
    """Orders at the shop (it tells us by webhook, and can be polled) and at the portal (it calls our API)."""
    numbers: dict[str, list[str]] = {"shop": [], "portal": []}
    for start in range(0, ORDERS, PLACED_AT_ONCE):
        baskets: dict[str, list[dict[str, Any]]] = {"shop": [], "portal": []}
        for _ in range(min(PLACED_AT_ONCE, ORDERS - start)):
            baskets["shop" if chance.random() < 0.6 else "portal"].append(make_basket(chance, **person.basket))
        for channel, orders in baskets.items():
            answer = await world.partners[channel].control("POST", "/_control/order", {"orders": orders})
            numbers[channel] += answer["numbers"]
    return numbers


async def test_killed_processes_and_misbehaving_partners_leave_each_effect_once(
    database_url: str, tmp_path: Path
) -> None:
    chance, person = random.Random(SEED), Person()
    began = time.monotonic()
    async with open_world(database_url, tmp_path) as world:
        for kind, partner in world.partners.items():
            await partner.misbehave({**FAULTS, **OWN_FAULTS.get(kind, {})})
        pace = {"on": True, "interval": 1, "partial": 0.3, "short": 0, "seed": SEED}
        await world.partners["wms"].control("POST", "/_control/auto", pace)
        world.start_api()
        for _ in range(2):
            world.start_worker()
        numbers = await place_orders(world, chance, person)
        killed = []
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.5, 2.5))
            killed.append((await asyncio.to_thread(world.kill_one, chance)).partition("-")[0])
        await world.until_completed(ORDERS, 90 + 3 * ORDERS)
        await asyncio.to_thread(world.stop_own)
        took = time.monotonic() - began
        logs = await read_logs(world.partners)
        judge(logs, numbers)
        await judge_ledger(database_url, numbers)
        happened = await count_faults(world)
        assert not find_canaries(files_left(world), secrets_of(world, person), person.personal)
    print(f"seed {SEED}: {ORDERS} orders in {took:.0f} s, killed {dict(Counter(killed))}, faults {happened}")


def judge(logs: Mapping[str, Log], numbers: Mapping[str, list[str]]) -> None:
    """What the receiving systems logged: everything once, and every cent."""
    orders = [*numbers["shop"], *numbers["portal"]]
    acknowledged = Counter(row["business_key"] for row in logs["shop"] if row["kind"] == "acknowledgment")
    assert acknowledged == dict.fromkeys(numbers["shop"], 1)
    answers = [row for row in logs["portal"] if row["kind"] == "answer"]
    assert Counter(row["business_key"] for row in answers) == dict.fromkeys(numbers["portal"], 1)
    assert {row["document"]["status"] for row in answers} <= {200, 201}
    ours = {row["document"]["answer"]["number"] for row in answers}
    ours |= {row["document"]["merchant_reference"] for row in logs["shop"] if row["kind"] == "acknowledgment"}
    assert len(ours) == len(orders), "each order has one number of ours, and no two have the same"

    instructions = Counter(row["business_key"] for row in logs["wms"] if row["kind"] == "instruction")
    assert set(instructions.values()) == {1}
    assert {number[:10] for number in instructions} == ours
    shipments = [row["document"] for row in logs["wms"] if row["kind"] == "shipment"]
    by_number = {document["number"]: document for document in shipments}
    assert len(by_number) == len(shipments)

    authorised = {row["document"]["id"]: row["document"] for row in logs["payment"] if row["kind"] == "authorisation"}
    assert Counter(document["reference"] for document in authorised.values()) == dict.fromkeys(ours, 1)
    captures: dict[str, list[int]] = defaultdict(list)
    captured = [row for row in logs["payment"] if row["kind"] == "capture"]
    assert Counter(row["business_key"] for row in captured) == dict.fromkeys(by_number, 1)
    for row in captured:
        captures[row["document"]["source"]].append(row["document"]["amount"])
    for document in authorised.values():
        assert sum(captures[document["id"]]) == document["amount"]

    committed = Counter(row["business_key"] for row in logs["tax"] if row["kind"] == "transaction")
    assert committed == dict.fromkeys(committed, 1)
    assert len(committed) == len(shipments)

    fulfilments = Counter(row["document"]["reference"] for row in logs["shop"] if row["kind"] == "fulfilment")
    told = Counter(
        row["document"]["event_id"] for row in logs["portal"] if row["kind"] == "status" and is_shipped(row)
    )
    assert set(fulfilments.values()) | set(told.values()) == {1}
    assert len(fulfilments) + len(told) == len(shipments)

    followed = Counter(row["business_key"] for row in logs["carrier"] if row["kind"] == "tracking")
    packages = [package["tracking"] for document in shipments for package in document["packages"]]
    assert followed == dict.fromkeys(packages, 1)


def is_shipped(row: Mapping[str, Any]) -> bool:
    return str(row["document"]["status"]) == "shipped"


async def judge_ledger(dsn: str, numbers: Mapping[str, list[str]]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        assert await connection.fetchval("SELECT count(*) FROM orders") == sum(map(len, numbers.values()))
        assert await connection.fetchval("SELECT count(*) FROM stock WHERE reserved <> 0") == 0
        assert await connection.fetchval("SELECT count(*) FROM steps WHERE state = 'quarantined'") == 0
        assert await connection.fetchval("SELECT count(*) FROM facts WHERE state = 'quarantined'") == 0
    finally:
        await connection.close()


async def count_faults(world: World) -> dict[str, int]:
    """What really went wrong; every way of the plan must have happened, or the run has proven less than it says."""
    happened: Counter[str] = Counter()
    for partner in world.partners.values():
        for row in await seen_requests(partner):
            fate = row["fate"]
            if row["again"]:
                happened["duplicate"] += 1
                continue
            happened["requests"] += 1
            if fate["before"] != "go on":
                without = fate["before"] == "429" and fate["retry_after"] is None
                happened[fate["before"] + (" without Retry-After" if without else "")] += 1
            elif fate["after"] != "answer":
                happened[fate["after"]] += 1
            happened["callback first"] += fate["callback_first"]
            happened.update(f"page {name}" for name, is_so in fate["page"].items() if is_so)
    expected = {
        "duplicate", "reset", "429", "429 without Retry-After", "503", "drop", "500", "truncate", "break off",
        "wrong type", "callback first", "page reorder", "page repeat", "page stale",
    }  # fmt: skip
    assert expected <= happened.keys(), expected - happened.keys()
    return dict(happened)
