"""The saga on Restate: orders are sent to its ingress with an idempotency key; a service on Node.js, started from here,
does the five steps.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.peers.installation import install_node
from bench.peers.saga import Acknowledged, PartnerLog, arguments, serve

LANES = 100
SERVICE = Path(__file__).with_name("restate_service.mjs")


class RestateSaga:
    batch = 1
    lanes = LANES
    waits = False

    def __init__(self, address: str, directory: Path, body: str) -> None:
        self._ingress, self._admin = address.split(",")
        self._directory, self._body = directory, body
        self._session: Any = None
        self._service: Any = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=LANES))
        port = _port(self._directory / "service.port")
        folder = install_node("restate")
        self._service = await asyncio.create_subprocess_exec(
            "node", str(SERVICE), str(folder), str(port), str(self._directory / "deliveries.log"),
            stdout=asyncio.subprocess.DEVNULL, env={**os.environ, "NODE_ENV": "production"},
        )  # fmt: skip
        await self._register(f"http://127.0.0.1:{port}")

    async def accept(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            async with self._session.post(
                f"{self._ingress}/saga/run/send", json={"number": number, "body": self._body},
                headers={"idempotency-key": str(number)}, timeout=aiohttp.ClientTimeout(total=10),
            ) as answer:  # fmt: skip
                answer.raise_for_status()
                await answer.read()

    async def finish(self, number: int) -> None:
        raise NotImplementedError

    async def completed(self) -> int:
        question = "SELECT count(*) AS found FROM sys_invocation WHERE status = 'completed'"
        async with self._session.post(
            f"{self._admin}/query", json={"query": question}, headers={"accept": "application/json"}
        ) as answer:
            answer.raise_for_status()
            return int((await answer.json())["rows"][0]["found"])

    async def close(self) -> None:
        self._service.kill()
        await self._service.wait()
        await self._session.close()

    async def _register(self, service: str) -> None:
        refused = ""
        for _ in range(100):
            try:
                async with self._session.post(
                    f"{self._admin}/deployments", json={"uri": service, "force": True}
                ) as answer:
                    if answer.ok:
                        return
                    refused = await answer.text()
            except aiohttp.ClientError as error:
                refused = repr(error)
            await asyncio.sleep(0.2)
        raise RuntimeError(f"the service was not registered: {refused}")


def _port(kept: Path) -> int:
    """The same port again after a restart: what was begun is pinned to it."""
    if kept.exists():
        return int(kept.read_text(encoding="utf-8"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    kept.write_text(str(port), encoding="utf-8")
    return port


async def main() -> None:
    address, directory, body = arguments()
    log = PartnerLog(directory)
    await serve(RestateSaga(address, directory, body), log, Acknowledged(directory))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
