"""What follows a failed call, by the class of its error.

    unavailable    retry   the partner did nothing; wait, then send again
    in_doubt       probe   it may have taken effect; wait until it has settled, then ask
    refused        fail    the business said no: the plan compensates, or a person decides
    invalid, conflict, misconfigured, defect
                   park    trying again cannot help until somebody has acted

A misconfigured connection parks its steps instead of trying slowly: wrong credentials repeated get accounts locked, and
the steps are replayed together, by connection and code, once the operator has mended it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from crossdock.model.errors import CrossdockError, Unavailable
from crossdock.policy.resilience import RetryRule, RetryTable

Action = Literal["retry", "probe", "park", "fail"]
ACTIONS: Final[Mapping[str, Action]] = MappingProxyType({
    "unavailable": "retry", "in_doubt": "probe", "refused": "fail", "invalid": "park", "conflict": "park",
    "misconfigured": "park", "defect": "park",
})  # fmt: skip
# The exponent is bounded so that a step that fails for weeks does not overflow.
_GROWTHS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Move:
    action: Action
    after_seconds: float = 0


def next_move(
    error: CrossdockError, failures: int, jitter_seconds: float, table: RetryTable, settle_seconds: float = 0
) -> Move:
    """Decide what follows `error` after `failures` earlier ones.

    `jitter_seconds` is a random number in [0, 1): it spreads the waits, so that not all come back at once.
    """
    action = ACTIONS[error.kind]
    if action in ("park", "fail"):
        return Move(action)
    rule = table.codes.get(error.code) or (table.unavailable if action == "retry" else table.in_doubt)
    if not isinstance(rule, RetryRule) or (rule.attempts_max and failures + 1 >= rule.attempts_max):
        return Move("park")
    # Between half and all of the grown base, so that it is never nothing.
    grown_seconds = min(rule.base_seconds * rule.factor ** min(failures, _GROWTHS_MAX), rule.cap_seconds)
    wait_seconds = grown_seconds * (1 + jitter_seconds) / 2
    if isinstance(error, Unavailable) and error.retry_after_seconds is not None:
        # The partner's own word beats ours.
        return Move(action, error.retry_after_seconds + jitter_seconds * min(wait_seconds, 1))
    return Move(action, max(wait_seconds, settle_seconds) if action == "probe" else wait_seconds)
