"""Realistic defects, each planted by itself while the rig plays: what a tired programmer might write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from crossdock.engine import decider, intake, poller, recorder, runner
from crossdock.engine.clock import Readings, SharedClock
from crossdock.kit.connector import Done
from crossdock.ledger import acceptance as ledger_acceptance
from crossdock.ledger import decisions as ledger_decisions
from crossdock.ledger import facts as inbox
from crossdock.ledger import master_data
from crossdock.ledger import steps as ledger_steps
from crossdock.ledger import stock as ledger_stock
from crossdock.model.errors import InDoubt, Unavailable
from crossdock.model.values import part_amount, rounded
from crossdock.prove import run as proof_run
from crossdock.prove.scenarios import BUSINESS_DAY, ORDER_PATH, RUSH, STOCK_TOLD
from crossdock.rules import accept, fulfil, outcome, plan, price
from crossdock.rules.book import Book
from crossdock.rules.kits import spread
from crossdock.rules.retry import Move, next_move
from tests.integration.prove.stock_mutations import STOCK_MUTATIONS

Patch = pytest.MonkeyPatch
SEED_ORDERS = 40
DAY_ORDERS = 40
"""A day with few orders shows the same in a part of the time."""


@dataclass(frozen=True)
class Mutation:
    name: str
    plant: Callable[[Patch], None]
    scenario: str = ORDER_PATH
    size: int | None = None


def _sql(patch: Patch, module: Any, name: str, before: str, after: str) -> None:
    text: Mapping[str, str] = module._SQL
    assert before in text[name], name
    patch.setattr(module, "_SQL", {**text, name: text[name].replace(before, after)})


def _write(patch: Patch, name: str, before: str, after: str) -> None:
    text = ledger_decisions._WRITE
    assert before in f"{text[name]};", name
    patch.setattr(ledger_decisions, "_WRITE", {**text, name: f"{text[name].rstrip(';')};".replace(before, after)})


async def _nothing_found(*_: Any) -> None:
    return None


async def _all_found(*_: Any) -> Done:
    return Done(b"{}", "believed")


def _skip_the_probe(patch: Patch) -> None:
    patch.setattr(runner, "_probe", _nothing_found)


def _believe_that_it_is_there(patch: Patch) -> None:
    patch.setattr(runner, "_probe", _all_found)


def _take_doubt_for_a_no(patch: Patch) -> None:
    one = runner._one

    async def sure(*arguments: Any) -> Any:
        answer = await one(*arguments)
        return Unavailable(answer.code, answer.message) if isinstance(answer, InDoubt) else answer

    patch.setattr(runner, "_one", sure)


def _take_doubt_for_done(patch: Patch) -> None:
    one = runner._one

    async def sure(*arguments: Any) -> Any:
        answer = await one(*arguments)
        return Done(b"{}", "surely") if isinstance(answer, InDoubt) else answer

    patch.setattr(runner, "_one", sure)


def _do_not_let_the_partner_settle(patch: Patch) -> None:
    real = next_move

    def hasty(*arguments: Any) -> Move:
        move = real(*arguments)
        return Move(move.action, 0.0) if move.action == "probe" else move

    patch.setattr(recorder, "next_move", hasty)


class _RollBackError(Exception):
    pass


def _acknowledge_before_the_commit(patch: Patch) -> None:
    async def decide(self: Any, arrivals: Any) -> Any:
        answers: Any = []
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                answers = await self._decide_locked(connection, arrivals)
                raise _RollBackError
        except _RollBackError:
            return answers

    patch.setattr(intake.Intake, "_decide", decide)


def _forget_earlier_answers(patch: Patch) -> None:
    patch.setattr(intake, "_earlier_answer", lambda *_: None)


def _drop_the_fence(patch: Patch) -> None:
    fence = "AND CASE WHEN s.leased_by = $1 AND s.state = 'sending' THEN s.attempt END = e.attempt"
    _sql(patch, ledger_steps, "record_outcomes", fence, "AND $1::text IS NOT NULL")


def _lost_calls_are_not_in_doubt(patch: Patch) -> None:
    _sql(patch, ledger_steps, "expire_leases", "state = 'in_doubt', doubt = true", "state = 'ready', doubt = false")


def _leases_never_end(patch: Patch) -> None:
    async def none(*_: Any) -> int:
        return 0

    patch.setattr(ledger_steps, "expire_leases", none)


def _leave_the_rest_with_partners(patch: Patch) -> None:
    patch.setattr(recorder, "has_rest", lambda _: False)
    patch.setattr(outcome, "has_rest", lambda _: False)


def _forget_to_release(patch: Patch) -> None:
    real = spread
    patch.setattr(fulfil, "spread", lambda kind, *rest: [] if kind == "release" else real(kind, *rest))
    patch.setattr(outcome, "spread", lambda kind, *rest: [] if kind == "release" else real(kind, *rest))


def _forget_that_goods_left(patch: Patch) -> None:
    real = spread
    patch.setattr(fulfil, "spread", lambda kind, *rest: [] if kind == "ship" else real(kind, *rest))


def _lose_a_cent_in_the_last_part(patch: Patch) -> None:
    real = part_amount

    def short(whole: Decimal, of: Decimal, before: Decimal, part: Decimal, currency: str) -> Decimal:
        return real(whole, of, before, part, currency) - (Decimal("0.01") if before else Decimal(0))

    patch.setattr(fulfil, "part_amount", short)


def _round_each_part_by_itself(patch: Patch) -> None:
    def alone(whole: Decimal, of: Decimal, before: Decimal, part: Decimal, currency: str) -> Decimal:
        return rounded(whole * part / of, currency)

    patch.setattr(fulfil, "part_amount", alone)


def _swap_two_facts(patch: Patch) -> None:
    real = decider.order_id_of

    def neighbour(number: str) -> int | None:
        found = real(number)
        return found and (found ^ 1 or found)

    patch.setattr(decider, "order_id_of", neighbour)


def _ignore_a_429(patch: Patch) -> None:
    real = next_move
    patch.setattr(recorder, "_asked_to_wait", lambda _: None)

    def hasty(error: Any, *rest: Any) -> Move:
        return Move("retry", 0.01) if isinstance(error, Unavailable) else real(error, *rest)

    patch.setattr(recorder, "next_move", hasty)


def _give_up_at_the_first_doubt(patch: Patch) -> None:
    real = next_move

    def tired(error: Any, *rest: Any) -> Move:
        return Move("park") if isinstance(error, InDoubt) else real(error, *rest)

    patch.setattr(recorder, "next_move", tired)


def _lose_the_last_fact_of_a_page(patch: Patch) -> None:
    real = inbox.insert_facts

    async def all_but_one(connection: Any, facts: Sequence[Any], now: Any) -> int:
        return await real(connection, facts[:-1], now)

    patch.setattr(poller, "insert_facts", all_but_one)


def _check_no_credit(patch: Patch) -> None:
    patch.setattr(accept, "find_excess", lambda *_: Decimal(0))


def _give_credit_back_twice(patch: Patch) -> None:
    real = outcome._invoiced

    def generous(*arguments: Any) -> Any:
        decision = real(*arguments)
        return msgspec.structs.replace(decision, credit_released=decision.credit_released * 2)

    patch.setattr(outcome, "_invoiced", generous)


def _keep_the_credit(patch: Patch) -> None:
    real = outcome._invoiced

    def mean(*arguments: Any) -> Any:
        return msgspec.structs.replace(real(*arguments), credit_released=Decimal(0))

    patch.setattr(outcome, "_invoiced", mean)


def _promise_what_is_promised(patch: Patch) -> None:
    patch.setattr(Book, "take", lambda *_: None)
    looked_at = "AND ($11::boolean OR s.on_hand - s.quality_hold - s.damaged - s.reserved >= t.quantity)"
    _sql(patch, ledger_acceptance, "write_orders", looked_at, "")


def _undo_nothing(patch: Patch) -> None:
    for module in (fulfil, outcome):
        patch.setattr(module, "plan_compensation", lambda *_: ())


def _never_complete(patch: Patch) -> None:
    patch.setattr(outcome, "is_completed", lambda *_: False)


def _begin_before_what_is_needed(patch: Patch) -> None:
    patch.setattr(plan, "_needs", lambda *_: ())


def _park_nothing(patch: Patch) -> None:
    async def nothing(connection: Any, fact_id: int, error: Any) -> None:
        await inbox.mark_applied(connection, [(fact_id, None, "ignored")])

    patch.setattr(inbox, "quarantine_fact", nothing)
    patch.setattr(decider.Decider, "_decide", _refuse_every_second)


def _refuse_every_second(self: Any, order: Any, locked: Any, steps: Any, fact: Any, body: Any) -> Any:
    raise Unavailable("not_now", "Not now.")


def _drop_what_came_early(patch: Patch) -> None:
    async def drop(connection: Any, fact_ids: Sequence[int], until: Any) -> None:
        await inbox.mark_applied(connection, [(fact_id, None, "ignored") for fact_id in fact_ids])

    patch.setattr(inbox, "mark_early", drop)


def _let_a_stale_balance_overwrite(patch: Patch) -> None:
    _sql(patch, ledger_stock, "place_balances", "AND s.as_of <= g.as_of", "")


def _count_what_left_twice(patch: Patch) -> None:
    before = "AND is_missing(m.kind, m.quantity, m.at, m.happened_at, g.as_of, g.told, g.skew)"
    old = "AND greatest(m.at, m.happened_at) > g.as_of - g.skew"
    text = dict(ledger_stock._SQL)
    assert before in text["place_balances"]
    assert old in text["place_balances"]
    text["place_balances"] = text["place_balances"].replace(before, "").replace(old, "")
    patch.setattr(ledger_stock, "_SQL", text)


def _log_the_order(patch: Patch) -> None:
    real = runner._call

    def told(step: Any, results: Any) -> Any:
        runner._log.info("call", order=str(step.order))
        return real(step, results)

    patch.setattr(runner, "_call", told)


class _HostClock(SharedClock):
    def __init__(self, read: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        super().__init__(read(), Readings(monotonic=monotonic))
        self._read = read

    def __call__(self) -> datetime:
        return self._read()


def _go_by_the_hosts_clock(patch: Patch) -> None:
    real = proof_run.start_clock

    async def trusting(run: Any, process: Any, pool: Any) -> Any:
        await real(run, process, pool)
        return _HostClock(lambda: run.host_time(process.slot.name), run.loop.time)

    patch.setattr(proof_run, "start_clock", trusting)


def _go_on_after_silence(patch: Patch) -> None:
    async def at_once(_clock: Any, _source: Any) -> None:
        return

    patch.setattr(SharedClock, "join_after_silence", at_once)


def _count_a_short_as_often_as_it_is_told(patch: Patch) -> None:
    real = fulfil.decide_short

    def forgetful(order: Any, progress: Any, short: Any) -> Any:
        return real(order, msgspec.structs.replace(progress, shorts=()), short)

    patch.setattr(decider, "decide_short", forgetful)


def _give_what_is_not_free(patch: Patch) -> None:
    real = fulfil.decide_supply

    def generous(order: Any, progress: Any, available: Any, *rest: Any) -> Any:
        return real(order, progress, {place: max(free, Decimal(1)) for place, free in available.items()}, *rest)

    patch.setattr(decider, "decide_supply", generous)


def _miss_new_prices(patch: Patch) -> None:
    real = master_data.place_agreements

    async def none_but_the_first(connection: Any, rows: Any, now: Any) -> None:
        if len(rows) > 10:
            await real(connection, rows, now)

    patch.setattr(master_data, "place_agreements", none_but_the_first)


def _begin_prices_too_early(patch: Patch) -> None:
    real = price.find_agreement

    def hasty(offers: Any, customer: Any, currency: Any, quantity: Any, on: Any) -> Any:
        return real(offers, customer, currency, quantity, on + timedelta(days=3))

    patch.setattr(price, "find_agreement", hasty)


def _write_the_log_backwards(patch: Patch) -> None:
    _write(patch, "insert_events", "ORDER BY e.order_id, e.version;", "ORDER BY e.order_id, e.version DESC;")


def _tell_what_followed_first(patch: Patch) -> None:
    real = ledger_decisions.event_rows

    def backwards(drafts: Any) -> Any:
        return real([(order_id, count, events[::-1]) for order_id, count, events in drafts])

    patch.setattr(ledger_decisions, "event_rows", backwards)


def _tell_the_warehouse_what_was_ordered_first(patch: Patch) -> None:
    patch.setattr(ledger_decisions, "_revise_steps", _nothing_found)


def _sell_beyond_the_limit(patch: Patch) -> None:
    patch.setattr(accept, "find_excess", lambda *_: Decimal(0))


MUTATIONS = [
    Mutation(plant.__name__.strip("_"), plant)
    for plant in (
        _skip_the_probe, _believe_that_it_is_there, _take_doubt_for_a_no, _take_doubt_for_done,
        _do_not_let_the_partner_settle, _acknowledge_before_the_commit, _forget_earlier_answers,
        _lost_calls_are_not_in_doubt, _leases_never_end, _forget_to_release, _forget_that_goods_left,
        _lose_a_cent_in_the_last_part, _round_each_part_by_itself, _swap_two_facts, _ignore_a_429,
        _give_up_at_the_first_doubt, _lose_the_last_fact_of_a_page, _check_no_credit, _give_credit_back_twice,
        _keep_the_credit, _undo_nothing, _never_complete, _begin_before_what_is_needed,
        _park_nothing, _let_a_stale_balance_overwrite,
        _count_what_left_twice, _log_the_order, _count_a_short_as_often_as_it_is_told,
        _write_the_log_backwards, _tell_what_followed_first, _leave_the_rest_with_partners,
    )
] + [
    # Each needs more than one thing to go wrong at once: with more orders, and their faults, the first seeds show it.
    Mutation(plant.__name__.strip("_"), plant, ORDER_PATH, SEED_ORDERS)
    for plant in (_drop_the_fence, _drop_what_came_early, _go_by_the_hosts_clock)
] + [
    Mutation("go_on_after_silence", _go_on_after_silence, ORDER_PATH, 4),
] + [
    Mutation(plant.__name__.strip("_"), plant, RUSH) for plant in (_promise_what_is_promised, _give_what_is_not_free)
] + [
    Mutation(plant.__name__.strip("_"), plant, BUSINESS_DAY, DAY_ORDERS)
    for plant in (
        _miss_new_prices, _begin_prices_too_early, _sell_beyond_the_limit, _tell_the_warehouse_what_was_ordered_first,
    )
] + [
    Mutation(plant.__name__.strip("_"), plant, STOCK_TOLD) for plant in STOCK_MUTATIONS
]  # fmt: skip
