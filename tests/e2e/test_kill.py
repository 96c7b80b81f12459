"""Our processes are killed at random moments while partners misbehave in every way; their own logs are the judges.

The long form: `CROSSDOCK_PROOF_ORDERS=2000 CROSSDOCK_PROOF_KILLS=40 .venv/bin/pytest tests/e2e/test_kill.py`.
`CROSSDOCK_PROOF_SEED` repeats another run's orders and faults.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from crossdock.prove.canaries import Person, find_canaries
from crossdock.prove.real_world import make_basket
from tests.e2e.canaries import files_left, secrets_of
from tests.e2e.proof_world import Log, World, open_world, read_logs, seen_requests

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(3600)]
ORDERS = int(os.environ.get("CROSSDOCK_PROOF_ORDERS", "30"))
KILLS = int(os.environ.get("CROSSDOCK_PROOF_KILLS", "6"))
SEED = int(os.environ.get("CROSSDOCK_PROOF_SEED", "1"))
PLACED_AT_ONCE: Final = 50

FAULTS: Final[Mapping[str, Any]] = {
    "seed": SEED, "paths": "^/(api|v1)",
    "commit_then_drop": 0.3, "commit_then_500": 0.05, "truncate": 0.03, "break_off": 0.03, "wrong_content_type": 0.03,
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


@dataclass(slots=True)
class Placed:
    """The channels' numbers. `declined`: the card is refused; `regretted`: the buyer cancels while it is under way."""

    shop: list[str] = field(default_factory=list)
    portal: list[str] = field(default_factory=list)
    declined: set[str] = field(default_factory=set)
    regretted: set[str] = field(default_factory=set)

    @property
    def all(self) -> set[str]:
        return {*self.shop, *self.portal}


