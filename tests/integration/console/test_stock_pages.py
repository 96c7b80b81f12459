"""The console's pages of stock: what they say of places, channels and differences; what an operator may do there."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.integration.console.conftest import NOW, House, Visitor
from tests.integration.insight.stock_estate import place_stock_estate


def words_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.fixture
async def stocked(house: House) -> House:
    await place_stock_estate(house.pool, NOW)
    return house


async def test_a_sku_is_found_by_how_it_begins_and_explains_itself(stocked: House, operator: Visitor) -> None:
    page = await operator.get("/console/stock?q=BOLT")
    assert page.status_code == 200
    words = words_of(page.text)
    assert "BOLT-M8 Bolt M8 HAM wms 900 pcs 20 kept back 120 760" in words
    assert "NUT-M8" not in words_of(page.text.partition('id="stock-found"')[2].partition("</section>")[0])
    one = words_of((await operator.get("/console/stock/sku/BOLT-M8")).text)
    assert "portal 760 pcs 800" in one
    assert "shop : 752 pcs" in one
    assert "reported by wms 900 – quality hold 20 – reserved 120 = available at HAM 760 = available (pcs) 760" in one
    assert "– buffer 8 = promise (pcs) 752" in one
    assert "erp at HAM 870, -30 against the owner" in one
    assert (await operator.get("/console/stock/sku/NOBODY")).status_code == 404


async def test_places_are_paged_by_location(stocked: House, operator: Visitor) -> None:
    first = (await operator.get("/console/stock?location=BHX")).text
    cursor = re.findall(r"cursor=([\w-]+)", first)[0]
    rest = await operator.get(f"/console/stock?location=BHX&cursor={cursor}", **{"HX-Request": "true"})
    found = re.findall(r'class="key" href="/console/stock/sku/([\w-]+)"', first + rest.text)
    assert len(found) == len(set(found)) == 60
    assert found == sorted(found)
    assert (await operator.get("/console/stock?cursor=made-up")).status_code == 400


async def test_what_a_channel_did_not_take_is_told_again(stocked: House, operator: Visitor) -> None:
    page = words_of((await operator.get("/console/stock?channel=shop&parked=yes")).text)
    assert "SKU unknown shop" in page
    assert "NUT-M8" in page
    await operator.act("/console/stock/retry", channel="shop", sku="NUT-M8")
    assert not await stocked.pool.fetchval("SELECT parked FROM publications WHERE channel = 'shop' AND sku = 'NUT-M8'")
    assert await stocked.pool.fetchval("SELECT count(*) FROM audit WHERE action = 'publication.retry'") == 1


async def test_differences_are_repaired_one_by_one_and_by_cause(stocked: House, operator: Visitor) -> None:
    page = words_of((await operator.get("/console/stock")).text)
    assert "2 A second writer shop" in page
    assert "70.00 EUR at list price" in page
    ids = [row[0] for row in await stocked.pool.fetch("SELECT drift_id FROM stock_drift ORDER BY drift_id")]
    answer = await operator.act("/console/stock/drift/repair", drift_id=str(ids[0]))
    assert "said=repairing&count=1" in answer.headers["location"]
    answer = await operator.act(
        "/console/stock/drift/dismiss", all="yes", cause="rival_writer", side="channel", counterpart="shop"
    )
    assert "said=dismissed&count=2" in answer.headers["location"]
    states = dict(await stocked.pool.fetch("SELECT state, count(*) FROM stock_drift GROUP BY state"))
    assert states == {"dismissed": 2, "open": 1}
    # Without ticks and without saying so, nothing happens.
    answer = await operator.act("/console/stock/drift/dismiss", cause="late", side="owner", counterpart="wms")
    assert "said=none" in answer.headers["location"]


async def test_a_report_too_wild_is_believed_by_a_person(stocked: House, operator: Visitor) -> None:
    page = (await operator.get("/console/stock")).text
    assert "takes 60 of 60 stocked SKUs to nothing" in words_of(page)
    fact = re.findall(r'name="fact_id" value="(\d+)"', page)[0]
    await operator.act("/console/quarantine/facts/replay", fact_id=fact, back="/console/stock")
    assert await stocked.pool.fetchval("SELECT state FROM facts WHERE fact_id = $1", int(fact)) == "waiting"


async def test_the_overview_tells_of_stock(stocked: House, operator: Visitor) -> None:
    page = words_of((await operator.get("/console")).text)
    assert "3 stock differences 1 stock feed held, 1 late" in page


async def test_a_viewer_looks_and_cannot_act(stocked: House, visitor: Visitor) -> None:
    await visitor.sign_in("vic")
    page = (await visitor.get("/console/stock")).text
    assert "Repair all" not in page
    answer = await visitor.act("/console/stock/drift/repair", drift_id="1")
    assert answer.status_code == 403


async def test_a_page_of_stock_names_its_age(stocked: House, operator: Visitor) -> None:
    page = (await operator.get("/console/stock?location=BHX")).text
    assert "Late" in page
    assert (NOW - timedelta(hours=3)).strftime("%H:%M") in page
