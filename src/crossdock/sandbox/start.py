"""Starts one partner by its kind. `python -m crossdock.sandbox` and the command line both end here."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from crossdock.sandbox.carrier import Carrier
from crossdock.sandbox.faults import Faults
from crossdock.sandbox.listings import Listings
from crossdock.sandbox.marketplaces import Agora, Bazaar
from crossdock.sandbox.payment import PaymentProvider
from crossdock.sandbox.portal import CrossdockAccess, Portal
from crossdock.sandbox.service import Laboratory, Partner, RateLimit, serve
from crossdock.sandbox.shop import Shop
from crossdock.sandbox.storage import Storage
from crossdock.sandbox.tax import TaxEngine
from crossdock.sandbox.webhooks import WebhookSender
from crossdock.sandbox.wms import Pace, Warehouse
from crossdock.sandbox.world import WAREHOUSES, make_world


class PartnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to start one partner. Empty `api_key`: one is made and kept under `home`."""

    kind: str
    port: int
    home: str
    name: str = ""
    api_key: str = ""
    webhook_url: str = ""
    webhook_secret: str = ""
    rate_per_second: float | None = None
    carrier_url: str = ""
    carrier_key: str = ""
    crossdock: CrossdockAccess | None = None
    wave_interval_seconds: float = 4.0
    wave_on: bool = True
    warehouses: tuple[str, ...] = WAREHOUSES
    deliver_after_seconds: tuple[float, float] = (20.0, 60.0)
    follow_parent: bool = False


# Marketplaces limit everybody; the others take what they can.
RATES_PER_SECOND: Final[Mapping[str, float]] = MappingProxyType({"bazaar": 100.0, "agora": 100.0})



def _listings(storage: Storage, faults: Faults) -> Listings:
    return Listings(storage, make_world(), faults)


Maker = Callable[[PartnerSettings, Storage, WebhookSender | None, Faults], Partner]

PARTNERS: Final[Mapping[str, Maker]] = MappingProxyType({
    "shop": lambda _settings, storage, _sender, faults: Shop(storage, make_world(), _listings(storage, faults)),
    "bazaar": lambda _settings, storage, _sender, faults: Bazaar(storage, make_world(), _listings(storage, faults)),
    "agora": lambda _settings, storage, _sender, faults: Agora(storage, make_world(), _listings(storage, faults)),
    "portal": lambda settings, storage, _sender, faults: Portal(
        storage, settings.crossdock, _listings(storage, faults)
    ),
    "wms": lambda settings, storage, sender, _faults: Warehouse(
        storage, make_world(), sender, Pace(on=settings.wave_on, interval=settings.wave_interval_seconds),
        (settings.carrier_url, settings.carrier_key), settings.warehouses,
    ),
    "tax": lambda _settings, storage, _sender, _faults: TaxEngine(storage),
    "payment": lambda _settings, storage, _sender, _faults: PaymentProvider(storage),
    "carrier": lambda settings, storage, sender, _faults: Carrier(storage, sender, settings.deliver_after_seconds),
})  # fmt: skip


def run_partner(settings: PartnerSettings) -> None:
    """Run until SIGTERM or SIGINT."""
    Path(settings.home).mkdir(parents=True, exist_ok=True, mode=0o700)
    asyncio.run(_run(settings))


async def _run(settings: PartnerSettings) -> None:
    home = Path(settings.home)
    storage = Storage(home / f"{settings.name or settings.kind}.sqlite")
    faults = Faults()
    sender = None
    if settings.webhook_url:
        sender = WebhookSender(storage, faults, settings.webhook_url, settings.webhook_secret)
    api_key = settings.api_key or kept_key(home / f"{settings.name or settings.kind}.key")
    rate = settings.rate_per_second
    rate = RATES_PER_SECOND.get(settings.kind, 0.0) if rate is None else rate
    limit = RateLimit(rate, max(1.0, rate * 2))
    laboratory = Laboratory(settings.name or settings.kind, storage, faults, api_key, limit, sender)
    partner = PARTNERS[settings.kind](settings, storage, sender, faults)
    watch = asyncio.create_task(_follow_parent(os.getppid())) if settings.follow_parent else None
    await serve(laboratory, partner, settings.port, lambda port: _announce(laboratory.name, port))
    if watch is not None:
        watch.cancel()


def kept_key(path: Path) -> str:
    """The partner's API key: made at the first start, readable by its owner only."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii").strip()


def _announce(name: str, port: int) -> None:
    sys.stdout.write(f"{name} listens on http://127.0.0.1:{port}\n")
    sys.stdout.flush()


async def _follow_parent(parent: int) -> None:
    """End when the process that started us is gone, however it ended."""
    while os.getppid() == parent:  # noqa: ASYNC110 - the parent's end is no event that we could wait for
        await asyncio.sleep(1.0)
    os._exit(0)
