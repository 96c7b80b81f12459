"""Templates to HTML: one environment, everything escaped, assets named with a hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any, Final

import asyncpg
import jinja2

from crossdock.console import words
from crossdock.console.live import Live
from crossdock.console.session import Session
from crossdock.engine.control import Control
from crossdock.policy.policy import Policy

ASSETS: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "mark.svg": "image/svg+xml",
    "vendor/htmx.min.js": "text/javascript; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    media_type: str
    version: str


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """What the console is given by the composition root. `secure` is true when people reach us over TLS."""

    pool: asyncpg.Pool[Any]
    clock: Callable[[], datetime]
    control: Control
    live: Live
    templates: jinja2.Environment
    assets: Mapping[str, Asset]
    secure: bool = False
    policy: Policy | None = None


def open_console(
    pool: asyncpg.Pool[Any], clock: Callable[[], datetime], control: Control, *, secure: bool = False,
    policy: Policy | None = None,
) -> ConsoleServices:  # fmt: skip
    """Read templates and assets once. Without a policy no promise is explained."""
    assets = {name: _read_asset(name, media_type) for name, media_type in ASSETS.items()}
    return ConsoleServices(pool, clock, control, Live(pool, clock), _environment(assets), assets, secure, policy)


def render(services: ConsoleServices, template: str, session: Session | None, **values: Any) -> str:
    return services.templates.get_template(template).render(session=session, now=services.clock(), **values)


def _read_asset(name: str, media_type: str) -> Asset:
    content = resources.files("crossdock.console").joinpath("static", *name.split("/")).read_bytes()
    return Asset(content, media_type, hashlib.sha256(content).hexdigest()[:12])


def _environment(assets: Mapping[str, Asset]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("crossdock.console", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "state_label": words.state_label,
            "state_tone": words.state_tone,
            "step_title": words.step_title,
            "sentence_case": words.sentence_case,
            "hold_title": words.hold_title,
            "counted": words.counted,
            "lower_first": words.lower_first,
            "unit": words.unit,
            "number": words.number,
            "quantity": words.quantity,
            "money": words.money,
            "moment": words.moment,
            "clock_time": words.clock_time,
            "day": words.day,
            "machine_time": words.machine_time,
            "milliseconds": words.milliseconds,
        }
    )
    environment.globals.update(
        {
            "age": words.age,
            "since_words": words.since,
            "amount": words.amount,
            "entry_title": words.entry_title,
            "asset": lambda name: f"/console/static/{name}?v={assets[name].version}",
            "order_states": words.ORDER_STATES,
        }
    )
    return environment
