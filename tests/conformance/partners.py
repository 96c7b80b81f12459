"""Sandbox partners as processes, for the conformance tests."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

KEY = "key-of-the-conformance-tests"


@dataclass(slots=True)
class RunningPartner:
    """One partner process; also the receiving side that the conformance checks ask."""

    kind: str
    process: subprocess.Popen[str]
    url: str
    key: str = field(default=KEY, repr=False)

    async def control(self, method: str, path: str, body: object = None) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, data=io.BytesIO(msgspec.json.encode(body))) as response,
        ):
            assert response.status < 300, await response.text()
            return await response.json()

    async def log(self) -> list[dict[str, Any]]:
        """The whole write log, page by page."""
        found: list[dict[str, Any]] = []
        while page := await self.control("GET", f"/_log?after={found[-1]['sequence'] if found else 0}"):
            found.extend(page)
        return found

    async def effects(self, kind: str, number: str) -> int:
        entries = [entry for entry in await self.log() if entry["kind"] == kind]
        return sum(number in entry["business_key"] or number in str(entry["document"]) for entry in entries)

    async def misbehave(self, plan: Mapping[str, Any]) -> None:
        await self.control("PUT", "/_faults", dict(plan))

    async def place_order(self, order: Mapping[str, Any]) -> str:
        answer = await self.control("POST", "/_control/order", {"orders": [order]})
        return str(answer["numbers"][0])

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(timeout=60)
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()


def start_partner(
    kind: str, home: Path, *options: str, environment: Mapping[str, str] | None = None, errors: Path | None = None
) -> RunningPartner:
    """`errors`: where its standard error goes; ours by default."""
    command = [sys.executable, "-m", "crossdock.sandbox", kind, "--home", str(home), "--follow-parent", *options]
    given = {**os.environ, "CROSSDOCK_SANDBOX_API_KEY": KEY, **(environment or {})}
    with ExitStack() as stack:
        stderr = stack.enter_context(errors.open("wb")) if errors is not None else None
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=given)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "listens on" in line, f"{kind} does not start: {line}"
    return RunningPartner(kind, process, line.rpartition(" ")[2].strip())
