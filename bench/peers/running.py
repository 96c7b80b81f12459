"""A runner as a process: asked for a part at a time over its standard input, killed when that is the question."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.installation import ROOT


class RunnerEndedError(Exception):
    """The runner ended, or did not answer in time; the text says which."""


@dataclass(slots=True)
class Runner:
    """`process` is the leader of a group of its own, so that what it started ends with it."""

    process: subprocess.Popen[bytes]
    _buffer: bytes = b""

    @classmethod
    def start(cls, interpreter: str, module: str, address: str, directory: Path, seconds: float = 90.0) -> Runner:
        command = [interpreter, "-m", f"bench.peers.runners.{module}", address, str(directory)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with (directory / "runner.log").open("ab") as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, env=environment,
                start_new_session=True,
            )  # fmt: skip
        runner = cls(process)
        try:
            runner.answer(seconds)
        except RunnerEndedError:
            runner.kill()
            raise
        return runner

    def ask(self, first: int, orders: int, rate: float = 0.0) -> None:
        assert self.process.stdin is not None
        line = json.dumps({"first": first, "orders": orders, "rate": rate}) + "\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next answer; raises RunnerEndedError when there is none within `seconds`. What else an engine writes to
        its output is passed over."""
        deadline = time.monotonic() + seconds
        while True:
            line = self._line(deadline, seconds)
            if line.startswith(b"{"):
                answer: dict[str, Any] = json.loads(line)
                return answer

    def _line(self, deadline: float, seconds: float) -> bytes:
        assert self.process.stdout is not None
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise RunnerEndedError(f"no answer within {seconds:.0f} s")
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise RunnerEndedError(f"the process ended with {self.process.wait()}")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def kill(self) -> None:
        """SIGKILL to the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """End of input: the runner closes its engine. Killed if it does not within ten seconds."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.kill()
