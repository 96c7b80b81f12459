"""The supervisor's parts on real processes: started again, dying with their parent, database put to rest."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from crossdock.cli.children import Child, Program
from crossdock.cli.home import Home, database_address, find_home, locked
from crossdock.cli.postgres import PostgresWatch
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.model.errors import Misconfigured

pytestmark = pytest.mark.process
SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(300)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)",
)


async def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what another process does is no event of ours
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_killed_child_is_started_again_and_it_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child(Program("sleeper", SLEEPER, tmp_path / "sleeper.log"), said.append)
    child.start()
    await until(lambda: child.pid != 0)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.pid not in (0, first))
    second = child.pid
    await child.stop()
    assert not is_alive(second)
    assert "sleeper was killed; starting it again" in said[0]


async def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "stubborn.log"
    child = Child(Program("stubborn", STUBBORN, log, stop_seconds=0.3), lambda _: None)
    child.start()
    await until(lambda: log.exists() and b"up" in log.read_bytes())
    pid = child.pid
    await child.stop()
    assert not is_alive(pid)


async def test_a_program_that_is_done_is_not_started_again(tmp_path: Path) -> None:
    child = Child(
        Program("once", (sys.executable, "-c", "raise SystemExit(7)"), tmp_path / "once.log", again=False), print
    )
    child.start()
    assert await child.wait() == 7


PARENT = """
import asyncio, sys
from pathlib import Path
from crossdock.cli.children import Program, spawn
async def main():
    child = await spawn(Program("c", (sys.executable, "-c", "import time; time.sleep(300)"), Path(sys.argv[1])))
    print(child.pid, flush=True)
    await asyncio.sleep(300)
asyncio.run(main())
"""


async def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    parent = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
        [sys.executable, "-c", PARENT, str(tmp_path / "c.log")], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    await until(lambda: not is_alive(pid))


def test_a_second_run_in_the_same_home_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with locked(home, "run"), pytest.raises(Misconfigured) as caught, locked(home, "run"):
        pass
    assert caught.value.code == "already_running"
    assert str(os.getpid()) in caught.value.message
    with locked(home, "run"):
        pass


@pytest.mark.parametrize("port", ["x", "80", "99999", "-1"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(Misconfigured):
        find_home({"CROSSDOCK_PORT": port})


def test_without_a_database_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        database_address(Home(tmp_path), {})
    assert "crossdock run --demo" in caught.value.next_action


@pytest.mark.slow
async def test_a_killed_postgres_comes_back_and_keeps_what_was_committed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.directory.mkdir()
    said: list[str] = []
    watch = PostgresWatch(home, said.append)
    await watch.start()
    address = await watch.ensure_database()
    connection = await asyncpg.connect(address)
    await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    postmaster = int((home.postgres / "postmaster.pid").read_text().split("\n")[0])
    os.kill(postmaster, signal.SIGKILL)
    await until(lambda: "PostgreSQL is up again" in said)
    connection.terminate()
    again = await asyncpg.connect(address)
    assert await again.fetchval("SELECT id FROM kept") == 7
    await again.close()
    await watch.stop()
    assert not EmbeddedPostgres(home.postgres).is_running()


@pytest.mark.slow
async def test_a_database_that_is_still_ending_when_it_is_started_again_is_waited_for(tmp_path: Path) -> None:
    """Its start failed with `lock file "postmaster.pid" already exists`, and who had asked for it ended."""
    server = EmbeddedPostgres(tmp_path / "pg")
    connection = await asyncpg.connect(await asyncio.to_thread(server.start))
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    postmaster = int((tmp_path / "pg" / "postmaster.pid").read_text().split("\n")[0])
    # One that does not go keeps the server from ending for five seconds.
    os.kill(backend, signal.SIGSTOP)
    os.kill(postmaster, signal.SIGQUIT)
    address = await asyncio.to_thread(server.start)
    connection.terminate()
    again = await asyncpg.connect(address)
    await again.close()
    await asyncio.to_thread(server.stop)
    assert not is_alive(postmaster)
    assert not server.is_running()


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from crossdock.cli.home import Home, locked
from crossdock.cli.postgres import PostgresWatch
async def main(home):
    await PostgresWatch(home, print).start()
    print("up", flush=True)
    await asyncio.sleep(300)
home = Home(Path(sys.argv[1]))
with locked(home, "run"):
    asyncio.run(main(home))
"""


@pytest.mark.slow
def test_the_database_is_put_to_rest_after_a_killed_supervisor(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(home.directory)], stdout=subprocess.PIPE, text=True
    )
    with supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "up\n"
        supervisor.kill()
    deadline = time.monotonic() + 120
    while (home.postgres / "postmaster.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not EmbeddedPostgres(home.postgres).is_running()
    # The next run waits for the watchdog instead of taking it for another run.
    with locked(home, "run"):
        pass
