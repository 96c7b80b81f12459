"""What is watched: logs without secrets, counters, traces that hang together."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from crossdock.insight.telemetry.logs import mask_event
from crossdock.insight.telemetry.metrics import Metrics, gauge, render_metrics
from crossdock.insight.telemetry.observed import traced
from crossdock.insight.telemetry.traces import Tracing, is_traceparent, open_tracing
from crossdock.kit.connector import Call, Connector, Done, Exchange, Feed, Operation, Page
from crossdock.model.errors import Misconfigured, Unavailable
from crossdock.model.facts import Fact

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_logs_mask_and_stay_on_one_line() -> None:
    event = mask_event(None, "info", {
        "event": "a\u202eb", "client_secret": "s3cret", "email": "ada@example.org", "detail": "Bearer abcdef",
        "count": 3, "error": ValueError("token=abcdef"),
    })  # fmt: skip
    shown = msgspec.json.encode(event).decode()
    for secret in ("s3cret", "ada@", "abcdef", "\u202e"):
        assert secret not in shown
    assert event["count"] == 3


def test_every_event_is_one_json_line() -> None:
    program = (
        "import logging, structlog; from crossdock.insight.telemetry.logs import set_up_logs; set_up_logs('worker-1')\n"
        "structlog.get_logger().info('step done', step='tax.quote', password='hunter2')\n"
        "try: 1/0\n"
        "except ZeroDivisionError: logging.getLogger('x').exception('it\\nbroke')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    first, second = (msgspec.json.decode(line) for line in ran.stderr.splitlines())
    assert first["process"] == "worker-1"
    assert first["level"] == "info"
    assert "hunter2" not in ran.stderr
    assert "ZeroDivisionError" in second["exception"]
    assert logging.getLogger().handlers is not None


def test_counters_and_readings_are_rendered() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.count_order("shop", "accepted")
    metrics.count_attempt("erp", "erp.place_order", "done", 0.02)
    metrics.count_attempt("erp", "erp.place_order", "done", 0.02)
    metrics.count_facts("wms", 7)
    text = render_metrics(metrics, [gauge("steps", "Steps by state", ("state",), [(("ready",), 5)])]).decode()
    assert 'crossdock_orders_total{answer="accepted",channel="shop"} 1.0' in text
    assert 'crossdock_step_attempts_total{connection="erp",operation="erp.place_order",outcome="done"} 2.0' in text
    assert 'crossdock_facts_total{connection="wms"} 7.0' in text
    assert 'crossdock_steps{state="ready"} 5.0' in text


def test_a_trace_goes_from_arrival_to_the_partner(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    tracing = open_tracing(f"file:{file}", "worker-1")
    arrival = tracing.start("arrival", PARENT)
    assert arrival is not None
    step = tracing.start("tax.quote", arrival.traceparent, attributes={"connection": "tax"}, outgoing=True)
    assert step is not None
    step.end("partner_timeout")
    arrival.end()
    tracing.close()
    document = msgspec.json.decode(file.read_bytes())
    spans = {span["name"]: span for span in document["resourceSpans"][0]["scopeSpans"][0]["spans"]}
    assert spans["arrival"]["parentSpanId"] == "b7ad6b7169203331"
    assert spans["tax.quote"]["parentSpanId"] == spans["arrival"]["spanId"]
    assert {span["traceId"] for span in spans.values()} == {"0af7651916cd43dd8448eb211c80319c"}
    assert spans["tax.quote"]["status"] == {"code": 2, "message": "partner_timeout"}
    assert step.traceparent.split("-")[2] == spans["tax.quote"]["spanId"]


def test_off_means_nothing_is_made() -> None:
    assert Tracing().start("arrival", PARENT) is None
    assert open_tracing("off", "api").enabled is False
    with pytest.raises(Misconfigured):
        open_tracing("carrier pigeon", "api")


NO_TRACE = f"00-{'0' * 32}-b7ad6b7169203331-01"


@pytest.mark.parametrize("text", ["", "00-0-0-01", PARENT.upper(), PARENT + "-x", NO_TRACE])
def test_what_is_no_traceparent_is_not_kept(text: str) -> None:
    assert not is_traceparent(text)
    assert is_traceparent(PARENT)


async def test_a_call_is_traced_and_carries_its_own_span(tmp_path: Path) -> None:
    seen: list[Call] = []

    async def perform(client: Any, call: Call) -> Done:
        seen.append(call)
        call.exchanges.append(Exchange("GET", "http://partner.example"))
        if call.attempt > 1:
            raise Unavailable("partner_unreachable", "Not now.")
        return Done()

    operation = Operation("tax.quote", perform=perform)
    connector = Connector(system="tax", title="Tax", settings=dict, open=None, operations=(operation,))  # type: ignore[arg-type]
    assert traced(connector, "tax", Tracing()) is connector
    tracing = open_tracing(f"file:{tmp_path / 't.jsonl'}", "worker-1")
    watched = traced(connector, "tax", tracing).operation("tax.quote").perform
    assert watched is not None
    first = Call("k", "CD00000001", "tax.quote", "tax.quote", None, b"{}", {}, traceparent=PARENT)  # type: ignore[arg-type]
    await watched(None, first)
    assert len(first.exchanges) == 1
    with pytest.raises(Unavailable):
        await watched(None, msgspec.structs.replace(first, attempt=2))
    tracing.close()
    spans = msgspec.json.decode((tmp_path / "t.jsonl").read_bytes())["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [span["parentSpanId"] for span in spans] == ["b7ad6b7169203331"] * 2
    assert [span["spanId"] for span in spans] == [call.traceparent.split("-")[2] for call in seen]
    assert spans[1]["status"]["message"] == "partner_unreachable"


async def test_a_probe_has_a_span_of_its_own(tmp_path: Path) -> None:
    async def probe(client: Any, call: Call) -> Done | None:
        return None

    operation = Operation("tax.commit", probe=probe)
    connector = Connector(system="tax", title="Tax", settings=dict, open=None, operations=(operation,))  # type: ignore[arg-type]
    tracing = open_tracing(f"file:{tmp_path / 't.jsonl'}", "worker-1")
    watched = traced(connector, "tax", tracing).operation("tax.commit").probe
    assert watched is not None
    call = Call("k", "CD1", "tax.commit:SH-1", "tax.commit", None, b"{}", {}, traceparent=PARENT)  # type: ignore[arg-type]
    assert await watched(None, call) is None
    tracing.close()
    (span,) = msgspec.json.decode((tmp_path / "t.jsonl").read_bytes())["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert span["name"] == "tax.commit:SH-1 probe"
    assert span["parentSpanId"] == "b7ad6b7169203331"


async def test_an_order_that_is_fetched_begins_its_own_trace(tmp_path: Path) -> None:
    async def read(client: Any, connection: str, cursor: str) -> Page:
        orders = [Fact(connection, "order.placed", number, b"{}", b"{}", subject=number) for number in ("1", "2")]
        return Page([*orders, Fact(connection, "order.paid", "1", b"{}", b"{}", subject="1")], "3")

    connector = Connector(system="shop", title="Shop", settings=dict, open=None, feeds=(Feed("orders", read=read),))  # type: ignore[arg-type]
    tracing = open_tracing(f"file:{tmp_path / 't.jsonl'}", "worker-1")
    page = await traced(connector, "shop", tracing).feed("orders").read(None, "shop", "")
    tracing.close()
    spans = msgspec.json.decode((tmp_path / "t.jsonl").read_bytes())["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [fact.traceparent.split("-")[1] for fact in page.facts[:2]] == [span["traceId"] for span in spans]
    assert len({span["traceId"] for span in spans}) == 2
    assert page.facts[2].traceparent == ""
    assert page.cursor == "3"
