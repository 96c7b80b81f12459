"""Whose word counts about stock: owners of places in force at a time, and what their balances contain.

Compiled once from the policy of stock into tables that SQL and rules can join; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from crossdock.policy.stock import StockOwner, StockPolicy
from crossdock.rules.plan import COMPENSATION


class Containing(msgspec.Struct, frozen=True):
    """How a source's balance of a location is compared with movements. `told`: with the time of its acknowledgment;
    otherwise with the time at which goods moved."""

    location: str
    source: str
    told: bool
    skew: timedelta


class Telling(msgspec.Struct, frozen=True):
    """The success of `operation` tells the owner of `location`: of departures, of an order (`kind` "commitment"), or
    that an order was cancelled."""

    operation: str
    location: str
    source: str
    kind: str


@dataclass(frozen=True, slots=True)
class Ownership:
    """`telling` says which operations tell which places; `told_by` location -> the operation that departures wait for
    ("" or absent: nobody needs to be told)."""

    policy: StockPolicy
    containing: tuple[Containing, ...]
    telling: Mapping[str, tuple[Telling, ...]]
    told_by: Mapping[str, str]

    def owner_of(self, location: str, at: datetime) -> StockOwner | None:
        return self.policy.owner_of(location, at)

    def counts(self, source: str, location: str, at: datetime) -> bool:
        """Whether this source's word on what was counted at `at` is the owner's. Without an owner everyone's is."""
        owner = self.policy.owner_of(location, at)
        return owner is None or owner.connection == source

    def skew(self, source: str, location: str, at: datetime) -> timedelta:
        """How far the owner's clock may be from ours."""
        owner = self.policy.owner_of(location, at)
        if owner is None or owner.connection != source:
            return timedelta(0)
        return _skew(owner)

    def commits(self, telling: Telling, at: datetime) -> bool:
        """Whether the owner now in force takes orders into its books by this operation."""
        owner = self.policy.owner_of(telling.location, at)
        return owner is not None and owner.contains == "orders" and owner.told_by == telling.operation


def last_moment(at: datetime) -> datetime:
    """The latest time that `at` can mean. Many warehouses write down when goods left in whole seconds, cut off: a
    balance of the same second, counted before they left, must not pass for one that contains it."""
    return at if at.microsecond else at.replace(microsecond=999_999)


def compile_ownership(policy: StockPolicy) -> Ownership:
    containing: dict[tuple[str, str], Containing] = {}
    telling: dict[str, list[Telling]] = {}
    told_by: dict[str, str] = {}
    for owner in sorted(policy.owners, key=lambda owner: owner.since):
        place = (owner.location, owner.connection)
        containing[place] = Containing(*place, bool(owner.told_by), _skew(owner))
        if not owner.told_by:
            continue
        # The last of several owners who are told is the one that goods which leave now will be asked of.
        told_by[owner.location] = owner.told_by
        kinds = ["departure"]
        if owner.contains == "orders":
            kinds.append("commitment")
            undo = COMPENSATION.get(owner.told_by)
            if undo is not None:
                telling.setdefault(undo, []).append(Telling(undo, owner.location, owner.connection, "cancellation"))
        for kind in kinds:
            told = Telling(owner.told_by, owner.location, owner.connection, kind)
            telling.setdefault(owner.told_by, []).append(told)
    distinct = {name: tuple(dict.fromkeys(rows)) for name, rows in telling.items()}
    return Ownership(policy, tuple(containing.values()), distinct, told_by)


def _skew(owner: StockOwner) -> timedelta:
    return timedelta(milliseconds=int(owner.clock_skew_seconds * 1000))


NO_OWNERS: Final = compile_ownership(StockPolicy())
