"""What an unsuccessful exchange means: one table, read by the HTTP session and by nobody else.

The question behind each row is who must act, and above all: can a write have taken effect? If that cannot be ruled
out the class is `InDoubt`, and the engine probes before anything is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final

from crossdock.model.errors import Conflict, CrossdockError, InDoubt, Invalid, Misconfigured, Refused, Unavailable

RETRY_AFTER_SECONDS_MAX: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Meaning:
    """The error to raise for a read and for a write, its stable code, and a sentence for the user."""

    read: type[CrossdockError]
    write: type[CrossdockError]
    code: str
    message: str
    next_action: str = ""


# Ends without a status. The first four come before a byte was sent.
BROKEN: Final[Mapping[str, Meaning]] = MappingProxyType({
    "connect": Meaning(Unavailable, Unavailable, "partner_unreachable", "The partner does not accept connections."),
    "name": Meaning(Unavailable, Unavailable, "partner_name_unknown", "The partner's host name cannot be resolved."),
    "tls": Meaning(Unavailable, Unavailable, "partner_tls", "No secure connection to the partner could be made."),
    "connect_timeout": Meaning(Unavailable, Unavailable, "partner_unreachable", "The partner did not let us in."),
    "timeout": Meaning(Unavailable, InDoubt, "partner_timeout", "The partner did not answer in time."),
    "disconnect": Meaning(Unavailable, InDoubt, "partner_disconnected", "The connection broke before the answer came."),
    "unreadable": Meaning(Unavailable, InDoubt, "partner_answer_unreadable", "The partner's answer cannot be read."),
    "too_large": Meaning(Unavailable, InDoubt, "partner_answer_too_large", "The partner's answer is too large."),
})  # fmt: skip

# Ends with a status that the caller did not expect: "NNN+retry" is NNN with a Retry-After, "Nxx" the rest of a class.
STATUSES: Final[Mapping[str, Meaning]] = MappingProxyType({
    # An answer that the caller has no use for: the partner did something.
    "2xx": Meaning(Unavailable, InDoubt, "partner_answer_unexpected", "The partner answered in an unexpected way."),
    "3xx": Meaning(Misconfigured, Misconfigured, "partner_redirects", "The partner redirects to another address.",
                   "Set the connection's address to the one it redirects to."),
    "400": Meaning(Invalid, Invalid, "partner_finds_invalid", "The partner finds our message invalid."),
    "401": Meaning(Misconfigured, Misconfigured, "partner_denies_key", "The partner does not accept our credentials.",
                   "Check the connection's key or password."),
    "402": Meaning(Refused, Refused, "partner_payment_refused", "The payment was refused."),
    "403": Meaning(Misconfigured, Misconfigured, "partner_forbids", "The partner does not allow us to do this.",
                   "Check the rights of the connection's account."),
    "404": Meaning(Invalid, Invalid, "partner_not_found", "The partner does not know what we asked for."),
    "408": Meaning(Unavailable, InDoubt, "partner_timeout", "The partner did not receive our message in time."),
    "409": Meaning(Conflict, Conflict, "partner_conflict", "The partner has another state of this document."),
    "422": Meaning(Refused, Refused, "partner_refused", "The partner refused."),
    "425": Meaning(Unavailable, Unavailable, "partner_too_early", "The partner asks us to come back later."),
    "429": Meaning(Unavailable, Unavailable, "partner_rate_limit", "The partner asks us to slow down."),
    "4xx": Meaning(Invalid, Invalid, "partner_rejects", "The partner rejects our message."),
    "501": Meaning(Misconfigured, Misconfigured, "partner_cannot", "The partner does not offer this.",
                   "Check the partner's version and the connection's address."),
    "503+retry": Meaning(Unavailable, Unavailable, "partner_unavailable", "The partner is not available."),
    "503": Meaning(Unavailable, InDoubt, "partner_unavailable", "The partner is not available."),
    "5xx": Meaning(Unavailable, InDoubt, "partner_failed", "The partner failed while it answered."),
})  # fmt: skip
_CLASSES: Final = MappingProxyType({2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"})


def meaning_of_status(status: int, *, has_retry_after: bool) -> Meaning:
    """The row for an unexpected status; what lies outside of HTTP's classes counts as a failure of the partner."""
    exact = str(status)
    if has_retry_after and f"{exact}+retry" in STATUSES:
        return STATUSES[f"{exact}+retry"]
    return STATUSES.get(exact) or STATUSES[_CLASSES.get(status // 100, "5xx")]


def error_from(
    meaning: Meaning, *, write: bool, detail: str = "", retry_after_seconds: float | None = None
) -> CrossdockError:
    """The exception that says what happened, ready to be raised."""
    kind = meaning.write if write else meaning.read
    if kind is Unavailable:
        return Unavailable(
            meaning.code, meaning.message, detail=detail, next_action=meaning.next_action,
            retry_after_seconds=retry_after_seconds,
        )  # fmt: skip
    return kind(meaning.code, meaning.message, detail=detail, next_action=meaning.next_action)


def retry_after_seconds(value: str, now: datetime) -> float | None:
    """A Retry-After header (seconds or an HTTP date) as seconds from `now`; None when absent or senseless."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        # More digits than this are more than a day anyway, and huge integers are slow to read.
        return min(float(text[:12]), RETRY_AFTER_SECONDS_MAX)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)