async def place_orders(world: World, chance: random.Random, person: Person, placed: Placed) -> None:
    """Orders at the shop (it tells us by webhook, and can be polled) and at the portal (it calls our API).

    Some of the shop's buyers change their minds, before anything was done or while goods are leaving.
    """
    regretting = []
    for start in range(0, ORDERS, PLACED_AT_ONCE):
        baskets: dict[str, list[dict[str, Any]]] = {"shop": [], "portal": []}
        for _ in range(min(PLACED_AT_ONCE, ORDERS - start)):
            card = {"card_token": "tok_declined"} if chance.random() < 0.06 else {}
            basket = make_basket(chance, **{**person.basket, **card})
            baskets["shop" if chance.random() < 0.6 else "portal"].append(basket)
        for channel, orders in baskets.items():
            answer = await world.partners[channel].control("POST", "/_control/order", {"orders": orders})
            (placed.shop if channel == "shop" else placed.portal).extend(answer["numbers"])
            placed.declined.update(
                number for number, basket in zip(answer["numbers"], orders, strict=True)
                if basket["card_token"] == "tok_declined"
            )  # fmt: skip
            if channel == "shop":
                for number in chance.sample(answer["numbers"], -(-len(orders) // 10)):
                    placed.regretted.add(number)
                    regretting.append(asyncio.create_task(regret(world, number, chance.uniform(0, 12))))
    await asyncio.gather(*regretting)


async def regret(world: World, number: str, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await world.partners["shop"].control("POST", "/_control/cancel", {"number": number})


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
        placed = Placed()
        placing = asyncio.create_task(place_orders(world, random.Random(SEED), person, placed))
        killed = []
        for number in range(KILLS):
            await asyncio.sleep(chance.uniform(0.5, 2.5))
            while not placing.done() and len(placed.all) < ORDERS * number / KILLS:  # noqa: ASYNC110 - spread the kills
                await asyncio.sleep(0.2)
            killed.append((await asyncio.to_thread(world.kill_one, chance)).partition("-")[0])
        await placing
        await world.until_settled(ORDERS, 90 + 3 * ORDERS)
        await asyncio.to_thread(world.stop_own)
        took = time.monotonic() - began
        ours = await our_numbers(database_url)
        Judge(await read_logs(world.partners), placed, ours).judge()
        happened = await count_faults(world)
        assert not find_canaries(files_left(world), secrets_of(world, person), person.personal)
    print(f"seed {SEED}: {ORDERS} orders in {took:.0f} s, {len(placed.declined)} declined, {len(placed.regretted)} "
          f"cancelled by their buyers; killed {dict(Counter(killed))}; faults {happened}")  # fmt: skip


_STILL_RESERVED = """
SELECT s.sku, s.location, s.reserved, o.number, p.state, p.progress -> 'lines' AS lines,
       (SELECT string_agg(t.name || ' ' || t.state, ', ') FROM steps t WHERE t.order_id = o.order_id) AS steps
FROM stock s
LEFT JOIN reservations r ON r.sku = s.sku AND r.location = s.location AND r.quantity > r.shipped + r.released
LEFT JOIN orders o USING (order_id) LEFT JOIN order_progress p USING (order_id) WHERE s.reserved <> 0 LIMIT 3
"""


async def our_numbers(dsn: str) -> dict[str, str]:
    """The channel's number -> ours; and the ledger has come to rest."""
    connection = await asyncpg.connect(dsn)
    try:
        still_reserved = [dict(row) for row in await connection.fetch(_STILL_RESERVED)]
        assert not still_reserved, "\n".join(map(str, still_reserved))
        assert await connection.fetchval("SELECT count(*) FROM steps WHERE state = 'quarantined'") == 0
        rows = await connection.fetch("SELECT channel_number, number FROM orders")
        parked = await connection.fetch("SELECT cause, count(*) FROM facts WHERE state = 'quarantined' GROUP BY 1")
    finally:
        await connection.close()
    # A buyer who cancels when everything has left is answered by a person.
    assert {row["cause"] for row in parked} <= {"cancellation_too_late"}
    assert len({row["number"] for row in rows}) == len(rows)
    return {row["channel_number"]: row["number"] for row in rows}


class Judge:
    """What the receiving systems logged: everything once, and every cent."""

    def __init__(self, logs: Mapping[str, Log], placed: Placed, ours: Mapping[str, str]) -> None:
        self._logs, self._placed, self._ours = logs, placed, ours
        assert ours.keys() == placed.all
        self._declined = {ours[number] for number in placed.declined}
        self._regretted = {ours[number] for number in placed.regretted}
        self._paying = set(ours.values()) - self._declined
        self._shipments = {row["document"]["number"]: row["document"] for row in self._of("wms", "shipment")}
        assert len(self._shipments) == len(self._of("wms", "shipment"))

    def judge(self) -> None:
        self._judge_channels()
        self._judge_warehouse()
        self._judge_money()
        self._judge_parts()

    def _of(self, partner: str, kind: str) -> Log:
        return [row for row in self._logs[partner] if row["kind"] == kind]

    def _judge_channels(self) -> None:
        acknowledged = Counter(row["business_key"] for row in self._of("shop", "acknowledgment"))
        assert set(acknowledged.values()) == {1}
        never = acknowledged.keys() & self._placed.declined
        assert not never
        missing = set(self._placed.shop) - acknowledged.keys() - self._placed.declined - self._placed.regretted
        assert not missing
        answers = self._of("portal", "answer")
        assert Counter(row["business_key"] for row in answers) == dict.fromkeys(self._placed.portal, 1)
        assert {row["document"]["status"] for row in answers} <= {200, 201}
        # A cancellation of ours is counted by the shop each time that it is sent.
        cancelled = Counter(row["business_key"].partition("/")[0] for row in self._of("shop", "cancellation"))
        assert set(cancelled.values()) <= {1}
        assert cancelled.keys() >= (self._placed.declined - self._placed.regretted) & set(self._placed.shop)
        assert cancelled.keys() <= self._placed.declined | self._placed.regretted
        told = [row["business_key"].partition("/")[0] for row in self._statuses("cancelled")]
        assert Counter(told) == dict.fromkeys(self._placed.declined & set(self._placed.portal), 1)

    def _statuses(self, status: str) -> Log:
        return [row for row in self._of("portal", "status") if row["document"]["status"] == status]

    def _judge_warehouse(self) -> None:
        instructed = Counter(row["business_key"] for row in self._of("wms", "instruction"))
        assert set(instructed.values()) == {1}
        orders = {number[:10] for number in instructed}
        assert orders <= self._paying
        assert orders >= self._paying - self._regretted
        wanted: Counter[tuple[str, str]] = Counter()
        for row in self._of("wms", "instruction"):
            for line in row["document"]["lines"]:
                wanted[row["business_key"], line["line"]] += int(line["quantity"])
        left: Counter[tuple[str, str]] = Counter()
        for document in self._shipments.values():
            for line in document["lines"]:
                left[document["instruction"], line["line"]] += int(line["quantity"])
        for row in self._of("wms", "cancellation"):
            number = row["business_key"].partition("/")[0]
            assert number[:10] in self._regretted
            for line in row["document"]["lines"]:
                left[number, line["line"]] += int(line["quantity"])
        assert +left == wanted, "what was instructed has left or was called back, to the piece"

    def _judge_money(self) -> None:
        authorised = {row["document"]["id"]: row["document"] for row in self._of("payment", "authorisation")}
        references = Counter(document["reference"] for document in authorised.values())
        assert set(references.values()) == {1}
        assert references.keys() <= self._paying
        assert references.keys() >= self._paying - self._regretted
        captured = self._of("payment", "capture")
        assert Counter(row["business_key"] for row in captured) == dict.fromkeys(self._shipments, 1)
        sums: Counter[str] = Counter()
        for row in captured:
            sums[row["document"]["source"]] += row["document"]["amount"]
        voided = Counter(row["document"]["id"] for row in self._of("payment", "void"))
        assert set(voided.values()) <= {1}
        for identifier, document in authorised.items():
            if document["reference"] not in self._regretted:
                assert sums[identifier] == document["amount"]
                assert identifier not in voided
            else:
                kept = document["amount"] - sums[identifier]
                assert (identifier in voided) == (kept > 0), f"{document['reference']}: {kept} is kept for nothing"

    def _judge_parts(self) -> None:
        committed = Counter(row["business_key"] for row in self._of("tax", "transaction"))
        assert committed == dict.fromkeys(committed, 1)
        assert len(committed) == len(self._shipments)
        fulfilled = Counter(row["document"]["reference"] for row in self._of("shop", "fulfilment"))
        told = Counter(row["document"]["details"]["shipment"] for row in self._statuses("shipped"))
        assert fulfilled + told == dict.fromkeys(self._shipments, 1)
        packages = [package["tracking"] for document in self._shipments.values() for package in document["packages"]]
        assert Counter(row["business_key"] for row in self._of("carrier", "tracking")) == dict.fromkeys(packages, 1)


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
