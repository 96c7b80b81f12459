"""What the pages say, that nothing hostile or personal gets out, and that actions act."""

from __future__ import annotations

import re

import pytest

from tests.integration.console.conftest import House, Visitor
from tests.integration.insight.estate_partners import HOSTILE


async def test_the_overview_answers_at_a_glance(operator: Visitor) -> None:
    page = (await operator.get("/console")).text
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert re.search(r"\d+ waiting for the ERP 12 orders(, \d+ shipments?)?; erp does not answer", words)
    assert "3 shipments not published" in words
    assert "9 on hold 6 price deviation, 3 credit limit" in words
    assert "7 in quarantine 4 messages, 3 steps" in words
    assert "3 stale feeds" in words
    fragment = await operator.get("/console", **{"HX-Request": "true"})
    assert fragment.text.lstrip().startswith('<div id="overview"')


async def test_orders_are_searched_and_paged(operator: Visitor) -> None:
    assert (await operator.get("/console/orders?q=INV-00061")).text.count("/console/orders/CD0") == 1
    first = (await operator.get("/console/orders")).text
    cursor = re.findall(r"cursor=([\w-]+)", first)[0]
    rest = (await operator.get(f"/console/orders?cursor={cursor}", **{"HX-Request": "true"})).text
    numbers = re.findall(r'class="key" href="/console/orders/(CD\d+)"', first + rest)
    assert len(numbers) == len(set(numbers)) == 70
    assert (await operator.get("/console/orders?cursor=made-up")).status_code == 400
    assert (await operator.get(f"/console/orders?q={'x' * 101}")).status_code == 400
    assert (await operator.get("/console/orders?state=nonsense")).status_code == 200


async def test_an_order_tells_its_story_and_what_it_waits_for(operator: Visitor) -> None:
    page = (await operator.get("/console/orders/CD00000062")).text
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split()).replace(" .", ".")
    assert "Waiting for erp: it does not answer. Since 09:24. Next attempt in 20 s." in words
    assert "attempt 2: unavailable" in words
    assert "Musterfrau" in page
    assert "tok_secret" not in page
    assert (await operator.get("/console/orders/CD99999999")).status_code == 404
    assert (await operator.get("/console/orders/x%00")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/console",
        "/console/orders",
        "/console/orders/CD00000003",
        "/console/holds",
        "/console/quarantine/facts",
        "/console/quarantine/facts/{fact}/payload",
        "/console/orders?q=%3Cscript%3Ealert(1)%3C/script%3E",
    ],
)
async def test_nothing_hostile_is_ever_markup(house: House, operator: Visitor, path: str) -> None:
    fact = await house.pool.fetchval("SELECT max(fact_id) FROM facts")
    page = (await operator.get(path.format(fact=fact))).text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert not re.search(r"<script(?![^>]*src=)", page)
    for tag in re.findall(r"<[a-zA-Z][^<>]*>", page):
        assert not re.search(r"\s(style|on[a-z]+)=", re.sub(r'"[^"]*"', '""', tag)), tag
    if path.endswith(("003", "payload")):
        assert "&lt;script&gt;" in page
        assert HOSTILE not in page


async def test_lists_and_payloads_show_no_personal_data(house: House, operator: Visitor) -> None:
    fact = await house.pool.fetchval("SELECT max(fact_id) FROM facts")
    for path in (
        "/console/orders",
        "/console/holds",
        "/console/holds/orders?cause=credit_limit",
        "/console/quarantine/facts",
        f"/console/quarantine/facts/{fact}/payload",
    ):
        page = (await operator.get(path)).text
        for secret in ("Musterfrau", "Hafenstrasse", "jette@", "tok_secret"):
            assert secret not in page, path


async def test_pause_and_resume_are_done_and_audited(house: House, operator: Visitor) -> None:
    answer = await operator.act("/console/connections/erp/pause", back="/console/connections")
    assert answer.headers["location"] == "/console/connections?said=paused"
    assert await house.pool.fetchval("SELECT paused_by FROM connections WHERE connection = 'erp'") == "olive"
    assert "Paused. Nothing is sent" in (await operator.get(answer.headers["location"])).text
    # A card far down the page is where one goes back to.
    below = await operator.act("/console/connections/erp/pause", back="/console/connections#erp")
    assert below.headers["location"] == "/console/connections?said=paused#erp"
    await operator.act("/console/connections/erp/resume")
    assert not await house.pool.fetchval("SELECT paused FROM connections WHERE connection = 'erp'")
    audited = await house.pool.fetch("SELECT actor, action, subject FROM audit ORDER BY audit_id")
    assert [tuple(row) for row in audited] == [
        ("olive", "connection.pause", "erp"),
        ("olive", "connection.pause", "erp"),
        ("olive", "connection.resume", "erp"),
    ]
    assert (await operator.act("/console/connections/unknown/pause")).status_code == 404


