"""The front of a cell: the HTTP API with the console mounted in it, for the one kind of process that answers HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from litestar import Litestar

from crossdock.api.application import create_api
from crossdock.api.feed import ChangeFeed
from crossdock.api.services import AccountSource, ApiServices, WebhookDoor
from crossdock.app import Application
from crossdock.console.rendering import open_console
from crossdock.console.routes import console_routes
from crossdock.engine.control import Control
from crossdock.engine.ports import OpenConnection
from crossdock.kit.connector import LiveAccount, ReadAccount
from crossdock.kit.webhooks import WebhookSecrets, read_secrets
from crossdock.model.errors import Unavailable
from crossdock.policy.configuration import Configuration

LIVE_READS_MAX: Final = 4


def webhook_secrets(configuration: Configuration) -> dict[str, WebhookSecrets]:
    """The keys of every connection that may push to us."""
    return {
        name: read_secrets(connection.webhook_secrets, name)
        for name, connection in configuration.connections.items()
        if connection.webhook_secrets
    }


def live_accounts(connections: Sequence[OpenConnection], erp: str, control: Control) -> AccountSource | None:
    """Asks the ERP for accounts, a few at once and never while it is paused; None when it cannot be asked."""
    for opened in connections:
        read = opened.connector.read_account
        if opened.name == erp and read is not None:
            return _asking(read, opened, control)
    return None


def _asking(read: ReadAccount, opened: OpenConnection, control: Control) -> AccountSource:
    # The ERP has orders to take: however many ask at once, it sees few of them.
    room = asyncio.Semaphore(LIVE_READS_MAX)

    async def ask(code: str) -> LiveAccount:
        if await control.is_paused(opened.name):
            raise Unavailable("connection_paused", "The ERP is paused by an operator.")
        async with room:
            return await read(opened.client, code)

    return ask


@asynccontextmanager
async def open_api(application: Application, connections: Sequence[OpenConnection]) -> AsyncIterator[Litestar]:
    """The HTTP API with the console mounted in it."""
    configuration = application.configuration
    secrets = webhook_secrets(configuration)
    doors = {
        opened.name: WebhookDoor(secrets[opened.name], opened.connector.webhook.read, opened.client)
        for opened in connections
        if opened.connector.webhook is not None and opened.name in secrets
    }
    changes = ChangeFeed(application.pool)
    services = ApiServices(
        pool=application.pool, by_key=application.by_key, intake=application.intake, holds=application.holds,
        control=application.control, changes=changes, policy=configuration.policy,
        reference=application.acceptor.reference, clock=application.clock, webhooks=doors,
        availability=configuration.availability, metrics=application.metrics, tracing=application.tracing,
        documentation=configuration.cell.environment == "demo",
        account_source=live_accounts(connections, configuration.cell.erp, application.control),
    )  # fmt: skip
    console = open_console(
        application.pool, application.clock, application.control, secure=configuration.console.secure,
        policy=configuration.policy,
    )
    try:
        api = create_api(services, console_routes(console))
        api.state.close_before_stop = (console.live.close,)
        yield api
    finally:
        await changes.close()
        await console.live.close()
