"""A server and a database for simulations: nothing is written through to the disk, nothing happens by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from crossdock.ledger import proof
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.ledger.migrate import migrate
from crossdock.prove.rig import Rig


async def _prepare(server: EmbeddedPostgres, address: str) -> str:
    connection = await asyncpg.connect(address)
    try:
        await proof.drop_database(connection, "proof")
        await proof.create_database(connection, "proof")
    finally:
        await connection.close()
    await migrate(server.dsn("proof"))
    return server.dsn("proof")


@pytest.fixture(scope="session")
def simulation_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("simulation") / "data", durable=False)
    address = server.start()
    try:
        yield asyncio.run(_prepare(server, address))
    finally:
        server.stop()


@pytest.fixture
def rig(simulation_address: str) -> Iterator[Rig]:
    opened = Rig(simulation_address)
    try:
        yield opened
    finally:
        opened.close()
