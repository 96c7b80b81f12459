"""What the API answers: JSON documents, and problems after RFC 9457. Never a stack, never what was sent."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from crossdock.model.errors import CrossdockError, Unavailable
from crossdock.model.orders import Reason

_ENCODER: Final = msgspec.json.Encoder()
JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"


class ProblemDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong. `line` is the order line's own identifier, `field` where in the message it stands."""

    code: str
    message: str
    line: str = ""
    field: str = ""
    owner: str = ""
    next_action: str = ""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457. `code` is stable, `detail` a sentence for people, `trace_id` what an engineer searches for."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    trace_id: str
    field: str = ""
    next_action: str = ""
    errors: tuple[ProblemDetail, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: `headers` are added to those that every answer carries. `stream` goes on after the body."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncGenerator[bytes] | None = None


class ApiProblem(Exception):
    """Ends a request with a problem of this status."""

    def __init__(
        self, status: int, code: str, message: str, *, field: str = "", next_action: str = "",
        errors: Sequence[ProblemDetail] = (), headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.next_action = next_action
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


TITLES: Final = {
    400: "The request cannot be read", 401: "Sign in first", 403: "Not allowed", 404: "Not found",
    405: "Not possible here", 409: "The state says no", 413: "Too large", 415: "Cannot read this kind of message",
    422: "The message is not right", 429: "Too many attempts", 500: "Our mistake", 503: "Not now",
}  # fmt: skip
ORDER_REFUSED: Final = "order_refused"
# By the class of the error: who must act.
STATUS_OF_KIND: Final = {
    "invalid": 422, "conflict": 409, "refused": 409, "unavailable": 503, "in_doubt": 503, "misconfigured": 503,
    "defect": 500,
}  # fmt: skip


def json_answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, _ENCODER.encode(document), JSON, headers or {})


def _title(problem: ApiProblem) -> str:
    return "The order was refused" if problem.code == ORDER_REFUSED else TITLES.get(problem.status, "Problem")


def problem_answer(problem: ApiProblem, trace_id: str) -> Answer:
    document = Problem(
        f"urn:crossdock:problem:{problem.code}", _title(problem), problem.status, problem.message,
        problem.code, trace_id, problem.field, problem.next_action, problem.errors,
    )  # fmt: skip
    return Answer(problem.status, _ENCODER.encode(document), PROBLEM_JSON, problem.headers)


def problem_of(error: CrossdockError) -> ApiProblem:
    """The problem that tells of an error of ours; its detail stays with us."""
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after_seconds or 1)))
    status = STATUS_OF_KIND[error.kind]
    message = error.message if status != 500 else "Something went wrong on our side."
    return ApiProblem(status, error.code, message, field=error.field, next_action=error.next_action, headers=headers)


def detail_of(reason: Reason) -> ProblemDetail:
    return ProblemDetail(
        reason.code, reason.message, reason.line, reason.field, reason.owner, reason.next_action
    )


def new_trace_id() -> str:
    return secrets.token_hex(16)
