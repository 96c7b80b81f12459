"""A partner of one's own in the test's process: its routes over a storage, with key, write log and fault plan.

    async with open_partner(Acme, folder) as partner:
        settings = {"url": partner.url, "key": partner.key}

It is what the conformance suite of the kit asks for: it tells how many effects there are, and misbehaves as it is told.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from crossdock.sandbox.faults import FaultPlan, Faults
from crossdock.sandbox.service import Laboratory, Partner, RateLimit, make_application
from crossdock.sandbox.storage import LOG_PAGE, LogEntry, Storage


@dataclass(frozen=True, slots=True)
class PartnerInTest:
    """One running partner and the receiving side's view of it."""

    partner: Partner
    url: str
    key: str = field(repr=False)
    storage: Storage
    faults: Faults

    def read_log(self) -> list[LogEntry]:
        """Everything that was ever written at the partner, oldest first."""
        found: list[LogEntry] = []
        while page := self.storage.read_log(found[-1].sequence if found else 0, LOG_PAGE):
            found.extend(page)
        return found

    async def effects(self, kind: str, number: str) -> int:
        entries = [entry for entry in self.read_log() if entry.kind == kind]
        return sum(number in entry.business_key or number.encode() in bytes(entry.document) for entry in entries)

    async def misbehave(self, plan: Mapping[str, Any]) -> None:
        self.faults.follow(msgspec.convert(dict(plan), FaultPlan))


@asynccontextmanager
async def open_partner(make: Callable[[Storage], Partner], folder: Path) -> AsyncIterator[PartnerInTest]:
    """Run it on a free port of this machine until the block ends."""
    storage, faults, key = Storage(folder / "partner.sqlite"), Faults(), secrets.token_urlsafe(24)
    partner = make(storage)
    laboratory = Laboratory("tested", storage, faults, key, RateLimit(0, 1), None)
    runner = web.AppRunner(make_application(laboratory, partner), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield PartnerInTest(partner, f"http://127.0.0.1:{runner.addresses[0][1]}", key, storage, faults)
    finally:
        await runner.cleanup()
        storage.close()
