"""What an operator may do: every action is a form with a token, is written to the audit, and leads back to its page."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from litestar import post
from litestar.params import FromPath
from litestar.response import Redirect

from crossdock.console.gate import AnyRequest, NotFound, Services, Visitor, first, safe_return, signed_form
from crossdock.console.rendering import ConsoleServices
from crossdock.console.session import Session
from crossdock.insight.holds import list_held_order_ids
from crossdock.insight.orders import order_id_of

_CHOSEN_MAX: Final = 500
_BIGINT_MAX: Final = 2**63 - 1
_OVERRIDES: Final = {"open": "open", "closed": "closed", "none": None}

Fields = dict[str, list[str]]


def back_to(fields: Fields, otherwise: str, said: str, count: int | None = None) -> Redirect:
    """To the page that the form came from, which says what was done."""
    target = safe_return(first(fields, "back")) if first(fields, "back") else otherwise
    path = target.partition("?")[0]
    kept = [
        part
        for part in target.partition("?")[2].split("&")
        if part and not part.startswith(("said=", "count=", "cursor="))
    ]
    words = {"said": "none" if count == 0 else said}
    if count:
        words["count"] = str(count)
    return Redirect(f"{path}?{'&'.join([*kept, urlencode(words)])}", status_code=303)


def chosen_ids(fields: Fields, name: str) -> list[int]:
    """The ids that were ticked; anything else is left out."""
    values = fields.get(name, [])[:_CHOSEN_MAX]
    return [int(value) for value in values if value.isdigit() and len(value) < 20 and int(value) <= _BIGINT_MAX]


def _reason(fields: Fields, session: Session) -> str:
    return first(fields, "reason")[:500] or f"by {session.name} in the console"


@post("/orders/{number:str}/cancel")
async def cancel(request: AnyRequest, services: Services, session: Visitor, number: FromPath[str]) -> Redirect:
    """Ask for the cancellation of an order: the rules decide by how far it came."""
    fields = await signed_form(request, session)
    order_id = _order_id(number)
    await services.control.cancel_order(services.clock(), session.name, order_id, _reason(fields, session))
    return back_to(fields, f"/console/orders/{number}", "cancelled")


@post("/orders/{number:str}/replay")
async def replay_order(request: AnyRequest, services: Services, session: Visitor, number: FromPath[str]) -> Redirect:
    """Try the parked steps of an order again."""
    fields = await signed_form(request, session)
    count = await services.control.replay_steps(services.clock(), session.name, order_ids=[_order_id(number)])
    return back_to(fields, f"/console/orders/{number}", "replayed", count)


@post("/holds/release")
async def release(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Release the holds that were ticked, or all of one cause."""
    fields = await signed_form(request, session)
    order_ids = await _held(services, fields)
    count = await services.control.release_holds(services.clock(), session.name, order_ids) if order_ids else 0
    return back_to(fields, "/console/holds", "released", count)


@post("/holds/refuse")
async def refuse(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Refuse the held orders that were ticked, or all of one cause."""
    fields = await signed_form(request, session)
    order_ids = await _held(services, fields)
    reason = _reason(fields, session)
    count = await services.control.refuse_holds(services.clock(), session.name, order_ids, reason) if order_ids else 0
    return back_to(fields, "/console/holds", "refused", count)


@post("/quarantine/steps/replay")
async def replay_parked_steps(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Try parked steps again: of the orders that were ticked, or all of one connection and cause."""
    fields = await signed_form(request, session)
    order_ids = chosen_ids(fields, "order_id")
    count = 0
    if order_ids or first(fields, "connection"):
        count = await services.control.replay_steps(
            services.clock(),
            session.name,
            connection=first(fields, "connection") or None,
            error_code=first(fields, "cause") or None,
            order_ids=order_ids or None,
        )
    return back_to(fields, "/console/holds", "replayed", count)


@post("/quarantine/facts/replay")
async def replay_parked_facts(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Apply parked facts again: those that were ticked, or all of one connection and cause."""
    fields = await signed_form(request, session)
    fact_ids = chosen_ids(fields, "fact_id")
    count = 0
    if fact_ids or first(fields, "connection"):
        count = await services.control.replay_facts(
            services.clock(),
            session.name,
            connection=first(fields, "connection") or None,
            cause=first(fields, "cause") or None,
            fact_ids=fact_ids or None,
        )
    return back_to(fields, "/console/holds", "replayed", count)


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


def _order_id(number: str) -> int:
    order_id = order_id_of(number)
    if order_id is None:
        raise NotFound("There is no order with this number.")
    return order_id


async def _known_connection(services: ConsoleServices, name: str) -> None:
    snapshot = await services.live.snapshot()
    if name not in {state.connection for state in snapshot.overview.connections}:
        raise NotFound("There is no connection of this name.")
