"""Generated calls (schemathesis) of every address: no 5xx, and every answer is what the document says it is."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.api.api_world import Api

# They go on for minutes by intention; they have tests of their own.
STREAMS = ("/v1/availability/changes",)
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip


def _call_all(schema: Any, url: str, token: str) -> list[str]:
    called = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in STREAMS:
            continue

        @settings(
            max_examples=12, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            headers = {"Authorization": f"Bearer {token}", "Crossdock-Channel": "shop"}
            case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=60)

        call()
        called.append(operation.label)
    return called


@pytest.mark.slow
async def test_every_answer_is_what_the_document_says(api: Api) -> None:
    await api.place("S-1")
    document = (await api.http.get("/openapi.json")).json()
    token = await api.token("operator-1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schema = schemathesis.openapi.from_dict(document)
        called = await asyncio.to_thread(_call_all, schema, api.url, token)
    assert len(called) == 37
