"""The ERP's sandbox as a process, for all tests of a run: making it takes a minute."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crossdock.ledger.embedded import EmbeddedPostgres

VENV: Final = os.environ.get("CROSSDOCK_TEST_TRYTON_VENV", "")
FIRST_START_SECONDS_MAX: Final = 1500
START_SECONDS_MAX: Final = 180
END_SECONDS_MAX: Final = 60


@dataclass(slots=True)
class Erp:
    """One home of the ERP; started and ended as often as a test likes."""

    home: Path
    database_url: str
    process: subprocess.Popen[str] | None = None
    url: str = ""
    said: tuple[str, ...] = ()

    def spawn(self) -> queue.Queue[str]:
        """Start it; its lines come into the queue, the last one is empty."""
        command = [
            sys.executable, "-m", "crossdock.sandbox.tryton", "--home", str(self.home),
            "--database-url", self.database_url, "--venv", str(Path(VENV).absolute()),
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.process = process
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_read_lines, args=(process, lines), daemon=True).start()
        return lines

    def start(self, seconds_max: float) -> None:
        lines = self.spawn()
        said = read_until(lines, "listens on", seconds_max)
        self.said = tuple(said)
        self.url = said[-1].rpartition(" ")[2].strip()

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(END_SECONDS_MAX)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def inner_port(self) -> int:
        """Where Tryton itself listens, as its configuration says."""
        text = (self.home / "trytond.conf").read_text(encoding="utf-8")
        return int(text.partition("listen = 127.0.0.1:")[2].partition("\n")[0])


def _read_lines(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put("")


def read_until(lines: queue.Queue[str], text: str, seconds_max: float) -> list[str]:
    deadline = time.monotonic() + seconds_max
    said: list[str] = []
    while not said or text not in said[-1]:
        said.append(lines.get(timeout=max(0.1, deadline - time.monotonic())))
        assert said[-1], f"the ERP ended: {said}"
    return said


def wait_until(true: Callable[[], bool], seconds_max: float) -> bool:
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        if true():
            return True
        threading.Event().wait(0.1)
    return False


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def open_erp(home: Path) -> Iterator[Erp]:
    """On a database server of its own, as Tryton's database has a fixed name: told to stop once while it initialises,
    then seeded, then running."""
    postgres = EmbeddedPostgres(home / "postgres", durable=False)
    found = Erp(home / "erp", postgres.start())
    try:
        read_until(found.spawn(), "initialising", START_SECONDS_MAX)
        assert found.end(signal.SIGTERM) == 0, "told to stop while it initialises"
        found.start(FIRST_START_SECONDS_MAX)
        yield found
    finally:
        if found.is_running:
            found.end(signal.SIGKILL)
        postgres.stop()
