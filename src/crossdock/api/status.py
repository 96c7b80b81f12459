"""Whether orders can be accepted, and metrics. Neither needs a token; neither names a person."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, Literal

import asyncpg
import msgspec
from prometheus_client.core import Metric

from crossdock.api.answers import Answer, ApiProblem, json_answer
from crossdock.api.endpoint import Call
from crossdock.insight.overview import Overview, read_overview
from crossdock.insight.stock import StockKpis, read_kpis
from crossdock.insight.telemetry.metrics import CONTENT_TYPE, gauge, render_metrics
from crossdock.ledger.clients import find_obstacle

HEALTH_SECONDS_MAX: Final = 2.0
METRICS_SECONDS_MAX: Final = 5.0


class Health(msgspec.Struct, frozen=True):
    status: Literal["accepting"]


async def show_health(call: Call) -> Answer:
    """200 only when orders can be accepted: the database takes writes and there are products to sell."""
    try:
        async with asyncio.timeout(HEALTH_SECONDS_MAX):
            obstacle = await find_obstacle(call.services.pool)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError):
        obstacle = "The database does not answer."
    if obstacle:
        raise ApiProblem(503, "not_accepting", obstacle, headers={"Retry-After": "1"})
    return json_answer(Health("accepting"))


async def show_metrics(call: Call) -> Answer:
    """Counters of this process and the backlog, as Prometheus reads them."""
    async with asyncio.timeout(METRICS_SECONDS_MAX):
        overview = await read_overview(call.services.pool, call.services.clock())
        kpis = await read_kpis(call.services.pool, call.services.clock())
    gauges = (*_gauges(overview), *_stock_gauges(kpis))
    return Answer(200, render_metrics(call.services.metrics, gauges), CONTENT_TYPE)


def _gauges(overview: Overview) -> Iterable[Metric]:
    now = overview.at
    yield gauge("orders_in_state", "Orders by state", ["state"], [((row.state,), row.count) for row in overview.orders])
    yield gauge(
        "steps_open", "Open steps", ["connection", "operation", "state"],
        [((row.connection, row.operation, row.state), row.count) for row in overview.steps],
    )  # fmt: skip
    inbox = {
        "waiting": overview.facts_waiting, "early": overview.facts_early, "quarantined": overview.facts_quarantined,
    }  # fmt: skip
    facts = [((state,), count) for state, count in inbox.items()]
    yield gauge("facts_in_state", "Facts in the inbox", ["state"], facts)
    yield gauge("orders_held", "Held orders", ["cause"], [((row.cause,), row.count) for row in overview.holds])
    yield gauge("shipments_unpublished", "Shipments that a channel waits for", [], [((), overview.unpublished_count)])
    oldest = overview.oldest_waiting_step
    age = (now - oldest.since).total_seconds() if oldest is not None else 0
    yield gauge("oldest_waiting_step_seconds", "Age of the oldest waiting step", [], [((), age)])
    since = overview.oldest_waiting_fact_at
    age = (now - since).total_seconds() if since is not None else 0
    yield gauge("oldest_waiting_fact_seconds", "Age of the oldest fact that waits to be decided", [], [((), age)])
    yield gauge(
        "orders_waiting_for_erp", "Accepted orders that the ERP has not taken yet", ["connection"],
        [((row.connection,), row.orders) for row in overview.waiting_for_erp],
    )  # fmt: skip
    yield gauge(
        "shipments_waiting_for_erp", "Shipments that the ERP has not booked and invoiced yet", ["connection"],
        [((row.connection,), row.shipments) for row in overview.waiting_for_erp],
    )  # fmt: skip
    yield gauge(
        "connection_paused", "Whether a connection is paused", ["connection"],
        [((row.connection,), int(row.paused)) for row in overview.connections],
    )  # fmt: skip
    yield gauge(
        "breaker_open", "Whether a breaker is open", ["connection", "operation"],
        [((lane.connection, lane.operation), int(lane.effective == "open"))
         for row in overview.connections for lane in row.lanes],
    )  # fmt: skip
    yield gauge(
        "feed_stale", "Whether a feed is stale", ["connection", "feed"],
        [((feed.connection, feed.feed), int(feed.stale)) for row in overview.connections for feed in row.feeds],
    )  # fmt: skip


def _stock_gauges(kpis: StockKpis) -> Iterable[Metric]:
    yield gauge(
        "stock_sync_milliseconds", "From the owner's commit to the channel's acknowledgment, last hour",
        ["channel", "quantile"],
        [((row.channel, quantile), figure) for row in kpis.latency
         for quantile, figure in (("0.5", row.p50), ("0.95", row.p95), ("0.99", row.p99))],
    )  # fmt: skip
    yield gauge(
        "stock_orders_day", "Orders of the last day of channels that are told stock", ["channel"],
        [((row.channel,), row.orders) for row in kpis.oversell],
    )  # fmt: skip
    yield gauge(
        "stock_orders_short_day", "Those of them for which not enough was there", ["channel"],
        [((row.channel,), row.short) for row in kpis.oversell],
    )  # fmt: skip
    ages = [((source,), seconds) for source, seconds in kpis.staleness_seconds.items()]
    yield gauge("stock_source_age_seconds", "Since a source of balances was heard of", ["source"], ages)
    yield gauge("stock_feeds_stale", "Feeds of balances that are late", [], [((), kpis.stale_feeds)])
    yield gauge("stock_feeds_held", "Feeds of balances on hold", [], [((), kpis.held_feeds)])
    yield gauge("stock_drift_open", "Differences that nothing explains", [], [((), kpis.open_drift)])
    yield gauge(
        "stock_figures_waiting", "Figures that a channel was not told yet", ["channel"],
        [((channel,), count) for channel, count in kpis.waiting.items()],
    )  # fmt: skip
    yield gauge(
        "stock_figures_parked", "Figures that a channel did not take", ["channel"],
        [((channel,), count) for channel, count in kpis.parked.items()],
    )  # fmt: skip
