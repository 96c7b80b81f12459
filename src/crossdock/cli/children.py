"""Child processes of the supervisor: started, watched, started again with growing pauses, stopped in order.

A child dies with the supervisor even when that is killed without warning: the kernel sends it SIGKILL
(PR_SET_PDEATHSIG). Every child has a session of its own, so that Ctrl-C reaches the supervisor alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PAUSE_SECONDS_FIRST: Final = 0.3
PAUSE_SECONDS_MAX: Final = 20.0
STEADY_SECONDS: Final = 30.0
LOG_BYTES_MAX: Final = 20 * 1024 * 1024
_PR_SET_PDEATHSIG: Final = 1
_STOP: Final = {signal.SIGTERM: "asked to end", signal.SIGKILL: "killed"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. Its output goes to `log`; `stop_seconds` after SIGTERM it is killed."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 15.0
    again: bool = True


class Child:
    """One program that is kept running until `stop`."""

    def __init__(self, program: Program, say: Say) -> None:
        self.program = program
        self._say = say
        self._stopping = False
        self._running: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[int] | None = None

    @property
    def pid(self) -> int:
        return self._running.pid if self._running is not None and self._running.returncode is None else 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running(), name=self.program.name)

    async def wait(self) -> int:
        """The exit code of a program that is not started again."""
        return await self._task if self._task is not None else 0

    @property
    def ended(self) -> bool:
        return self._task is not None and self._task.done()

    async def stop(self) -> None:
        """Ask it to end, wait, and kill it if it does not."""
        self._stopping = True
        running = self._running
        if running is not None and running.returncode is None:
            with suppress(ProcessLookupError):
                running.terminate()
            try:
                async with asyncio.timeout(self.program.stop_seconds):
                    await running.wait()
            except TimeoutError:
                self._say(f"{self.program.name} did not end in {self.program.stop_seconds:g} s and is killed")
                with suppress(ProcessLookupError):
                    running.kill()
                await running.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_running(self) -> int:
        clock = asyncio.get_running_loop().time
        pause = PAUSE_SECONDS_FIRST
        while True:
            started = clock()
            self._running = await spawn(self.program)
            code = await self._running.wait()
            if self._stopping or not self.program.again:
                return code
            if clock() - started > STEADY_SECONDS:
                pause = PAUSE_SECONDS_FIRST
            self._say(f"{self.program.name} {_ending(code)}; starting it again in {pause:g} s (see {self.program.log})")
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_SECONDS_MAX)


async def spawn(program: Program) -> asyncio.subprocess.Process:
    """Start the program with its output appended to its log."""
    program.log.parent.mkdir(parents=True, exist_ok=True)
    if program.log.exists() and program.log.stat().st_size > LOG_BYTES_MAX:
        program.log.replace(program.log.with_suffix(".1.log"))
    with program.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *program.command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **program.environment}, preexec_fn=_die_with_parent(os.getpid()),
        )  # fmt: skip


def _die_with_parent(parent: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            # It ended between our fork and the request.
            os._exit(1)

    return ask_kernel


def _ending(code: int) -> str:
    if code < 0:
        number = signal.Signals(-code)
        return f"was {_STOP.get(number, f'ended by {number.name}')}"
    return f"ended with code {code}"
