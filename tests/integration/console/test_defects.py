"""What goes wrong on our side is a page that says so, and stands in the log."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from crossdock.console import pages
from tests.integration.console.conftest import Visitor


def failing(error: Exception) -> Any:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


async def test_a_page_that_failed_was_json_and_nothing_in_the_log(
    operator: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "read_order", failing(RuntimeError("Musterfrau")))
    with capture_logs() as logs:
        answer = await operator.get("/console/orders/CD00000003")
    assert answer.status_code == 500
    assert "Something went wrong on our side." in answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert "Content-Security-Policy" in answer.headers
    assert "Musterfrau" not in answer.text
    (logged,) = [entry for entry in logs if entry["event"] == "console_defect"]
    assert (logged["error"], logged["log_level"]) == ("RuntimeError", "error")
    assert "order_page" in logged["route"]
    assert logged["exc_info"]


async def test_a_database_that_is_away_was_said_to_be_our_mistake(
    operator: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "read_order", failing(asyncpg.CannotConnectNowError("starting up")))
    with capture_logs() as logs:
        answer = await operator.get("/console/orders/CD00000003")
    assert answer.status_code == 503
    assert "The database does not answer." in answer.text
    assert [entry["log_level"] for entry in logs if entry["event"] == "console_database_unavailable"] == ["warning"]
