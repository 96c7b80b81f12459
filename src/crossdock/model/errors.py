"""The error tree: every error says who must act.

    CrossdockError
    ├── Invalid         the sender must mend the message
    ├── Conflict        the sender must read again, the document has moved on
    ├── Refused         the business said no; a person may decide otherwise
    ├── Unavailable     nobody acts, it is tried again (carries `retry_after_seconds`)
    ├── InDoubt         the call may have taken effect; it must be probed before it is sent again
    ├── Misconfigured   the operator must mend settings or credentials
    └── Defect          we must mend the code

`code` is stable and documented, `message` is a sentence for the user (never a secret, never personal data), `detail`
is for the engineer and is masked before it is stored.
"""

from __future__ import annotations

from typing import ClassVar, Final


class CrossdockError(Exception):
    """Base of all errors that cross a module boundary."""

    who_acts: ClassVar[str] = "crossdock"
    kind: ClassVar[str] = "defect"

    def __init__(
        self, code: str, message: str, *, detail: str = "", field: str = "", next_action: str = "",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
        self.field = field
        self.next_action = next_action


class Invalid(CrossdockError):
    who_acts = "sender"
    kind = "invalid"


class Conflict(CrossdockError):
    who_acts = "sender"
    kind = "conflict"


class Refused(CrossdockError):
    who_acts = "business"
    kind = "refused"


class Unavailable(CrossdockError):
    """`retry_after_seconds` is what the partner asked for, or None."""

    who_acts = "nobody"
    kind = "unavailable"

    def __init__(
        self, code: str, message: str, *, detail: str = "", field: str = "", next_action: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(code, message, detail=detail, field=field, next_action=next_action)
        self.retry_after_seconds = retry_after_seconds


class InDoubt(CrossdockError):
    who_acts = "nobody"
    kind = "in_doubt"


class Misconfigured(CrossdockError):
    who_acts = "operator"
    kind = "misconfigured"


class Defect(CrossdockError):
    who_acts = "crossdock"
    kind = "defect"


ERROR_KINDS: Final[tuple[type[CrossdockError], ...]] = (
    Invalid, Conflict, Refused, Unavailable, InDoubt, Misconfigured, Defect,
)  # fmt: skip
