"""The saga that every engine runs, and the driver that hands orders to it. Only the standard library: each engine's
runner is a process in that engine's own environment.

An order is handed over until it is acknowledged as durable, with the same number again after an error; five deliveries
at partners that do nothing but write a line; then it is completed by the engine's own word. The partners' log and the
log of acknowledgments are files, so that they outlive a process that is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

STEPS = 5
WARM = 10_000_000
"""Orders from this number on go before the measured ones."""
PATIENCE = 300
HANDING_OVER_AGAIN = 0.1


class Engine(Protocol):
    """What a runner gives. Up to `batch` orders are handed over at once, in `lanes` calls at a time; with `waits` a
    lane is free again only when its order is completed, for engines that would drown in what they began."""

    batch: int
    lanes: int
    waits: bool

    async def open(self) -> None: ...

    async def accept(self, numbers: Sequence[int]) -> None:
        """Returns when these orders are durable. Called again with the same ones after an error."""
        ...

    async def finish(self, number: int) -> None:
        """Returns when the order is completed; called only with `waits`."""
        ...

    async def completed(self) -> int:
        """How many orders are completed, by the engine's own word, those before the measured ones too."""
        ...

    async def close(self) -> None: ...


class PartnerLog:
    """What the partners were asked: a line each, written at once, so that a killed process loses none."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "deliveries.log"
        self._file = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        self._counted, self._lines = 0, 0

    def write(self, deliveries: Sequence[tuple[int, int]]) -> None:
        now = time.time_ns()
        os.write(self._file, "".join(f"{number} {place} {now}\n" for number, place in deliveries).encode())

    def count(self) -> int:
        """Lines written so far, by whomever."""
        with self._path.open("rb") as file:
            file.seek(self._counted)
            more = file.read()
        self._counted += len(more)
        self._lines += more.count(b"\n")
        return self._lines

    def read(self) -> list[tuple[int, int, int]]:
        """All deliveries: order, place, nanoseconds."""
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return [(int(number), int(place), int(at)) for number, place, at in (line.split() for line in lines)]


class Acknowledged:
    """Orders that were acknowledged, with when they were due and when they were handed over in the end."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "acknowledged.log"
        self._file = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def write(self, orders: Sequence[tuple[int, int]]) -> None:
        now = time.time_ns()
        os.write(self._file, "".join(f"{number} {due} {now}\n" for number, due in orders).encode())

    def read(self) -> dict[int, int]:
        """Order -> when it was due, in nanoseconds."""
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return {int(number): int(due) for number, due, _ in (line.split() for line in lines)}


class Driver:
    """Hands orders over and waits until all are completed."""

    def __init__(self, engine: Engine, log: PartnerLog, acknowledged: Acknowledged) -> None:
        self._engine = engine
        self._log = log
        self._acknowledged = acknowledged
        self._expected = 0

    async def run(self, first: int, orders: int, rate: float) -> dict[str, float]:
        """Orders `first` and following, all at once or `rate` a second; those acknowledged before are only awaited."""
        known = self._acknowledged.read()
        numbers = [number for number in range(first, first + orders) if number not in known]
        self._expected += orders
        before, busy = time.perf_counter(), _busy_seconds()
        queue: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            lanes = [tasks.create_task(self._hand_over(queue)) for _ in range(self._engine.lanes)]
            await _schedule(queue, numbers, rate)
            await queue.join()
            for lane in lanes:
                lane.cancel()
        await self._completion()
        seconds = time.perf_counter() - before
        return {
            "orders": orders, "seconds": seconds, "process_seconds": _busy_seconds() - busy,
            "peak_kib": sum(_peak(pid) for pid in ("self", *_children())),
        }  # fmt: skip

    async def _hand_over(self, queue: asyncio.Queue[tuple[int, int]]) -> None:
        while True:
            taken = [await queue.get()]
            while len(taken) < self._engine.batch and not queue.empty():
                taken.append(queue.get_nowait())
            numbers = [number for number, _ in taken]
            for attempt in range(PATIENCE):
                try:
                    await self._engine.accept(numbers)
                    break
                except Exception as error:
                    if attempt == PATIENCE - 1:
                        raise
                    sys.stderr.write(f"handed over again: {error!r}\n")
                    await asyncio.sleep(HANDING_OVER_AGAIN)
            self._acknowledged.write(taken)
            if self._engine.waits:
                for number in numbers:
                    await self._engine.finish(number)
            for _ in taken:
                queue.task_done()

    async def _completion(self) -> None:
        # The engine is asked only when all is delivered: counting is no part of the saga.
        while self._log.count() < STEPS * self._expected:  # noqa: ASYNC110 - partners are files
            await asyncio.sleep(0.01)
        while await self._told() < self._expected:  # noqa: ASYNC110 - engines do not call
            await asyncio.sleep(0.02)

    async def _told(self) -> int:
        try:
            return await self._engine.completed()
        except Exception as error:  # noqa: BLE001 - the server may be away
            sys.stderr.write(f"not told: {error!r}\n")
            await asyncio.sleep(0.2)
            return 0


def _busy_seconds() -> float:
    """Processor seconds of this process and of its living children."""
    ticks = sum(int(part) for pid in _children() for part in _stat(pid)[11:13])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _peak(pid: int | str) -> int:
    """KiB that a process had resident at most. (`getrusage` counts what its parent had when it was started.)"""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _children() -> list[int]:
    listed = [path.read_text(encoding="utf-8") for path in Path("/proc/self/task").glob("*/children")]
    return [int(pid) for text in listed for pid in text.split()]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


async def _schedule(queue: asyncio.Queue[tuple[int, int]], numbers: Sequence[int], rate: float) -> None:
    if not rate:
        now = time.time_ns()
        for number in numbers:
            queue.put_nowait((number, now))
        return
    started, clock = time.time_ns(), time.perf_counter()
    for place, number in enumerate(numbers):
        wait = clock + place / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        queue.put_nowait((number, started + int(place / rate * 1e9)))


async def serve(engine: Engine, log: PartnerLog, acknowledged: Acknowledged) -> None:
    """Open the engine and run what is asked for on standard input, an object a line; the answer is one too."""
    await engine.open()
    driver = Driver(engine, log, acknowledged)
    _say({"ready": True})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked: dict[str, Any] = json.loads(line)
        _say(await driver.run(asked["first"], asked["orders"], asked["rate"]))
    await engine.close()


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def arguments() -> tuple[str, Path, str]:
    """Where the server is, where the logs are, and the body of an order."""
    address, directory = sys.argv[1], Path(sys.argv[2])
    return address, directory, (directory / "body.json").read_text(encoding="utf-8")
