"""A small JSON-RPC client for seeding Tryton as its administrator."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import aiohttp


class RpcError(Exception):
    """Tryton answered with an error."""


class Rpc:
    """One signed-in session. `context` goes along with every call."""

    def __init__(self, client: aiohttp.ClientSession, base_url: str, database: str) -> None:
        self._client = client
        self._url = f"{base_url}/{database}/rpc/"
        self._session = ""
        self.context: dict[str, Any] = {}

    async def login(self, user: str, password: str) -> None:
        user_id, key, *_ = await self._send("common.db.login", [user, {"password": password}, "en"])
        self._session = base64.b64encode(f"{user}:{user_id}:{key}".encode()).decode()
        self.context = await self.call("model.res.user.get_preferences", True)

    async def call(self, method: str, *arguments: Any, context: Mapping[str, Any] | None = None) -> Any:
        return await self._send(method, [*arguments, {**self.context, **(context or {})}])

    async def create(self, model: str, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        return list(await self.call(f"model.{model}.create", list(rows))) if rows else []

    async def find(self, model: str, *domain: Any) -> list[int]:
        return list(await self.call(f"model.{model}.search", list(domain), 0, None, None))

    async def find_one(self, model: str, *domain: Any) -> int:
        found = await self.find(model, *domain)
        if not found:
            raise RpcError(f"{model} {domain} is not there")
        return found[0]

    async def _send(self, method: str, parameters: Sequence[Any]) -> Any:
        headers = {"content-type": "application/json"}
        if self._session:
            headers["authorization"] = f"Session {self._session}"
        body = json.dumps({"id": 1, "method": method, "params": list(parameters)}, default=_encoded)
        async with self._client.post(self._url, data=body, headers=headers) as answer:
            text = await answer.text()
            if answer.status != 200:
                raise RpcError(f"{method}: HTTP {answer.status} {text[:300]}")
            decoded = json.loads(text, object_hook=_decoded)
        if "error" in decoded:
            raise RpcError(f"{method}: {str(decoded['error'])[:3000]}")
        return decoded.get("result")


def _encoded(value: object) -> dict[str, Any]:
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    if isinstance(value, date):
        return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    raise TypeError(type(value).__name__)


def _decoded(value: dict[str, Any]) -> Any:
    if value.get("__class__") == "Decimal":
        return Decimal(value["decimal"])
    if value.get("__class__") == "date":
        return date(value["year"], value["month"], value["day"])
    return value
