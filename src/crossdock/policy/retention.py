"""How long is kept what nobody needs any more."""

from __future__ import annotations

from typing import Annotated

import msgspec


class RetentionPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`state_facts_hours`: reports of state that were applied (products, customers, prices, balances). Each is followed
    by a newer one, and an older one that comes again changes nothing. Orders, shipments and what is parked are kept.

    At least a day: connectors that read everything again count the same row once a day.
    """

    state_facts_hours: Annotated[int, msgspec.Meta(ge=24, le=24 * 3660)] = 48
