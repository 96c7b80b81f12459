"""Realistic defects of telling stock, each planted by itself; those that the rig has found are among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from crossdock.engine import comparison, decider, publication_lane, publication_planner
from crossdock.kit.connector import Shown
from crossdock.ledger import drift as ledger_drift
from crossdock.ledger import publications as ledger
from crossdock.model.errors import CrossdockError, Invalid
from crossdock.rules.publish import lane_wait_seconds

Patch = pytest.MonkeyPatch
Lane = publication_lane.PublicationLane


def _sql(patch: Patch, module: Any, name: str, before: str, after: str) -> None:
    text: Mapping[str, str] = module._SQL
    assert before in text[name], name
    patch.setattr(module, "_SQL", {**text, name: text[name].replace(before, after)})


def _forget_whose_lane_it_is(patch: Patch) -> None:
    _sql(patch, ledger, "lease_lane", "l.leased_by = $2 OR", "l.leased_by IS NOT NULL OR")


def _acknowledge_before_the_answer(patch: Patch) -> None:
    real = Lane._tell

    async def hasty(self: Any, lane: Any, figures: Any, claimed_at: Any) -> None:
        told = [ledger.FedFigure(row.sku, row.version, row.wanted, row.attempt, row.owner_at) for row in figures]
        await self._record(told, [Shown(row.sku) for row in figures], claimed_at, None)
        await real(self, lane, figures, claimed_at)

    patch.setattr(Lane, "_tell", hasty)


def _take_an_older_answer_for_the_newest(patch: Patch) -> None:
    shown = "acknowledged_version = "
    _sql(patch, ledger, "acknowledge_figures", f"{shown}d.version", f"{shown}wanted_version")


def _ignore_refused_items(patch: Patch) -> None:
    real = Lane._record

    async def blind(self: Any, told: Any, answer: Sequence[Shown], *rest: Any) -> None:
        await real(self, told, [replace(item, code="") for item in answer], *rest)

    patch.setattr(Lane, "_record", blind)


def _never_read_back(patch: Patch) -> None:
    async def never(*_: Any) -> None:
        return None

    patch.setattr(comparison.ChannelComparison, "look", never)


def _ignore_retry_after(patch: Patch) -> None:
    real = lane_wait_seconds

    def hasty(failures: int, asked: Decimal | None, *, operator_must_act: bool) -> Decimal:
        return real(failures, None, operator_must_act=operator_must_act)

    patch.setattr(publication_lane, "lane_wait_seconds", hasty)


def _read_back_while_the_lane_rests(patch: Patch) -> None:
    patch.setattr(Lane, "_rests", lambda *_: False)


def _drop_the_last_note_of_a_round(patch: Patch) -> None:
    real = publication_planner._owner_times

    def forgetful(changes: Any) -> Any:
        found = real(changes)
        if len(found) > 1:
            found.popitem()
        return found

    patch.setattr(publication_planner, "_owner_times", forgetful)


def _forget_the_pace(patch: Patch) -> None:
    _sql(patch, ledger, "claim_figures", "SET tokens = room.tokens - CASE", "SET tokens = room.tokens - 0 * CASE")


def _take_a_silent_feed_for_lost(patch: Patch) -> None:
    real = Lane._ask

    async def harsh(self: Any, call: Any) -> Any:
        try:
            return await real(self, call)
        except CrossdockError as error:
            if getattr(call, "__name__", "") == "_collect":
                raise Invalid(error.code, error.message) from error
            raise

    patch.setattr(Lane, "_ask", harsh)


def _compare_with_never(patch: Patch) -> None:
    def naive(acknowledged_at: datetime | None, since: datetime) -> bool:
        return (acknowledged_at or datetime.min) < since  # noqa: DTZ901 - as the driver reads -infinity

    patch.setattr(ledger_drift, "_has_rested", naive)


def _leave_what_a_buyer_gave_back(patch: Patch) -> None:
    async def nothing(*_: Any) -> None:
        return None

    patch.setattr(decider, "tell_again", nothing)


def _send_too_much_at_once(patch: Patch) -> None:
    real = publication_lane.lane_pace

    def greedy(*arguments: Any) -> ledger.Pace:
        pace = real(*arguments)
        return replace(pace, batch_max=pace.batch_max + 1)

    patch.setattr(publication_lane, "lane_pace", greedy)


STOCK_MUTATIONS = (
    _forget_whose_lane_it_is, _acknowledge_before_the_answer, _take_an_older_answer_for_the_newest,
    _ignore_refused_items, _never_read_back, _ignore_retry_after, _read_back_while_the_lane_rests,
    _drop_the_last_note_of_a_round, _forget_the_pace, _take_a_silent_feed_for_lost,
    _compare_with_never, _leave_what_a_buyer_gave_back, _send_too_much_at_once,
)  # fmt: skip
