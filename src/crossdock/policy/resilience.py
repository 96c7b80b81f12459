"""How often and how fast to try again, and when to stop calling a partner: data, with defaults that suit most."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

POSITIVE: Final = msgspec.Meta(gt=0)
Growth = Annotated[int, msgspec.Meta(ge=1, le=10)]


class RetryRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Waits grow from `base_seconds` by `factor` up to `cap_seconds`, with jitter. `attempts_max` 0: no end."""

    base_seconds: Annotated[float, POSITIVE] = 1
    factor: Growth = 2
    cap_seconds: Annotated[float, POSITIVE] = 60
    attempts_max: Annotated[int, msgspec.Meta(ge=0)] = 0


class RetryTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule for each class of error that is tried again; `codes` override by error code ("park" stops at once)."""

    unavailable: RetryRule = RetryRule()
    in_doubt: RetryRule = RetryRule(base_seconds=1, cap_seconds=30)
    codes: dict[str, RetryRule | Literal["park"]] = {}


class BreakerPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open after so many failures in a row; each further failure keeps it open longer, up to `cap_seconds`."""

    failures_to_open: Annotated[int, msgspec.Meta(ge=1)] = 5
    open_seconds: Annotated[float, POSITIVE] = 2
    growth: Growth = 2
    cap_seconds: Annotated[float, POSITIVE] = 30
