"""A real PostgreSQL for every test that asks for one, and a fresh migrated database for each.

`postgres_url` starts the embedded server once per run (or takes CROSSDOCK_TEST_DATABASE_URL, a superuser's address);
`database_url` copies a migrated template, which takes a fraction of the time of migrating, and drops the copy again.
The ledger is imported inside the fixtures so that the pure tests never load it.

`make test` runs the tests in several processes (pytest-xdist). Each has a PostgreSQL of its own; tests that share
something dear to make, such as an ERP, stay together.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from xdist.scheduler import LoadScopeScheduling

TEMPLATE = "crossdock_template"
# Tests that share what takes long to make, by the beginning of their name: each group runs in one process, in this
# order, the longest first.
TOGETHER = {
    "tests/e2e/test_erp_kill.py": "demonstration",
    "tests/e2e/test_run.py": "demonstration",
    # The second goes on with the ERP that the first has made and looked at.
    "tests/integration/test_tryton_sandbox.py": "erp",
    "tests/conformance/test_tryton.py": "erp",
    # Each with a server of its own, which takes a second.
    "tests/integration/prove/test_thousand_seeds.py::TestFirstHalf": "first seeds",
    "tests/integration/prove/test_thousand_seeds.py::TestSecondHalf": "second seeds",
    "tests/integration/prove/": "simulation",
    "tests/conformance/": "partners",
}
Filled = TypeVar("Filled")
_numbers = itertools.count(1)


def place_of(nodeid: str) -> int:
    """Its place in TOGETHER; after all of them when it is in none."""
    return next((place for place, start in enumerate(TOGETHER) if nodeid.startswith(start)), len(TOGETHER))


def group_of(nodeid: str) -> str | None:
    return [*TOGETHER.values(), None][place_of(nodeid)]


class Together(LoadScopeScheduling):
    """A group, or else a file, is run by one process."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs long begins first, so that no process is left alone at the end."""
    items.sort(key=lambda item: (place_of(item.nodeid), item.get_closest_marker("slow") is None))


def address_of(server: str, database: str) -> str:
    """The same server's address with another database's name."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{database}"))


async def execute(address: str, statement: str) -> None:
    """One statement outside a transaction, on a connection of its own."""
    connection = await asyncpg.connect(address)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server, as its superuser."""
    external = os.environ.get("CROSSDOCK_TEST_DATABASE_URL")
    if external:
        yield external
        return
    from crossdock.ledger.embedded import EmbeddedPostgres  # noqa: PLC0415

    # Real, but not made to survive a power cut: each test has a database of its own, and writing through takes longest.
    server = EmbeddedPostgres(tmp_path_factory.mktemp("pg") / "data", durable=False)
    address = server.start()
    try:
        yield address
    finally:
        server.stop()


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """The name of a migrated, empty database that is only ever copied."""
    from crossdock.ledger.migrate import migrate  # noqa: PLC0415

    async def prepare() -> None:
        await execute(postgres_url, f"DROP DATABASE IF EXISTS {TEMPLATE}")
        await execute(postgres_url, f"CREATE DATABASE {TEMPLATE}")
        await migrate(address_of(postgres_url, TEMPLATE))

    asyncio.run(prepare())
    return TEMPLATE


@pytest.fixture(scope="session")
def erp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The ERP's sandbox, made once."""
    from tests.erp_process import open_erp  # noqa: PLC0415

    with open_erp(tmp_path_factory.mktemp("erp")) as found:
        yield found


@asynccontextmanager
async def copy_of(server: str, template: str) -> AsyncIterator[str]:
    """The address of a copy of this database, while the block runs."""
    name = f"crossdock_{os.getpid()}_{next(_numbers)}"
    await execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield address_of(server, name)
    finally:
        await execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def make_template(server: str, empty: str, name: str, fill: Callable[[str], Awaitable[Filled]]) -> Filled:
    """A database that is filled once and only ever copied; for tests that all begin with the same rows."""

    async def prepare() -> Filled:
        await execute(server, f"DROP DATABASE IF EXISTS {name}")
        await execute(server, f"CREATE DATABASE {name} TEMPLATE {empty}")
        return await fill(address_of(server, name))

    return asyncio.run(prepare())


@pytest.fixture
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """The address of a fresh, migrated, empty database of this test's own."""
    async with copy_of(postgres_url, template_database) as address:
        yield address
