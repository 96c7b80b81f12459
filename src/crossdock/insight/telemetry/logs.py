"""Structured logs: one JSON line an event on standard error, without secrets, personal data or forged lines."""

from __future__ import annotations

import logging
import logging.config
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec
import structlog

from crossdock.kit.masking import MASK, is_masked_key, masked_text, printable

Event = MutableMapping[str, Any]

# Set by ourselves, so they name no person and hold no secret.
_OWN_KEYS: Final = frozenset({"event", "level", "at", "logger", "process", "step", "connection", "operation", "code"})
_QUIET: Final = ("asyncio", "aiohttp.access", "granian.access", "litestar")


def set_up_logs(process: str, level: str = "INFO") -> None:
    """Send structlog and the standard library's logging to one form; `process` names the sender in every line."""

    def name_process(_logger: Any, _method: str, event: Event) -> Event:
        # Not by a context variable: other threads write lines too.
        event.setdefault("process", process)
        return event

    before: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        name_process,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        mask_event,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level, *before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )  # fmt: skip
    rendering: list[structlog.types.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(_json),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=rendering)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def mask_event(_logger: Any, _method: str, event: Event) -> Event:
    """Values under telling keys are masked, everything else is made printable and shortened."""
    for key, value in event.items():
        if key not in _OWN_KEYS and value and is_masked_key(key):
            event[key] = MASK
        elif isinstance(value, str):
            event[key] = printable(value) if key in _OWN_KEYS else masked_text(value)
        elif not isinstance(value, int | float | bool | None) and not key.startswith("_"):
            event[key] = masked_text(str(value))
    return event


def _json(event: Event, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
