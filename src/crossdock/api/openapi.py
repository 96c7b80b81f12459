"""The OpenAPI 3.1 document, made from the table of endpoints: what is served is what is documented."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Final

import msgspec

from crossdock.api.answers import TITLES, Problem
from crossdock.api.endpoint import SCOPES, Endpoint

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_REFERENCE: Final = "#/components/schemas/{name}"
_PROBLEM_TYPE: Final = "application/problem+json"
_PATH_TEXTS: Final = {
    "number": "Our order number, such as CD00000012", "code": "The account's code", "name": "The connection's name",
    "connection": "The connection's name", "reservation": "The reservation's number, such as RS00000012",
    "fact": "The message's number, as the quarantine lists it",
}  # fmt: skip


def make_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document as plain data."""
    types = [reply.type for endpoint in endpoints for reply in endpoint.replies if reply.type is not None]
    types += [endpoint.body for endpoint in endpoints if endpoint.body is not None]
    types += [endpoint.query for endpoint in endpoints if endpoint.query is not None]
    unique = list({str(kind): kind for kind in [Problem, *types]}.values())
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REFERENCE)
    by_type = {str(kind): schema for kind, schema in zip(unique, schemas, strict=True)}
    queries = {by_type[str(endpoint.query)]["$ref"].rsplit("/", 1)[1] for endpoint in endpoints if endpoint.query}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, by_type, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Crossdock", "version": metadata.version("crossdock"),
            "summary": "Orders, stock, shipments and money between every system, exactly once.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in sorted(components.items()) if name not in queries},
            "securitySchemes": {
                "client": {
                    "type": "oauth2",
                    "flows": {"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": dict(SCOPES)}},
                },
            },
        },
    }  # fmt: skip


def _operation(endpoint: Endpoint, by_type: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.perform.__name__, "summary": endpoint.summary, "tags": [endpoint.tag],
        "description": " ".join(filter(None, [(endpoint.perform.__doc__ or "").strip(), endpoint.description])),
        "security": [{"client": [endpoint.scope]}] if endpoint.scope else [],
        "parameters": _parameters(endpoint, by_type, components),
        "responses": _responses(endpoint, by_type),
    }  # fmt: skip
    if endpoint.body is not None:
        content = {endpoint.body_media_type: {"schema": by_type[str(endpoint.body)]}}
        operation["requestBody"] = {"required": not endpoint.body_optional, "content": content}
    elif endpoint.body_media_type:
        operation["requestBody"] = {"required": True, "content": {endpoint.body_media_type: {"schema": _TOKEN_FORM}}}
    elif endpoint.tag == "webhooks":
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return operation


_TOKEN_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "grant_type": {"const": "client_credentials"}, "scope": {"type": "string"}, "client_id": {"type": "string"},
        "client_secret": {"type": "string"},
    },
    "required": ["grant_type"],
}  # fmt: skip


def _parameters(endpoint: Endpoint, by_type: Mapping[str, Any], components: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "description": _PATH_TEXTS[name],
         "schema": {"type": "string", "minLength": 1, "maxLength": 400}}
        for name in _PARAMETER.findall(endpoint.path)
    ]  # fmt: skip
    if endpoint.query is not None:
        schema = components[by_type[str(endpoint.query)]["$ref"].rsplit("/", 1)[1]]
        required = set(schema.get("required", ()))
        found += [
            {"name": name, "in": "query", "required": name in required, "schema": _without_null(part)}
            for name, part in schema["properties"].items()
        ]
    found += [
        {"name": name, "in": "header", "required": needed, "description": text, "schema": {"type": "string"}}
        for name, (needed, text) in endpoint.headers.items()
    ]
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is left out, never null."""
    if schema.get("default", "") is None:
        schema = {key: value for key, value in schema.items() if key != "default"}
    if "enum" in schema:
        return {**schema, "enum": [value for value in schema["enum"] if value is not None]}
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    return options[0] if len(options) == 1 else schema


def _responses(endpoint: Endpoint, by_type: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for reply in endpoint.replies:
        content: dict[str, Any] = {"schema": by_type[str(reply.type)]} if reply.type is not None else {}
        found[str(reply.status)] = {"description": reply.description, "content": {reply.media_type: content}}
    for status in problem_statuses(endpoint):
        text = {"description": TITLES[status], "content": {_PROBLEM_TYPE: {"schema": by_type[str(Problem)]}}}
        if str(status) in found:
            found[str(status)]["content"].update(text["content"])
        else:
            found[str(status)] = text
    return dict(sorted(found.items()))


def problem_statuses(endpoint: Endpoint) -> list[int]:
    """The problems that an endpoint may answer with, besides 500."""
    statuses = {400, 404, 503, *endpoint.problems}
    if endpoint.scope:
        statuses |= {401, 403, 422, 429}
    if endpoint.method == "POST":
        statuses |= {413, 415}
    return sorted(statuses)


def permission_matrix(endpoints: Sequence[Endpoint]) -> str:
    """Which scope opens which address, one line each; kept in the repository, so that a change is seen."""
    rows = [f"{endpoint.method:<5} {endpoint.path:<34} {endpoint.scope or '-'}" for endpoint in endpoints]
    return "\n".join(rows) + "\n"
