"""One engine measured: its speed, its latency at half of that, what each order costs, and what SIGKILL does to it."""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.engines import EngineKind
from bench.peers.running import Runner, RunnerEndedError
from bench.peers.saga import STEPS, WARM, Acknowledged, PartnerLog
from bench.peers.servers import Server, ServerUsage

SPEED_RUNS = 2
SPEED_SECONDS = 7.0
LATENCY_SECONDS = 5.0
KILL_SECONDS = 5.0
KILL_ORDERS_MAX = 5000
SERVER_AWAY_SECONDS = 1.0
RECOVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """`part` 1 is the full size; smaller makes each part shorter."""

    part: float

    def speed(self, rate: float) -> int:
        return max(20, int(rate * SPEED_SECONDS * self.part))

    def latency(self, rate: float) -> int:
        return max(20, int(rate / 2 * LATENCY_SECONDS * self.part))

    def kill(self, rate: float) -> int:
        return max(40, min(int(rate * KILL_SECONDS * self.part), KILL_ORDERS_MAX))


def measure(kind: EngineKind, interpreter: str, directory: Path, body: str, size: float) -> dict[str, Any]:
    """All parts, in a folder that is made for them."""
    sizes = Sizes(size)
    directory.mkdir()
    # PostgreSQL's own user must pass through.
    directory.chmod(0o755)
    server = kind.make_server(directory / "server")
    try:
        result = _measure_speed(_Part(kind, interpreter, directory / "speed", server.fresh(), server), body, sizes)
        for victim in ("worker", "server") if kind.kills else ():
            orders = sizes.kill(result["orders_per_second"])
            part = _Part(kind, interpreter, directory / f"kill_{victim}", server.fresh(), server)
            result[f"kill_{victim}"] = _kill(part, body, victim, orders)
        return result
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class _Part:
    """Where one part runs: an empty server, a folder of its own."""

    kind: EngineKind
    interpreter: str
    directory: Path
    address: str
    server: Server

    def start(self) -> Runner:
        return Runner.start(self.interpreter, self.kind.module, self.address, self.directory)


def _measure_speed(part: _Part, body: str, sizes: Sizes) -> dict[str, Any]:
    log, acknowledged = _prepare(part.directory, body)
    server = part.server
    runner = part.start()
    try:
        rate = _warm_up(part.kind, runner, sizes)
        server.settle()
        before = server.usage()
        first, speeds, busy = 0, [], 0.0
        for _ in range(SPEED_RUNS):
            orders = sizes.speed(rate)
            runner.ask(first, orders)
            figures = runner.answer(60 + 5 * orders / rate)
            busy += figures["process_seconds"]
            rate = orders / figures["seconds"]
            speeds.append(rate)
            first += orders
        costs = _costs(before, server, first) | {
            "worker_ms": 1000 * busy / first, "worker_mib": figures["peak_kib"] / 1024,
        }  # fmt: skip
        speed = statistics.median(speeds)
        asked = sizes.latency(speed)
        runner.ask(first, asked, speed / 2)
        figures = runner.answer(60 + 6 * asked / speed)
        latencies = _latencies(log, acknowledged, range(first, first + asked))
        _check_each_once(log, first + asked)
        return {
            "orders_per_second": round(speed, 1), "runs": [round(value, 1) for value in speeds],
            "measured_orders": first, "latency_rate": round(speed / 2, 1),
            "p50_ms": round(1000 * _percentile(latencies, 0.5), 2),
            "p99_ms": round(1000 * _percentile(latencies, 0.99), 2),
            **{name: round(value, 3) for name, value in costs.items()},
            "server_version": server.version(), "load_average": round(os.getloadavg()[0], 1),
        }  # fmt: skip
    finally:
        runner.end()


def _warm_up(kind: EngineKind, runner: Runner, sizes: Sizes) -> float:
    """Orders that are not measured; their rate tells how many to measure."""
    warm = max(20, int(kind.warm * min(1.0, sizes.part * 2)))
    runner.ask(WARM, warm)
    runner.answer(120)
    runner.ask(WARM + warm, warm)
    return warm / float(runner.answer(120)["seconds"])


