"""What an operator may do: every action is a form with a token, is written to the audit, and leads back to its page."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from litestar import post
from litestar.params import FromPath
from litestar.response import Redirect

from crossdock.console.gate import (
    AnyRequest,
    NotFound,
    Services,
    Visitor,
    first,
    safe_return,
    signed_form,
    without_said,
)
from crossdock.console.rendering import ConsoleServices
from crossdock.insight.holds import list_held_order_ids
from crossdock.insight.orders import order_id_of

_CHOSEN_MAX: Final = 500
_BIGINT_MAX: Final = 2**63 - 1
_NUMBER_MAX: Final = 100
_SETTLEMENTS: Final = {"done": "done", "refused": "refused"}
_OVERRIDES: Final = {"open": "open", "closed": "closed", "none": None}

# Where nothing was done, somebody else may have been faster.
_MAY_COME_LATE: Final = frozenset({"released", "refused", "replayed", "closed", "repairing", "dismissed", "retold"})

Fields = dict[str, list[str]]


def back_to(fields: Fields, otherwise: str, said: str, count: int | None = None) -> Redirect:
    """To the page that the form came from, which says what was done."""
    target = safe_return(first(fields, "back")) if first(fields, "back") else otherwise
    target, _, place = target.partition("#")
    path, _, query = target.partition("?")
    kept = without_said(query)
    words = {"said": "none" if count == 0 and said in _MAY_COME_LATE else said}
    if count:
        words["count"] = str(count)
    query = "&".join(part for part in (kept, urlencode(words)) if part)
    return Redirect(f"{path}?{query}{'#' if place else ''}{place}", status_code=303)


def chosen_ids(fields: Fields, name: str) -> list[int]:
    """The ids that were ticked; anything else is left out."""
    values = fields.get(name, [])[:_CHOSEN_MAX]
    return [int(value) for value in values if value.isdigit() and len(value) < 20 and int(value) <= _BIGINT_MAX]


def _reason(fields: Fields) -> str:
    """What the person wrote: buyers are told it, so none is made up. "" where nothing was written."""
    return first(fields, "reason")[:500]


@post("/orders/{number:str}/cancel")
async def cancel(request: AnyRequest, services: Services, session: Visitor, number: FromPath[str]) -> Redirect:
    """Ask for the cancellation of an order: the rules decide by how far it came."""
    fields = await signed_form(request, session)
    order_id, here, reason = _order_id(number), f"/console/orders/{number}", _reason(fields)
    if not reason:
        return back_to(fields, here, "reason")
    await services.control.cancel_order(services.clock(), session.name, order_id, reason)
    return back_to(fields, here, "cancelled")


@post("/orders/{number:str}/replay")
async def replay_order(request: AnyRequest, services: Services, session: Visitor, number: FromPath[str]) -> Redirect:
    """Try the parked steps of an order again."""
    fields = await signed_form(request, session)
    count = await services.control.replay_steps(services.clock(), session.name, order_ids=[_order_id(number)])
    return back_to(fields, f"/console/orders/{number}", "replayed", count)


@post("/orders/{number:str}/settle")
async def settle(request: AnyRequest, services: Services, session: Visitor, number: FromPath[str]) -> Redirect:
    """End a parked step as the person found it at the partner."""
    fields = await signed_form(request, session)
    order_id, here, reason = _order_id(number), f"/console/orders/{number}", _reason(fields)
    ended: Any = _SETTLEMENTS.get(first(fields, "ended"))
    if ended is None:
        raise NotFound("A parked step is settled as done or as refused.")
    if not reason:
        return back_to(fields, here, "reason")
    name, external = first(fields, "step")[:200], first(fields, "number")[:_NUMBER_MAX]
    await services.control.settle_step(services.clock(), session.name, order_id, name, ended, external, reason)
    return back_to(fields, here, "settled")


@post("/holds/release")
async def release(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Release the holds that were ticked, or all of one cause."""
    fields = await signed_form(request, session)
    order_ids = await _held(services, fields)
    if not order_ids:
        return back_to(fields, "/console/holds", _why_none(fields))
    count = await services.control.release_holds(services.clock(), session.name, order_ids)
    is_all = count == len(order_ids) or len(order_ids) == 1
    return back_to(fields, "/console/holds", "released" if is_all else "released_some", count)