async def test_the_breaker_is_set_by_hand(house: House, operator: Visitor) -> None:
    await operator.act("/console/connections/erp/breaker", operation="erp.ship", override="open")
    lane = await house.pool.fetchrow("SELECT override, override_by FROM lanes WHERE operation = 'erp.ship'")
    assert tuple(lane) == ("open", "olive")
    await operator.act("/console/connections/erp/breaker", operation="erp.ship", override="none")
    assert await house.pool.fetchval("SELECT override FROM lanes WHERE operation = 'erp.ship'") is None
    refused = await operator.act("/console/connections/erp/breaker", operation="erp.ship", override="sideways")
    assert refused.status_code == 404


async def test_parked_steps_and_facts_are_replayed_one_or_all(house: House, operator: Visitor) -> None:
    answer = await operator.act("/console/orders/CD00000013/replay")
    assert answer.headers["location"] == "/console/orders/CD00000013?said=replayed&count=1"
    group = {"all": "yes", "connection": "erp", "operation": "erp.ship", "cause": "connection_refused"}
    answer = await operator.act("/console/quarantine/steps/replay", **group)
    assert answer.headers["location"] == "/console/holds?said=replayed&count=2"
    again = await operator.act("/console/quarantine/steps/replay", **group)
    assert again.headers["location"] == "/console/holds?said=none"
    fact = await house.pool.fetchval("SELECT min(fact_id) FROM facts WHERE state = 'quarantined'")
    await operator.act("/console/quarantine/facts/replay", fact_id=str(fact))
    assert await house.pool.fetchval("SELECT count(*) FROM facts WHERE state = 'quarantined'") == 3
    nothing = await operator.act("/console/quarantine/facts/replay")
    assert nothing.headers["location"] == "/console/holds?said=unchosen"
    assert "Nothing was chosen." in (await operator.get(nothing.headers["location"])).text
    assert await house.pool.fetchval("SELECT count(*) FROM facts WHERE state = 'quarantined'") == 3


async def test_a_parked_step_is_settled_as_it_was_found_at_the_partner(house: House, operator: Visitor) -> None:
    # The small business's shipments have no contents, which an invoice would need.
    (row,) = await house.pool.fetch(
        "UPDATE steps SET operation = 'carrier.track' WHERE state = 'quarantined' AND order_id = 13 "
        "RETURNING order_id, name"
    )
    here = f"/console/orders/CD{row['order_id']:08d}"
    assert f'<option value="{row["name"]}">' in (await operator.get(here)).text
    wish = {"step": row["name"], "ended": "done", "number": "INV-77"}
    unsaid = await operator.act(f"{here}/settle", **wish)
    assert unsaid.headers["location"] == f"{here}?said=reason"
    settled = await operator.act(f"{here}/settle", **wish, reason="Posted by hand.")
    assert settled.headers["location"] == f"{here}?said=settled"
    page = (await operator.get(settled.headers["location"])).text
    assert "The step is settled; what follows goes on." in page
    assert "Parked step settled as done" in page
    assert "INV-77" in page
    assert (await operator.act(f"{here}/settle", **wish, reason="Again.")).status_code == 409
    assert (await operator.act(f"{here}/settle", step=row["name"], ended="lost", reason="x")).status_code == 404


async def test_replay_chosen_without_a_tick_replayed_everything(house: House, operator: Visitor) -> None:
    page = await operator.get("/console/quarantine/steps?connection=erp&cause=connection_refused")
    hidden = dict(re.findall(r'<input type="hidden" name="(connection|cause|operation)" value="([^"]*)">', page.text))
    parked = await house.pool.fetchval("SELECT count(*) FROM steps WHERE state = 'quarantined'")
    assert parked > 1
    answer = await operator.act("/console/quarantine/steps/replay", **hidden)
    assert answer.headers["location"] == "/console/holds?said=unchosen"
    assert await house.pool.fetchval("SELECT count(*) FROM steps WHERE state = 'quarantined'") == parked


async def test_replay_all_of_this_cause_took_other_kinds_along(house: House, operator: Visitor) -> None:
    await house.pool.execute(
        """INSERT INTO facts (connection, kind, business_key, version, subject, state, body, received_at, due_at, cause)
        VALUES ('shop', 'order.paid', 'P-1', '1', 'S-1', 'quarantined', '{}', now(), now(), 'sku_unknown')"""
    )
    group = {"all": "yes", "connection": "shop", "kind": "order.placed", "cause": "sku_unknown"}
    answer = await operator.act("/console/quarantine/facts/replay", **group)
    assert answer.headers["location"] == "/console/holds?said=replayed&count=4"
    assert await house.pool.fetchval("SELECT kind FROM facts WHERE state = 'quarantined'") == "order.paid"


