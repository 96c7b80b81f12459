"""`/docs`: the OpenAPI document as one self-contained page: no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import jinja2
import msgspec

from crossdock.api.answers import Answer
from crossdock.api.endpoint import Call, Endpoint, Reply
from crossdock.api.openapi import make_document

_HTML: Final = "text/html; charset=utf-8"
_CSS: Final = "text/css; charset=utf-8"


def documentation_endpoints(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """/docs, its style sheet and /openapi.json, made once; they document themselves too."""
    answers: dict[str, Answer] = {}

    async def show_openapi(call: Call) -> Answer:
        """This document."""
        return answers["openapi"]

    async def show_documentation(call: Call) -> Answer:
        """This document for people."""
        return answers["page"]

    async def show_documentation_style(call: Call) -> Answer:
        """How the page looks."""
        return answers["style"]

    own = (
        Endpoint("GET", "/openapi.json", show_openapi, "The OpenAPI document", "status", (Reply(200, "The document"),)),
        Endpoint(
            "GET", "/docs", show_documentation, "The documentation", "status",
            (Reply(200, "A page", None, "text/html"),),
        ),
        Endpoint(
            "GET", "/docs.css", show_documentation_style, "Its style sheet", "status",
            (Reply(200, "A style sheet", None, "text/css"),),
        ),
    )  # fmt: skip
    document = make_document((*endpoints, *own))
    answers["openapi"] = Answer(200, msgspec.json.encode(document))
    answers["page"] = Answer(200, _page(document).encode(), _HTML)
    answers["style"] = Answer(200, _file("docs.css").encode(), _CSS)
    return own


def _file(name: str) -> str:
    return resources.files("crossdock.api").joinpath("pages", name).read_text(encoding="utf-8")


def _page(document: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["schema"] = _shown
    return environment.from_string(_file("docs.html")).render(document=document)


def _shown(schema: dict[str, Any]) -> str:
    """A schema in a line: a reference by its name, a simple type by its word."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " or ".join(_shown(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_shown(schema.get('items') or {})}"
    if schema.get("type") == "object" and "additionalProperties" in schema:
        inner = schema["additionalProperties"]
        return f"map of {_shown(inner)}" if isinstance(inner, dict) else "object"
    return str(schema.get("format") or schema.get("type") or "anything")