@post("/holds/refuse")
async def refuse(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Refuse the held orders that were ticked, or all of one cause."""
    fields = await signed_form(request, session)
    order_ids, reason = await _held(services, fields), _reason(fields)
    if not order_ids or not reason:
        return back_to(fields, "/console/holds", "reason" if order_ids else _why_none(fields))
    count = await services.control.refuse_holds(services.clock(), session.name, order_ids, reason)
    return back_to(fields, "/console/holds", "refused", count)


@post("/quarantine/steps/replay")
async def replay_parked_steps(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Try parked steps again: of the orders that were ticked, or all of one connection, operation and cause."""
    fields = await signed_form(request, session)
    order_ids = chosen_ids(fields, "order_id")
    if not order_ids and not _all_of_a_group(fields):
        return back_to(fields, "/console/holds", "unchosen")
    count = await services.control.replay_steps(
        services.clock(),
        session.name,
        connection=first(fields, "connection") or None,
        operation=first(fields, "operation") or None,
        error_code=first(fields, "cause") or None,
        order_ids=order_ids or None,
    )
    return back_to(fields, "/console/holds", "replayed", count)


@post("/quarantine/facts/replay")
async def replay_parked_facts(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Apply parked facts again: those that were ticked, or all of one connection, kind and cause."""
    fields = await signed_form(request, session)
    fact_ids = chosen_ids(fields, "fact_id")
    if not fact_ids and not _all_of_a_group(fields):
        return back_to(fields, "/console/holds", "unchosen")
    count = await services.control.replay_facts(
        services.clock(),
        session.name,
        connection=first(fields, "connection") or None,
        kind=first(fields, "kind") or None,
        cause=first(fields, "cause") or None,
        fact_ids=fact_ids or None,
    )
    return back_to(fields, "/console/holds", "replayed", count)


@post("/quarantine/facts/dismiss")
async def dismiss_parked_facts(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Close parked facts that were settled otherwise: those that were ticked."""
    fields = await signed_form(request, session)
    fact_ids, reason = chosen_ids(fields, "fact_id"), _reason(fields)
    if not fact_ids or not reason:
        return back_to(fields, "/console/holds", "reason" if fact_ids else "unchosen")
    count = await services.control.dismiss_facts(services.clock(), session.name, reason, fact_ids=fact_ids)
    return back_to(fields, "/console/holds", "closed", count)


@post("/connections/{name:str}/pause")
async def pause(request: AnyRequest, services: Services, session: Visitor, name: FromPath[str]) -> Redirect:
    """Send nothing to a partner until it is resumed."""
    fields = await signed_form(request, session)
    await _known_connection(services, name)
    await services.control.pause_connection(services.clock(), session.name, name)
    return back_to(fields, "/console/connections", "paused")


@post("/connections/{name:str}/resume")
async def resume(request: AnyRequest, services: Services, session: Visitor, name: FromPath[str]) -> Redirect:
    """Send again."""
    fields = await signed_form(request, session)
    await _known_connection(services, name)
    await services.control.resume_connection(services.clock(), session.name, name)
    return back_to(fields, "/console/connections", "resumed")


@post("/connections/{name:str}/breaker")
async def set_breaker(request: AnyRequest, services: Services, session: Visitor, name: FromPath[str]) -> Redirect:
    """Hold a breaker open or closed by hand, or leave it to itself again."""
    fields = await signed_form(request, session)
    await _known_connection(services, name)
    wanted = first(fields, "override")
    if wanted not in _OVERRIDES:
        raise NotFound("A breaker is open, closed, or left to itself.")
    override: Any = _OVERRIDES[wanted]
    operation = first(fields, "operation")
    await services.control.override_breaker(services.clock(), session.name, name, operation, override)
    return back_to(fields, "/console/connections", "breaker")


async def _held(services: ConsoleServices, fields: Fields) -> list[int]:
    """The ticked orders; without any, and only if the form says so, all that are held for the cause."""
    ticked = chosen_ids(fields, "order_id")
    if ticked or first(fields, "all") != "yes" or not first(fields, "cause"):
        return ticked
    return await list_held_order_ids(services.pool, first(fields, "cause"))


def _why_none(fields: Fields) -> str:
    """What to say where no order is left to act on."""
    return "none" if first(fields, "all") == "yes" or fields.get("order_id") else "unchosen"


def _all_of_a_group(fields: Fields) -> bool:
    return first(fields, "all") == "yes" and bool(first(fields, "connection"))


def _order_id(number: str) -> int:
    order_id = order_id_of(number)
    if order_id is None:
        raise NotFound("There is no order with this number.")
    return order_id


async def _known_connection(services: ConsoleServices, name: str) -> None:
    snapshot = await services.live.snapshot()
    if name not in {state.connection for state in snapshot.overview.connections}:
        raise NotFound("There is no connection of this name.")