def _costs(before: ServerUsage, server: Server, orders: int) -> dict[str, float]:
    """What the server used for an order; what it has in memory still is written before the disk is looked at."""
    after = server.usage()
    server.settle()
    settled = server.usage()
    return {
        "server_ms": 1000 * (after.seconds - before.seconds) / orders, "server_mib": after.resident / 2**20,
        "logged_kib": (after.logged - before.logged) / 1024 / orders,
        "kept_kib": (settled.kept - before.kept) / 1024 / orders,
    }  # fmt: skip


def _latencies(log: PartnerLog, acknowledged: Acknowledged, numbers: range) -> list[float]:
    """Seconds from when an order was due until its last delivery was at its partner."""
    due = acknowledged.read()
    last: dict[int, int] = {}
    for number, _, at in log.read():
        if number in numbers:
            last[number] = max(last.get(number, 0), at)
    return sorted((last[number] - due[number]) / 1e9 for number in numbers)


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _check_each_once(log: PartnerLog, orders: int) -> None:
    counted = Counter((number, place) for number, place, _ in log.read() if number < WARM)
    if len(counted) != STEPS * orders or set(counted.values()) != {1}:
        raise RuntimeError(f"{len(counted)} deliveries of {STEPS * orders}, some {max(counted.values())} times")


def _kill(part: _Part, body: str, victim: str, orders: int) -> dict[str, Any]:
    """SIGKILL when a third of the deliveries are made; then it must finish by itself, or with a new worker."""
    log, acknowledged = _prepare(part.directory, body)
    runner = part.start()
    result: dict[str, Any] = {"orders": orders, "restarted_worker": victim == "worker"}
    try:
        runner.ask(0, orders)
        _await_deliveries(log, STEPS * orders // 3, runner)
        result["delivered_before"] = log.count()
        began = time.monotonic()
        if victim == "worker":
            runner.kill()
        else:
            part.server.kill()
            time.sleep(SERVER_AWAY_SECONDS)
            part.server.start()
            try:
                runner.answer(RECOVERY_SECONDS)
            except RunnerEndedError as stuck:
                result["restarted_worker"] = True
                result["why"] = str(stuck)
                runner.kill()
        if result["restarted_worker"]:
            result.update(_go_on(part, orders))
        result["seconds"] = round(time.monotonic() - began, 1)
        result.update(_judge(log, acknowledged, orders))
        return result
    finally:
        runner.kill()


def _go_on(part: _Part, orders: int) -> dict[str, Any]:
    """A new worker: it hands over what was not acknowledged, and waits until all is completed."""
    try:
        runner = part.start()
    except RunnerEndedError as error:
        return {"finished": False, "why": str(error)}
    try:
        runner.ask(0, orders)
        runner.answer(RECOVERY_SECONDS)
        return {}
    except RunnerEndedError as error:
        return {"finished": False, "why": str(error)}
    finally:
        runner.kill()


def _await_deliveries(log: PartnerLog, wanted: int, runner: Runner) -> None:
    deadline = time.monotonic() + RECOVERY_SECONDS
    while log.count() < wanted and time.monotonic() < deadline and runner.process.poll() is None:
        time.sleep(0.002)


def _judge(log: PartnerLog, acknowledged: Acknowledged, orders: int) -> dict[str, Any]:
    """By the partners' log: what was acknowledged and not delivered five times is lost, what came twice is doubled."""
    counted = Counter((number, place) for number, place, _ in log.read())
    known = acknowledged.read()
    places = Counter(number for number, _ in counted)
    return {
        "acknowledged": len(known), "deliveries": sum(counted.values()),
        "lost": sum(places[number] < STEPS for number in known),
        "doubled": sum(count - 1 for count in counted.values()),
    }  # fmt: skip


def _prepare(directory: Path, body: str) -> tuple[PartnerLog, Acknowledged]:
    directory.mkdir()
    (directory / "body.json").write_text(body, encoding="utf-8")
    return PartnerLog(directory), Acknowledged(directory)
