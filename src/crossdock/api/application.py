"""Puts the API together: the gateway over the table of endpoints, and whatever route handlers are mounted beside it.

application = create_api(services, [*console_routes(console)])
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog
from litestar import Litestar, asgi
from litestar.exceptions import HTTPException
from litestar.response import Response
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from crossdock.api.answers import ApiProblem, new_trace_id, problem_answer
from crossdock.api.documentation import documentation_endpoints
from crossdock.api.endpoint import Endpoint
from crossdock.api.gateway import HEADERS, Gateway
from crossdock.api.services import AccountSource, ApiServices, WebhookDoor
from crossdock.api.table import ENDPOINTS

__all__ = ["AccountSource", "ApiServices", "WebhookDoor", "create_api", "served_endpoints"]

MOUNTS: Final = ("/v1", "/hooks")
_LOG: Final = structlog.get_logger("crossdock.api")


def served_endpoints(services: ApiServices) -> tuple[Endpoint, ...]:
    """The whole table, with its documentation where that is served."""
    return (*ENDPOINTS, *documentation_endpoints(ENDPOINTS)) if services.documentation else ENDPOINTS


def create_api(
    services: ApiServices, handlers: Sequence[ControllerRouterHandler] = (),
    on_shutdown: Sequence[Callable[[], Any]] = (),
) -> Litestar:  # fmt: skip
    """The application: ours, and `handlers` (the console's) beside it."""
    endpoints = served_endpoints(services)
    gateway = Gateway(services, endpoints)
    single = sorted({endpoint.path for endpoint in endpoints if not endpoint.path.startswith(tuple(MOUNTS))})
    mounts = [_mount(gateway, path) for path in MOUNTS]
    return Litestar(
        [*mounts, asgi(single, copy_scope=False)(_at(gateway, "")), *handlers], openapi_config=None, debug=False,
        # Logging is set up by the process, not by a library.
        logging_config=None, on_shutdown=list(on_shutdown),
        exception_handlers={HTTPException: _elsewhere, Exception: _elsewhere},
    )  # fmt: skip


def _mount(gateway: Gateway, path: str) -> ControllerRouterHandler:
    return asgi(path, is_mount=True, copy_scope=False)(_at(gateway, path))


def _at(gateway: Gateway, prefix: str) -> Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]:
    """The gateway, with the part of the path that a mount takes away put back."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if prefix:
            scope["path"] = prefix + scope["path"]
        await gateway(scope, receive, send)

    return answer


def _elsewhere(_request: Any, error: Exception) -> Response[bytes]:
    """A problem for an address outside of every mount."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        problem = ApiProblem(404, "not_found", "There is nothing at this address.")
    elif status < 500:
        problem = ApiProblem(status, "request", "This request cannot be answered as it is.")
    else:
        _LOG.error("defect_elsewhere", error=type(error).__name__, exc_info=error)
        problem = ApiProblem(500, "defect", "Something went wrong on our side.")
    found = problem_answer(problem, new_trace_id())
    return Response(found.body, status_code=found.status, media_type=found.media_type, headers=dict(HEADERS))
