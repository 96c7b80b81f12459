"""Traces from an order's arrival to every call at a partner, joined by the W3C traceparent kept with facts and orders.

Off unless CROSSDOCK_TRACES says `file:<path>` (OTLP JSON lines) or `otlp:<url>` (an OpenTelemetry collector on HTTP).
While it is off `Tracing.start` returns None and nothing is allocated; a traceparent that a sender gave is passed on.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from crossdock.model.errors import Misconfigured

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
EXPORT_SECONDS_MAX: Final = 5.0


class ActiveSpan:
    """A span that has begun: hand `traceparent` on to what it causes, then `end` it."""

    def __init__(self, span: Span) -> None:
        self._span = span
        found = span.get_span_context()
        self.traceparent = f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"

    def end(self, error_code: str = "") -> None:
        if error_code:
            self._span.set_status(Status(StatusCode.ERROR, error_code))
        self._span.end()


class Tracing:
    """Begins spans; made once in the composition root and handed to whoever has something to trace."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("crossdock") if provider else None

    @property
    def enabled(self) -> bool:
        return self._tracer is not None

    def start(
        self, name: str, parent: str = "", *, attributes: Mapping[str, str | int] | None = None, outgoing: bool = False
    ) -> ActiveSpan | None:
        """Begin a span under the traceparent `parent` (a new trace if it is none); None while tracing is off."""
        if self._tracer is None:
            return None
        kind = SpanKind.CLIENT if outgoing else SpanKind.INTERNAL
        context = _context(parent)
        return ActiveSpan(self._tracer.start_span(name, context=context, kind=kind, attributes=attributes))

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def open_tracing(destination: str, process: str) -> Tracing:
    """Tracing to `file:<path>` or `otlp:<url>`; off for "" and "off". Raises Misconfigured for anything else."""
    kind, _, target = destination.partition(":")
    if destination in ("", "off"):
        return Tracing()
    sink: Sink
    if kind == "file" and target:
        sink = FileSink(Path(target))
    elif kind == "otlp" and target.startswith(("http://", "https://")):
        sink = CollectorSink(f"{target.rstrip('/')}/v1/traces")
    else:
        raise Misconfigured(
            "traces_destination", "CROSSDOCK_TRACES is neither off, file:<path> nor otlp:<http address>.",
            next_action="Set it to off, or for example to file:.crossdock/traces.jsonl.",
        )  # fmt: skip
    resource = Resource.create({"service.name": "crossdock", "service.instance.id": process})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OtlpJsonExporter(sink)))
    return Tracing(provider)


class Sink(Protocol):
    """Where encoded spans go; raises OSError when they cannot."""

    def write(self, document: bytes) -> None: ...


class FileSink:
    """One OTLP JSON document a line, appended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, document: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(document + b"\n")


class CollectorSink:
    """OTLP over HTTP, JSON encoding. Spans that cannot be sent are dropped: watching must never hold up the work."""

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, document: bytes) -> None:
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self._url, data=document, headers=headers)  # noqa: S310 checked by open_tracing
        urllib.request.urlopen(request, timeout=EXPORT_SECONDS_MAX).close()  # noqa: S310


class OtlpJsonExporter(SpanExporter):
    """Encodes spans as an OTLP ExportTraceServiceRequest in JSON; runs in the batch processor's own thread."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            self._sink.write(msgspec.json.encode(otlp_document(spans)))
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def otlp_document(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """Spans of one process as OTLP JSON."""
    resource = spans[0].resource.attributes if spans else {}
    return {
        "resourceSpans": [{
            "resource": {"attributes": _attributes(resource)},
            "scopeSpans": [{"scope": {"name": "crossdock"}, "spans": [_span(span) for span in spans]}],
        }],
    }  # fmt: skip


def _span(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    found: dict[str, Any] = {
        "traceId": f"{context.trace_id:032x}" if context else "",
        "spanId": f"{context.span_id:016x}" if context else "",
        "name": span.name, "kind": span.kind.value + 1,
        "startTimeUnixNano": str(span.start_time or 0), "endTimeUnixNano": str(span.end_time or 0),
        "attributes": _attributes(span.attributes or {}),
        "status": {"code": span.status.status_code.value, "message": span.status.description or ""},
    }  # fmt: skip
    if span.parent is not None:
        found["parentSpanId"] = f"{span.parent.span_id:016x}"
    return found


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}}
        for key, value in values.items()
    ]  # fmt: skip


def _context(parent: str) -> Any:
    found = _TRACEPARENT.match(parent)
    if not found or not int(found[1], 16) or not int(found[2], 16):
        return None
    flags = TraceFlags(int(found[3], 16))
    remote = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(remote))


def is_traceparent(text: str) -> bool:
    """Whether a header value is a W3C traceparent that may be kept and passed on."""
    found = _TRACEPARENT.match(text)
    return bool(found and int(found[1], 16) and int(found[2], 16))
