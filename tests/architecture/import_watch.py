"""Imports the named modules one by one and reports what their module-level code does to the outside world.

Run as a program by `test_style.py`, because an audit hook can never be taken away again. What a third-party library
does while it is imported is not ours: the stack is searched only up to the next import.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import FrameType
from typing import Any

OUR_PACKAGE = "crossdock"
EFFECTS = frozenset({
    "socket.bind", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.fork", "os.mkdir",
    "os.remove", "os.rename", "os.putenv", "shutil.rmtree", "sqlite3.connect", "_thread.start_new_thread",
    "_thread.start_joinable_thread", "signal.pthread_kill",
})  # fmt: skip
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT

found: list[str] = []


def responsible_module(frame: FrameType | None) -> str:
    """The module of ours whose top-level code is running, or nothing when a library was being imported."""
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            return ""
        name = str(frame.f_globals.get("__name__", ""))
        if frame.f_code.co_name == "<module>" and name.partition(".")[0] == OUR_PACKAGE:
            return name
        frame = frame.f_back
    return ""


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITE_FLAGS)
    if event in EFFECTS or writes:
        module = responsible_module(sys._getframe(1))
        if module:
            found.append(f"{module}: {event} {arguments!r}")


if __name__ == "__main__":
    sys.addaudithook(watch)
    for module_name in sys.argv[1:]:
        importlib.import_module(module_name)
    print("\n".join(found))
    sys.exit(1 if found else 0)
