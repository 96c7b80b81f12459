"""Prometheus metrics: counters kept by each process, backlog read from the ledger when somebody asks.

Where several processes share one `/metrics` (PROMETHEUS_MULTIPROC_DIR names their common directory) their counters are
added up. Labels are names from the configuration and closed lists, never anything that a sender chose.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

Sample = tuple[Sequence[str], int | float]


class Metrics:
    """The counters of one process. Label children are looked up once and kept, so that counting allocates nothing."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._orders = Counter(
            "crossdock_orders", "Orders answered, by channel and answer", ("channel", "answer"), registry=self.registry,
        )  # fmt: skip
        self._facts = Counter(
            "crossdock_facts", "Facts committed to the inbox, by connection", ("connection",), registry=self.registry,
        )  # fmt: skip
        self._steps = Counter(
            "crossdock_step_attempts", "Attempts of steps, by outcome", ("connection", "operation", "outcome"),
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "crossdock_step_attempt_seconds", "How long an attempt took", ("connection", "operation"),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._answer_seconds = Histogram(
            "crossdock_order_answer_seconds", "How long an order by API waited for its answer", ("channel",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._children: dict[tuple[str, ...], Any] = {}

    def count_order(self, channel: str, answer: str) -> None:
        """An order was answered: accepted, held, refused, repeated …"""
        self._child("orders", self._orders, channel, answer).inc()

    def observe_answer(self, channel: str, seconds: float) -> None:
        """An order that came by API was answered after `seconds`."""
        self._child("answers", self._answer_seconds, channel).observe(seconds)

    def count_facts(self, connection: str, count: int) -> None:
        """`count` new facts of a connection were committed."""
        self._child("facts", self._facts, connection).inc(count)

    def count_attempt(self, connection: str, operation: str, outcome: str, seconds: float) -> None:
        """An attempt ended: done, or the kind of its error."""
        self._child("steps", self._steps, connection, operation, outcome).inc()
        self._child("seconds", self._seconds, connection, operation).observe(seconds)

    def _child(self, family: str, metric: Counter | Histogram, *labels: str) -> Any:
        key = (family, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


class _Gauges:
    """Readings of this moment, as a collector."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def render_metrics(metrics: Metrics, gauges: Iterable[Metric] = ()) -> bytes:
    """The text that Prometheus reads: this process's counters (or all processes' together) and the given readings."""
    shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    registry = CollectorRegistry()
    registry.register(_Gauges(gauges))
    if shared:
        MultiProcessCollector(registry, path=shared)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return generate_latest(metrics.registry) + generate_latest(registry)


@contextmanager
def served_metrics(metrics: Metrics, host: str, port: int) -> Iterator[None]:
    """This process's counters at http://host:port/metrics, for a process that has no other door. Port 0: none."""
    if not port:
        yield
        return
    server, thread = start_http_server(port, host, metrics.registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def gauge(name: str, text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    """One reading with its labels; `name` goes without the `crossdock_` prefix."""
    family = GaugeMetricFamily(f"crossdock_{name}", text, labels=list(labels))
    for values, reading in samples:
        family.add_metric(list(values), float(reading))
    return family
