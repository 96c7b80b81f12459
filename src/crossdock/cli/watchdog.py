"""Puts the embedded PostgreSQL to rest when its supervisor is gone, however it went.

The supervisor holds the writing end of our standard input; the end of that pipe is the end of the supervisor. The
other children are killed by the kernel (see `children`), but a database wants to be stopped in order.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from crossdock.cli.home import Home, locked
from crossdock.ledger.embedded import EmbeddedPostgres
from crossdock.model.errors import Misconfigured


def main() -> None:
    # Ctrl-C and friends are meant for the supervisor, whose end we wait for.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    home = Home(Path(sys.argv[1]))
    supervisor = str(os.getppid())
    while sys.stdin.buffer.read(1024):
        pass
    try:
        # The kernel closes the supervisor's pipe a moment before it releases its lock.
        with locked(home, "watchdog", after=supervisor):
            EmbeddedPostgres(home.postgres).stop()
    except Misconfigured:
        # The next run has begun and looks after the database itself.
        return


if __name__ == "__main__":
    main()
