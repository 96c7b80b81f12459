"""The console's gate: who asks, whether a form is ours, and the headers that every answer carries."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlsplit

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import SkipValidation
from litestar.response import Redirect

from crossdock.console.rendering import ConsoleServices
from crossdock.console.session import Session, cookie_name, form_token_matches, read_session

AnyRequest = Request[Any, Any, Any]
# Given by us, not by the visitor: nothing to validate.
Services = NamedDependency[SkipValidation[ConsoleServices]]
Visitor = NamedDependency[SkipValidation[Session]]
FORM_BYTES_MAX: Final = 64 * 1024
FORM_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data")

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    # Browsers heed it only over TLS, where it keeps them there.
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class NotSignedIn(HTTPException):
    status_code = 401


class NotAllowed(HTTPException):
    status_code = 403


class NotFound(HTTPException):
    status_code = 404


async def signed_in(request: AnyRequest, services: Services) -> Session:
    """The session of the cookie. Raises NotSignedIn."""
    cookie = request.cookies.get(cookie_name(services.secure))
    session = await read_session(services.pool, cookie, services.clock())
    if session is None:
        raise NotSignedIn
    return session


async def signed_form(request: AnyRequest, session: Session) -> dict[str, list[str]]:
    """The fields of a form that an operator sent from a page of ours. Raises NotAllowed."""
    check_origin(request)
    fields = await read_form(request)
    if not form_token_matches(session, first(fields, "form_token")):
        raise NotAllowed("This form is out of date. Go back, reload the page and try again.")
    if not session.may_operate:
        raise NotAllowed("Your role may look, but not act. Ask an operator.")
    return fields


async def read_form(request: AnyRequest) -> dict[str, list[str]]:
    """The fields of a form, each with all its values; bounded."""
    if request.content_type[0] not in FORM_TYPES:
        raise HTTPException("Send a form.", status_code=415)
    if int(request.headers.get("content-length", FORM_BYTES_MAX + 1)) > FORM_BYTES_MAX:
        raise HTTPException("This form is too large.", status_code=413)
    form = await request.form()
    return {key: [value for value in form.getall(key) if isinstance(value, str)] for key in form}


def first(fields: dict[str, list[str]], name: str) -> str:
    return (fields.get(name) or [""])[0].replace("\x00", "").strip()


def check_origin(request: AnyRequest) -> None:
    """Browsers tell where a request comes from: only our own pages may act or listen. Raises NotAllowed."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise NotAllowed("This request does not come from the console.")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise NotAllowed("This request does not come from the console.")


def is_fragment(request: AnyRequest) -> bool:
    """Whether htmx asks for a part of a page."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-history-restore-request") != "true"


def sign_in_first(request: AnyRequest, error: Exception) -> Response[Any]:
    """To the sign-in page, and back afterwards; a fragment tells the page to go."""
    if request.url.path.endswith("/live"):
        return add_headers(Response(b"", status_code=401))
    here = request.url.path if request.method == "GET" else "/console"
    if request.method == "GET" and request.url.query and not is_fragment(request):
        here = f"{here}?{request.url.query}"
    target = f"/console/sign-in?next={quote(here, safe='')}"
    if is_fragment(request):
        return add_headers(Response(b"", status_code=401, headers={"HX-Redirect": "/console/sign-in"}))
    return add_headers(Redirect(target, status_code=303))


def safe_return(target: str) -> str:
    """Only a page of the console is a place to go back to."""
    parts = urlsplit(target)
    inside = target == "/console" or target.startswith(("/console/", "/console?"))
    if (
        not inside
        or parts.scheme
        or parts.netloc
        or "\\" in target
        or target.startswith("//")
        or not target.isprintable()
    ):
        return "/console"
    return target


def came_from(request: AnyRequest) -> str:
    """The page of ours whose form or link led here; the overview where none is told."""
    parts = urlsplit(request.headers.get("referer", ""))
    if parts.netloc != request.headers.get("host") or parts.path == request.url.path:
        return "/console"
    query = without_said(parts.query)
    return safe_return(f"{parts.path}?{query}" if query else parts.path)


def without_said(query: str) -> str:
    """A page's query without what the last action said, and from the listing's first page."""
    parts = query.split("&")
    return "&".join(part for part in parts if part and not part.startswith(("said=", "count=", "cursor=")))


def add_headers(response: Response[Any]) -> Response[Any]:
    """Every answer of the console carries the security headers; only assets may be kept."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    return response
