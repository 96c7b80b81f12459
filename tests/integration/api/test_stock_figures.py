"""How well stock goes, for operators' programs: figures, differences, metrics."""

from __future__ import annotations

from crossdock.engine.ports import system_clock
from crossdock.insight.stock import percentile
from tests.integration.api.api_world import Api
from tests.integration.insight.stock_estate import place_stock_estate


async def test_the_figures_of_stock_and_its_differences(api: Api) -> None:
    await place_stock_estate(api.pool, system_clock())
    kpis = (await api.ask("operator-1", "GET", "/v1/stock/kpis")).json()
    assert [(row["channel"], row["count"], row["p50"], row["p95"], row["p99"]) for row in kpis["latency"]] == [
        ("shop", 100, 195, 256, 921)
    ]
    assert (kpis["stale_feeds"], kpis["held_feeds"], kpis["open_drift"]) == (1, 1, 3)
    assert kpis["waiting"] == {"portal": 1, "shop": 0}
    assert kpis["parked"] == {"portal": 0, "shop": 1}
    assert {"side": "channel", "counterpart": "shop", "compared": 100, "drifted": 2} in kpis["compared"]
    page = (await api.ask("operator-1", "GET", "/v1/stock/drift?cause=rival_writer&limit=1")).json()
    rest = (await api.ask("operator-1", "GET", f"/v1/stock/drift?cause=rival_writer&cursor={page['cursor']}")).json()
    assert {item["sku"] for item in page["items"] + rest["items"]} == {"BOLT-M8", "NUT-M8"}
    assert (await api.ask("shop-1", "GET", "/v1/stock/kpis")).status_code == 403
    metrics = (await api.http.get("/metrics")).text
    assert 'crossdock_stock_sync_milliseconds{channel="shop",quantile="0.99"} 921.0' in metrics
    assert "crossdock_stock_drift_open 3.0" in metrics


def test_percentiles_lie_in_their_bucket() -> None:
    assert percentile({}, 99) == 0
    assert percentile({4: 10}, 50) == 24
    assert 512 <= percentile({3: 98, 9: 2}, 99) <= 1024
