"""An order's steps are shown as they happen: what is needed stands before what needs it, whatever its name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from crossdock.insight.timeline import in_order_of_plan

LAID = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)


def step(name: str, *needs: str, done: int | None = None, laid: int = 0) -> dict[str, Any]:
    return {
        "name": name, "needs": list(needs), "created_at": LAID + timedelta(seconds=laid),
        "done_at": None if done is None else LAID + timedelta(seconds=done),
    }  # fmt: skip


def names(*steps: dict[str, Any]) -> list[str]:
    return [row["name"] for row in in_order_of_plan(steps)]


def test_what_is_needed_comes_first() -> None:
    assert names(
        step("channel.acknowledge", "erp.place_order"), step("erp.place_order", "tax.quote"), step("tax.quote"),
        step("wms.release:HAM", "erp.place_order"),
    ) == ["tax.quote", "erp.place_order", "channel.acknowledge", "wms.release:HAM"]  # fmt: skip


def test_what_is_done_stays_as_it_was_done() -> None:
    assert names(
        step("tax.quote", done=1), step("erp.place_order", "tax.quote", done=3), step("b", "erp.place_order"),
        step("a", "b"), step("later", laid=60),
    ) == ["tax.quote", "erp.place_order", "b", "a", "later"]  # fmt: skip


def test_needs_that_are_gone_or_go_in_a_circle_stop_nothing() -> None:
    assert set(names(step("a", "b"), step("b", "a"), step("c", "gone"))) == {"a", "b", "c"}
