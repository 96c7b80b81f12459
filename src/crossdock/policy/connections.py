"""Partner systems as configured: address and secrets, pace, feeds; and the cell and its validation services."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from crossdock.policy.resilience import POSITIVE


class FeedPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Overrides of a feed's declared pace; `stale_after_seconds` is when its age is worth a warning."""

    interval_seconds: Annotated[float, POSITIVE] | None = None
    stale_after_seconds: Annotated[float, POSITIVE] | None = None


class ConnectionPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`system` names the connector, `settings` are its own. `webhook_secrets`: newest first, several while rotating.

    `referenced` are the settings that came from the environment or a file: a connector's secrets must be among them.
    """

    system: str
    settings: dict[str, Any] = {}
    calls_per_second: Decimal | None = None
    burst: Decimal = Decimal(10)
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256)] = 4
    webhook_secrets: tuple[str, ...] = ()
    feeds: dict[str, FeedPolicy] = {}
    referenced: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # Settings hold secrets once they are resolved.
        return f"ConnectionPolicy(system={self.system!r}, settings={sorted(self.settings)})"


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Crossdock with its database. `erp` is the connection whose silence is shown as "waiting for ERP since"."""

    name: str
    environment: Literal["demo", "production"]
    erp: str = "erp"


class AvailabilityPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The validation services answer from the ledger within `deadline_seconds` and say how old their data is.

    `live_erp`: "never", or "when_asked" (the caller asks for a live answer; it has `live_deadline_seconds`, after which
    `fallback` counts: the ledger's figures, labelled so, or a refusal).
    """

    deadline_seconds: Annotated[float, POSITIVE] = 1
    live_erp: Literal["never", "when_asked"] = "never"
    live_deadline_seconds: Annotated[float, POSITIVE] = 2
    fallback: Literal["ledger", "refuse"] = "ledger"
