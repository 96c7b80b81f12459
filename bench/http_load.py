"""The load generator of the HTTP measures, a process of its own: `python -m bench.http_load` reads a plan from its
input and prints what it saw.

The load is open: each order has its time, and its latency counts from then, also when the generator or a connection was
not free. Requests are made before the clock starts, so that the generator takes little of the processor.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import deque
from typing import Any, Literal

import msgspec
import uvloop

MILLISECONDS = 1000.0


class LoadPlan(msgspec.Struct, frozen=True):
    """`rate` orders a second for `seconds`, after `warm_seconds` that are not counted."""

    port: int
    token: str
    prefix: str
    rate: float
    seconds: float
    warm_seconds: float = 2.0
    connections: int = 128
    lines: int = 20
    skus: int = 2000
    customers: int = 200
    method: str = "terms"
    channel: str = ""
    catalogue: tuple[str, ...] = ()
    seed: int = 1
    asks: Literal["orders", "availability"] = "orders"


class LoadReport(msgspec.Struct, frozen=True):
    """Latencies in ms from the scheduled time. `lag_ms` is how late the generator itself sent (99th percentile)."""

    asked: int
    accepted: int
    others: dict[str, int]
    achieved: float
    p50: float
    p99: float
    highest: float
    lag_ms: float
    cpu_share: float


class _Lane(asyncio.Protocol):
    """One kept-alive connection: one request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._received = b""
        self._transport: Any = None
        self.current = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, number: int, request: bytes) -> None:
        self.current = number
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        position = head.lower().find(b"content-length:")
        length = int(head[position + 15 :].split(b"\r\n", 1)[0]) if position >= 0 else 0
        if len(rest) >= length:
            self._received = b""
            self._load.answered(self, head[9:12].decode())

    def connection_lost(self, error: Exception | None) -> None:
        self._load.lost(self)


class _Load:
    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._warm = int(plan.warm_seconds * plan.rate)
        self._requests = make_requests(plan, self._warm + int(plan.seconds * plan.rate))
        self._due = [0.0] * len(self._requests)
        self._free: deque[_Lane] = deque()
        self._waiting: deque[int] = deque()
        self._left = len(self._requests)
        self._ended = asyncio.Event()
        self._latencies: list[float] = []
        self._lags: list[float] = []
        self._statuses: dict[str, int] = {}
        self._last = 0.0

    async def run(self) -> LoadReport:
        loop = asyncio.get_running_loop()
        for _ in range(self._plan.connections):
            _, lane = await loop.create_connection(lambda: _Lane(self), "127.0.0.1", self._plan.port)
            self._free.append(lane)
        started = time.perf_counter() + 0.05
        busy = 0.0
        for number in range(len(self._requests)):
            if number == self._warm:
                busy = time.process_time()
            due = started + number / self._plan.rate
            delay = due - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            self._due[number] = due
            self._begin(number)
        async with asyncio.timeout(60):
            await self._ended.wait()
        seconds = self._last - self._due[self._warm]
        used = time.process_time() - busy
        return self._report(seconds, used)

    def _begin(self, number: int) -> None:
        if self._free:
            if number >= self._warm:
                self._lags.append(time.perf_counter() - self._due[number])
            self._free.popleft().send(number, self._requests[number])
        else:
            self._waiting.append(number)

    def answered(self, lane: _Lane, status: str) -> None:
        now = time.perf_counter()
        if lane.current >= self._warm:
            self._latencies.append(now - self._due[lane.current])
            self._statuses[status] = self._statuses.get(status, 0) + 1
            self._last = now
        lane.current = -1
        self._left -= 1
        if self._waiting:
            number = self._waiting.popleft()
            lane.send(number, self._requests[number])
        else:
            self._free.append(lane)
        if self._left == 0:
            self._ended.set()

    def lost(self, lane: _Lane) -> None:
        if lane in self._free:
            self._free.remove(lane)
        if lane.current >= 0:
            self._statuses["lost"] = self._statuses.get("lost", 0) + 1
            self._left -= 1
            if self._left == 0:
                self._ended.set()

    def _report(self, seconds: float, used: float) -> LoadReport:
        latencies = sorted(self._latencies)
        wanted = "201" if self._plan.asks == "orders" else "200"
        accepted = self._statuses.get(wanted, 0)
        others = {status: count for status, count in self._statuses.items() if status != wanted}
        return LoadReport(
            len(self._requests) - self._warm, accepted, others, round(len(latencies) / seconds, 1),
            *(round(MILLISECONDS * value, 2) for value in (
                percentile(latencies, 0.5), percentile(latencies, 0.99), latencies[-1],
                percentile(sorted(self._lags), 0.99), used / seconds / MILLISECONDS,
            )),
        )  # fmt: skip


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def make_requests(plan: LoadPlan, count: int) -> list[bytes]:
    """Orders as a business customer's program sends them: contract prices stated, two addresses, a reference."""
    chance = random.Random(plan.seed)
    if plan.asks == "availability":
        return [_question(plan, chance) for _ in range(count)]
    return [_request(plan, f"{plan.prefix}-{number}", make_body(plan, number, chance)) for number in range(count)]


def _question(plan: LoadPlan, chance: random.Random) -> bytes:
    """What a shop's page of search results asks."""
    skus = "&".join(f"sku=SKU-{number}" for number in chance.sample(range(1, plan.skus + 1), plan.lines))
    return (
        f"GET /v1/availability?channel={plan.channel}&{skus} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
        f"Authorization: Bearer {plan.token}\r\n\r\n"
    ).encode()


def _request(plan: LoadPlan, key: str, body: bytes) -> bytes:
    head = (
        f"POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\nAuthorization: Bearer {plan.token}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n"
    )
    head += f"Crossdock-Channel: {plan.channel}\r\n\r\n" if plan.channel else "\r\n"
    return head.encode() + body


def make_body(plan: LoadPlan, number: int, chance: random.Random) -> bytes:
    skus = chance.sample(plan.catalogue or range(plan.skus), plan.lines)
    lines = [
        {
            "line": str(place + 1), "sku": str(sku) if plan.catalogue else f"SKU-{sku}", "name": f"Product {sku}",
            "quantity": {"value": str(chance.randint(1, 9)), "unit": "C62"},
            "unit_price": {"amount": "2.499", "currency": "EUR"},
        }
        for place, sku in enumerate(skus)
    ]  # fmt: skip
    address = {
        "name": "Ada Buyer", "street": "Quay 1", "city": "Bremen", "postal_code": "28195", "country": "DE",
    }  # fmt: skip
    order: dict[str, Any] = {
        "channel_number": f"{plan.prefix}-{number}", "placed_at": "2026-03-02T09:30:00+01:00", "currency": "EUR",
        "customer_reference": f"PO {number}", "ship_to": address, "bill_to": address, "lines": lines,
        "payment": {"method": plan.method},
    }  # fmt: skip
    if plan.method == "card":
        order["payment"]["token"] = "tok_visa"  # noqa: S105 - a sandbox card
    else:
        order["customer"] = f"B{chance.randrange(plan.customers)}"
    return msgspec.json.encode(order)


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(_Load(plan).run())
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")


if __name__ == "__main__":
    main()
