"""The console's routes under /console, to be mounted by the API application.

services = open_console(pool, clock, control)
application = Litestar([*api_routes, *console_routes(services)], on_shutdown=[services.live.close])
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import structlog
from litestar import MediaType, Request, Response, Router, get, post
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.params import QueryParameter
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler

from crossdock.console import actions, pages, stock
from crossdock.console.gate import (
    AnyRequest,
    NotAllowed,
    NotSignedIn,
    Services,
    Visitor,
    add_headers,
    came_from,
    check_origin,
    first,
    read_form,
    safe_return,
    sign_in_first,
    signed_in,
)
from crossdock.console.rendering import ConsoleServices, render
from crossdock.console.session import (
    SESSION_LENGTH,
    SignInRefused,
    cookie_name,
    form_token_matches,
    read_session,
    sign_in,
    sign_out,
)
from crossdock.engine.batching import DATABASE_LOST
from crossdock.insight.masking import masked_text
from crossdock.model.errors import Conflict, CrossdockError

_LOG: Final = structlog.get_logger("crossdock.console")
_HANDLERS: Final = (
    pages.overview_page,
    pages.orders_page,
    pages.order_page,
    pages.connections_page,
    pages.holds_page,
    pages.held_orders_page,
    pages.quarantined_facts_page,
    pages.fact_payload,
    pages.quarantined_steps_page,
    pages.live_events,
    pages.static_asset,
    actions.cancel,
    actions.replay_order,
    actions.settle,
    actions.release,
    actions.refuse,
    actions.replay_parked_steps,
    actions.replay_parked_facts,
    actions.dismiss_parked_facts,
    actions.pause,
    actions.resume,
    actions.set_breaker,
    stock.stock_page,
    stock.sku_page,
    stock.drift_page,
    stock.repair_drift,
    stock.dismiss_drift,
    stock.retry_parked,
)


@get("/sign-in", media_type=MediaType.HTML)
async def sign_in_page(
    request: AnyRequest,
    services: Services,
    target: Annotated[str, QueryParameter(name="next", max_length=500)] = "/console",
) -> Response[Any]:
    """The sign-in form; who is signed in goes on."""
    cookie = request.cookies.get(cookie_name(services.secure))
    if await read_session(services.pool, cookie, services.clock()) is not None:
        return Redirect(safe_return(target), status_code=303)
    page = render(services, "sign_in.html", None, next=safe_return(target), problem="", name="")
    return Response(page, media_type=MediaType.HTML)


@post("/sign-in", media_type=MediaType.HTML)
async def sign_in_form(request: AnyRequest, services: Services) -> Response[Any]:
    """Open a session. The answer is the same for an unknown name and a wrong password."""
    check_origin(request)
    fields = await read_form(request)
    name, target = first(fields, "name"), safe_return(first(fields, "next") or "/console")
    address = request.client.host if request.client else "unknown"
    password = (fields.get("password") or [""])[0]
    answer = await sign_in(services.pool, name, password, address, services.clock())
    if isinstance(answer, SignInRefused):
        return _refused(services, name, target, answer)
    response: Response[Any] = Redirect(target, status_code=303)
    response.set_cookie(
        key=cookie_name(services.secure),
        value=answer.cookie,
        path="/",
        httponly=True,
        samesite="strict",
        secure=services.secure,
        max_age=int(SESSION_LENGTH.total_seconds()),
    )
    return response


def _refused(services: ConsoleServices, name: str, target: str, answer: SignInRefused) -> Response[Any]:
    if answer.retry_after_seconds is None:
        problem, status, headers = "The name or the password is wrong.", 401, {}
    else:
        minutes = -(-answer.retry_after_seconds // 60)
        problem = f"Too many attempts. Try again in {minutes} minute{'s' if minutes != 1 else ''}."
        status, headers = 429, {"Retry-After": str(answer.retry_after_seconds)}
    page = render(services, "sign_in.html", None, next=target, problem=problem, name=name[:64])
    return Response(page, media_type=MediaType.HTML, status_code=status, headers=headers)


@post("/sign-out")
async def sign_out_form(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Close the session, for every role."""
    check_origin(request)
    if not form_token_matches(session, first(await read_form(request), "form_token")):
        raise NotAllowed("This form is out of date. Go back, reload the page and try again.")
    name = cookie_name(services.secure)
    await sign_out(services.pool, request.cookies[name])
    response = Redirect("/console/sign-in", status_code=303)
    # With all that it was set with: a browser lets go of a __Host- cookie only so.
    response.set_cookie(
        key=name, value="", path="/", httponly=True, samesite="strict", secure=services.secure, max_age=0
    )
    return response


def console_routes(services: ConsoleServices) -> list[ControllerRouterHandler]:
    """Everything under /console; none of it is part of the documented API."""

    def given_services() -> ConsoleServices:
        return services

    def problem_page(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        status, sentence, advice = _problem(error)
        if status == 500:
            _LOG.error("console_defect", error=type(error).__name__, route=str(request.route_handler), exc_info=error)
        elif status == 503:
            _LOG.warning("console_database_unavailable", error=type(error).__name__)
        page = render(
            services, "problem.html", None, status=status, sentence=sentence, advice=advice, back=came_from(request)
        )
        return add_headers(Response(page, media_type=MediaType.HTML, status_code=status))

    router = Router(
        path="/console",
        route_handlers=[sign_in_page, sign_in_form, sign_out_form, *_HANDLERS],
        dependencies={
            "services": Provide(given_services, sync_to_thread=False, use_cache=True),
            "session": Provide(signed_in),
        },
        exception_handlers={NotSignedIn: sign_in_first, HTTPException: problem_page, Exception: problem_page},
        after_request=add_headers,
        include_in_schema=False,
    )
    return [router]


def _problem(error: Exception) -> tuple[int, str, tuple[str, ...]]:
    """What went wrong, in a sentence, and what to do; never a stack, never what was sent."""
    if isinstance(error, CrossdockError):
        # A conflict's detail is what speaks against it, in our own words; elsewhere it is meant for engineers.
        is_conflict = isinstance(error, Conflict)
        status = 400 if error.who_acts == "sender" and not is_conflict else 409
        return status, error.message, (masked_text(error.detail) if is_conflict else "", error.next_action)
    if isinstance(error, HTTPException) and error.status_code < 500:
        written_by_us = type(error).__module__.startswith("crossdock")
        return error.status_code, error.detail if written_by_us else "This request cannot be answered as it is.", ()
    if isinstance(error, DATABASE_LOST):
        return 503, "The database does not answer.", ("Nothing is lost. Reload this page in a moment.",)
    return 500, "Something went wrong on our side.", ("The log of the API process says what.",)
