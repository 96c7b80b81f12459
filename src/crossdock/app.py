"""The composition root: the only place that names concrete connectors and puts the parts together.

Nothing is made at import time. `open_application` builds what API and worker share, `open_connections` opens the
partners' clients, `make_worker` the worker.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Final

import asyncpg

from crossdock.connectors.agora import declaration as agora
from crossdock.connectors.bazaar import declaration as bazaar
from crossdock.connectors.carrier import declaration as carrier
from crossdock.connectors.payment import declaration as payment
from crossdock.connectors.portal import declaration as portal
from crossdock.connectors.shop import declaration as shop
from crossdock.connectors.tax import declaration as tax
from crossdock.connectors.tryton import declaration as tryton
from crossdock.connectors.wms import declaration as wms
from crossdock.console.users import password_matches, place_user
from crossdock.engine.clock import open_clock
from crossdock.engine.comparison import Reconciler
from crossdock.engine.control import Control
from crossdock.engine.decider import Decider
from crossdock.engine.holds import Holds
from crossdock.engine.intake import Acceptor, Intake
from crossdock.engine.poller import Poller
from crossdock.engine.ports import Clock, OpenConnection, PlanBook, system_clock
from crossdock.engine.publisher import Publisher
from crossdock.engine.releases import StockHolds
from crossdock.engine.retention import Sweeper
from crossdock.engine.runner import Runner
from crossdock.engine.worker import Worker, make_known
from crossdock.insight.telemetry.metrics import Metrics
from crossdock.insight.telemetry.observed import MeasuredRecorder, traced
from crossdock.insight.telemetry.traces import Tracing
from crossdock.kit.connector import Connector
from crossdock.kit.settings import decode_settings
from crossdock.kit.webhooks import read_secrets
from crossdock.ledger.clients import ApiClient, place_client
from crossdock.ledger.database import Queries, open_pool
from crossdock.ledger.migrate import migrate
from crossdock.ledger.patience import WAIT_SECONDS_MAX, patiently
from crossdock.ledger.reference import ReferenceCache
from crossdock.model.errors import Misconfigured
from crossdock.policy.configuration import Configuration
from crossdock.rules.ownership import compile_ownership

CONNECTORS: Final[tuple[Connector, ...]] = (
    tryton.CONNECTOR, shop.CONNECTOR, bazaar.CONNECTOR, agora.CONNECTOR, portal.CONNECTOR, wms.CONNECTOR, tax.CONNECTOR,
    payment.CONNECTOR, carrier.CONNECTOR,
)  # fmt: skip
ENTRY_POINTS: Final = "crossdock.connectors"
_USERS: Final = Queries.load("console_users")


@dataclass(frozen=True, slots=True)
class Application:
    """What every process of Crossdock is made of. `by_key` is a pool of which the plans are kept (`open_pool`)."""

    configuration: Configuration
    pool: asyncpg.Pool[Any]
    by_key: asyncpg.Pool[Any]
    plans: PlanBook
    acceptor: Acceptor
    intake: Intake
    holds: Holds
    control: Control
    metrics: Metrics
    tracing: Tracing
    clock: Clock


def find_connectors() -> dict[str, Connector]:
    """Our own connectors and those of installed packages, by system. Raises Misconfigured for two of one name."""
    found: dict[str, Connector] = {}
    others = [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    for connector in (*CONNECTORS, *others):
        if connector.system in found:
            raise Misconfigured(
                "connector_twice", f"Two connectors are named {connector.system}.",
                next_action="Uninstall one of the packages.",
            )  # fmt: skip
        found[connector.system] = connector
    return found


def plan_book(configuration: Configuration) -> PlanBook:
    """Plans by name, and where channels and warehouses are connected."""
    policy = configuration.policy
    return PlanBook(
        plans=policy.plans.by_name,
        channel_connections={name: channel.connection for name, channel in policy.channels.items()},
        warehouse_connections={code: location.connection for code, location in policy.locations.items()},
        ownership=compile_ownership(policy.stock),
        told_channels=frozenset(name for name, stock in policy.stock.channels.items() if stock.publish),
    )


def check_configuration(configuration: Configuration, connectors: Mapping[str, Connector]) -> list[Misconfigured]:
    """What the declarations of the connectors say against the configuration; empty when all fits."""
    return [
        *_connection_problems(configuration, connectors), *_plan_problems(configuration, connectors),
        *_owner_problems(configuration, connectors), *_told_problems(configuration, connectors),
    ]  # fmt: skip


def _connection_problems(configuration: Configuration, connectors: Mapping[str, Connector]) -> Iterator[Misconfigured]:
    for name, connection in configuration.connections.items():
        connector = connectors.get(connection.system)
        if connector is None:
            yield Misconfigured(
                "system_unknown", f"There is no connector for the system {connection.system!r}.",
                field=f"connections.{name}.system", next_action=f"Use one of {', '.join(sorted(connectors))}.",
            )  # fmt: skip
            continue
        plain = sorted(set(connector.secrets) & set(connection.settings) - set(connection.referenced))
        if plain:
            yield Misconfigured(
                "secret_plain", f"The secret {plain[0]} of {name} stands in the configuration itself.",
                field=f"connections.{name}.settings.{plain[0]}",
                next_action='Write { env = "NAME" } and set that variable.',
            )  # fmt: skip
        unknown = sorted(set(connection.feeds) - {feed.name for feed in connector.feeds})
        if unknown:
            yield Misconfigured(
                "feed_unknown", f"{connector.title} has no feed {unknown[0]!r}.",
                field=f"connections.{name}.feeds.{unknown[0]}",
                next_action=f"Use one of {', '.join(feed.name for feed in connector.feeds) or 'none'}.",
            )  # fmt: skip
        try:
            decode_settings(connector, name, connection.settings)
            if connector.webhook is not None and connection.webhook_secrets:
                read_secrets(connection.webhook_secrets, name)
        except Misconfigured as error:
            inner = "" if error.field == "webhook_secrets" else "settings."
            error.field = f"connections.{name}.{inner}{error.field}"
            yield error


def _plan_problems(configuration: Configuration, connectors: Mapping[str, Connector]) -> Iterator[Misconfigured]:
    policy = configuration.policy
    stands_for = {
        "@channel": sorted({channel.connection for channel in policy.channels.values()}),
        "@warehouse": sorted({location.connection for location in policy.locations.values()}),
    }
    for plan in policy.plans.by_name.values():
        for step in (*plan.steps, *plan.shipment_steps):
            targets = stands_for.get(step.connection, [step.connection])
            able = []
            for target in targets:
                connection = configuration.connections.get(target)
                connector = connectors.get(connection.system) if connection is not None else None
                if connector is not None and any(known.name == step.operation for known in connector.operations):
                    able.append(target)
            # Which channels take a plan is decided by its condition; that one of them can do it is all we know here.
            if not able:
                yield Misconfigured(
                    "operation_unknown", f"Plan {plan.name} wants {step.operation}, which {step.connection} cannot do.",
                    field=f"plans.{plan.name}", next_action="Name a connection whose system has this operation.",
                )  # fmt: skip


def _owner_problems(configuration: Configuration, connectors: Mapping[str, Connector]) -> Iterator[Misconfigured]:
    """What tells an owner of stock must be an operation of its own system."""
    for index, owner in enumerate(configuration.policy.stock.owners):
        connection = configuration.connections.get(owner.connection)
        connector = connectors.get(connection.system) if connection is not None else None
        if connector is None or not owner.told_by:
            continue
        known = [operation.name for operation in connector.operations]
        if owner.told_by not in known:
            yield Misconfigured(
                "operation_unknown", f"{connector.title} has no operation {owner.told_by}.",
                field=f"stock.owners[{index}].told_by", next_action=f"Use one of {', '.join(known) or 'none'}.",
            )  # fmt: skip


def _told_problems(configuration: Configuration, connectors: Mapping[str, Connector]) -> Iterator[Misconfigured]:
    """Channels that are to be told stock must exist, and their systems must be able to hear it."""
    for name, stock in configuration.policy.stock.channels.items():
        channel = configuration.policy.channels.get(name)
        if channel is None:
            yield Misconfigured(
                "channel_unknown", f"Stock is to be told to {name!r}, which is no channel.",
                field=f"stock.channels.{name}",
                next_action=f"Use one of {', '.join(sorted(configuration.policy.channels))}.",
            )  # fmt: skip
            continue
        connection = configuration.connections.get(channel.connection)
        connector = connectors.get(connection.system) if connection is not None else None
        if stock.publish and connector is not None and connector.stock is None:
            yield Misconfigured(
                "stock_untellable", f"{connector.title} cannot be told stock.", field=f"stock.channels.{name}",
                next_action="Write publish = false, or use a connector that declares a stock lane.",
            )  # fmt: skip


@asynccontextmanager
async def open_application(
    configuration: Configuration, dsn: str, *, pool_size: int = 10, tracing: Tracing | None = None,
    metrics: Metrics | None = None, is_service: bool = False, by_key_pool_size: int = 0,
) -> AsyncIterator[Application]:  # fmt: skip
    """Open the pool and build what does not depend on partners. Raises Misconfigured with the first problem.

    A service goes on beside others, and begins at the time where they are. Who answers orders and questions for
    availability all the time has a pool `by_key` for them.
    """
    problems = check_configuration(configuration, find_connectors())
    if problems:
        raise problems[0]
    with ExitStack() as opened:
        # Terminated, not closed: a query that hangs must not keep the process from ending.
        wait_seconds = WAIT_SECONDS_MAX if is_service else 0.0
        pool = by_key = await patiently(lambda: open_pool(dsn, size=pool_size), wait_seconds)
        opened.callback(pool.terminate)
        if by_key_pool_size:
            by_key = await patiently(lambda: open_pool(dsn, size=by_key_pool_size, by_key=True), wait_seconds)
            opened.callback(by_key.terminate)
        clock = await patiently(lambda: open_clock(pool, has_peers=is_service))
        following = asyncio.create_task(clock.keep_following(pool), name="clock")
        opened.callback(following.cancel)
        plans = plan_book(configuration)
        acceptor = Acceptor(configuration.policy, plans, ReferenceCache(), clock)
        async with (
            Intake(pool, acceptor, clock, by_key) as intake,
            Holds(pool, configuration.policy, acceptor.reference, clock) as holds,
        ):
            yield Application(
                configuration, pool, by_key, plans, acceptor, intake, holds, Control(pool, acceptor, plans),
                metrics or Metrics(), tracing or Tracing(), clock,
            )  # fmt: skip


@asynccontextmanager
async def open_connections(configuration: Configuration, tracing: Tracing) -> AsyncIterator[list[OpenConnection]]:
    """Open the client of every configured partner; opening calls nobody."""
    connectors = find_connectors()
    async with AsyncExitStack() as stack:
        opened = []
        for name, connection in configuration.connections.items():
            connector = connectors[connection.system]
            settings = decode_settings(connector, name, connection.settings)
            client = await stack.enter_async_context(connector.open(settings))
            pace = connection.calls_per_second
            feed_seconds = {
                feed: given.interval_seconds for feed, given in connection.feeds.items() if given.interval_seconds
            }
            opened.append(OpenConnection(
                name, traced(connector, name, tracing), client, calls_per_second=float(pace) if pace else None,
                burst=float(connection.burst), concurrency=connection.concurrency, feed_seconds=feed_seconds,
            ))  # fmt: skip
        yield opened


async def prepare_database(
    dsn: str, user: str, password: str, clients: Sequence[tuple[ApiClient, str]], clock: Clock = system_clock
) -> None:
    """Bring the tables up to date; make the console's first user and the API clients, with their secrets, known.

    A user whose password has not changed stays signed in.
    """
    await migrate(dsn)
    pool = await open_pool(dsn, size=2)
    try:
        kept = await pool.fetchrow(_USERS["read_user"], user)
        if kept is None or not await password_matches(password, kept["password_hash"]):
            await place_user(pool, user, password, "operator")
        for client, secret in clients:
            await place_client(pool, client, secret, clock())
    finally:
        pool.terminate()


async def make_worker(application: Application, connections: Sequence[OpenConnection], name: str) -> Worker:
    """A worker for all connections; what is configured is made known to the ledger first."""
    configuration, pool, clock = application.configuration, application.pool, application.clock
    await make_known(pool, connections)
    recorder = MeasuredRecorder(
        pool, application.plans, configuration.retry, configuration.breaker, clock, random.random, application.metrics
    )
    runner = Runner(pool, connections, recorder, name, clock, random.random)
    poller = Poller(pool, connections, name, clock, application.metrics)
    decider = Decider(pool, application.acceptor, application.plans, clock, application.metrics)
    publisher = Publisher(pool, connections, configuration.policy, name, clock)
    sweeper = Sweeper(pool, configuration.retention, clock)
    reconciler = Reconciler(pool, connections, configuration.policy.stock, publisher.calls_per_second, clock)
    stock_holds = StockHolds(pool, application.acceptor, application.plans, clock)
    return Worker(pool, decider, runner, poller, name, clock, publisher, sweeper, reconciler, stock_holds)