async def test_a_parked_message_that_was_settled_by_telephone_is_closed(house: House, operator: Visitor) -> None:
    facts = [str(row[0]) for row in await house.pool.fetch("SELECT fact_id FROM facts WHERE state = 'quarantined'")]
    silent = await operator.act("/console/quarantine/facts/dismiss", fact_id=facts[:2])
    assert silent.headers["location"] == "/console/holds?said=reason"
    answer = await operator.act("/console/quarantine/facts/dismiss", fact_id=facts[:2], reason="Ordered anew by phone.")
    assert answer.headers["location"] == "/console/holds?said=closed&count=2"
    assert "2 closed." in (await operator.get(answer.headers["location"])).text
    assert await house.pool.fetchval("SELECT count(*) FROM facts WHERE state = 'quarantined'") == 2
    kept = await house.pool.fetchrow("SELECT state, raw FROM facts WHERE fact_id = $1", int(facts[0]))
    assert (kept["state"], bool(kept["raw"])) == ("ignored", True)
    told = await house.pool.fetch("SELECT actor, detail FROM audit WHERE action = 'fact.dismiss'")
    assert [row["actor"] for row in told] == ["olive", "olive"]
    assert all(b"Ordered anew by phone." in row["detail"] for row in told)


async def test_the_payload_of_a_message_that_came_as_canonical_json_is_shown(house: House, operator: Visitor) -> None:
    fact_id = await house.pool.fetchval(
        """INSERT INTO facts (connection, kind, business_key, version, subject, state, body, received_at, due_at, cause)
        VALUES ('api', 'stock.moved', 'M-1', '1', '', 'quarantined', '{"sku": "BOLT-M8"}', now(), now(), 'x')
        RETURNING fact_id"""
    )
    answer = await operator.get(f"/console/quarantine/facts/{fact_id}/payload")
    assert answer.status_code == 200
    assert "BOLT-M8" in answer.text


async def test_buyers_were_told_the_operators_name_as_the_reason(house: House, operator: Visitor) -> None:
    for path, fields in (("/console/holds/refuse", {"order_id": "6"}), ("/console/orders/CD00000006/cancel", {})):
        answer = await operator.act(path, reason="  ", **fields)
        assert answer.headers["location"].endswith("?said=reason")
        assert "write the reason first" in (await operator.get(answer.headers["location"])).text
    assert await house.pool.fetchval("SELECT state FROM order_progress WHERE order_id = 6") == "held"
    assert await house.pool.fetchval("SELECT count(*) FROM audit") == 0


async def test_held_orders_are_refused_chosen_and_all_of_a_cause(house: House, operator: Visitor) -> None:
    answer = await operator.act("/console/holds/refuse", order_id="6", reason="No credit.")
    assert answer.headers["location"] == "/console/holds?said=refused&count=1"
    assert (
        (await operator.act("/console/holds/refuse", cause="credit_limit", reason="x"))
        .headers["location"]
        .endswith("unchosen")
    )
    answer = await operator.act("/console/holds/refuse", cause="credit_limit", all="yes", reason="No credit.")
    assert answer.headers["location"] == "/console/holds?said=refused&count=2"
    left = await house.pool.fetch("SELECT DISTINCT hold_cause FROM order_progress WHERE hold_cause IS NOT NULL")
    assert [row[0] for row in left] == ["price_deviation"]


async def test_an_order_is_cancelled(house: House, operator: Visitor) -> None:
    answer = await operator.act("/console/orders/CD00000062/cancel", reason="The buyer called.")
    assert answer.status_code == 303
    page = (await operator.get("/console/orders/CD00000062")).text
    assert "The buyer called." in page


async def test_watchers_are_told_of_changes_only(house: House) -> None:
    watching = house.services.live.watch()
    assert await anext(watching) == b"retry: 3000\n\n"
    assert (await anext(watching)).startswith(b"event: orders")
    assert (await anext(watching)).startswith(b"event: stock")
    assert (await anext(watching)).startswith(b"event: overview")
    await house.pool.execute("UPDATE connections SET paused = true WHERE connection = 'tax'")
    assert await anext(watching) == b"event: overview\ndata: 2\n\n"
    await house.services.live.close()
    assert [event async for event in watching] == []
