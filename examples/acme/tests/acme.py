"""Acme WMS as far as its connector needs it. It takes an instruction twice: nothing but the connector prevents that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from crossdock.sandbox.service import Answer, Call, Route, wait_for_ever
from crossdock.sandbox.storage import Storage

PAGE = 2


class Acme:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def live(self) -> None:
        await wait_for_ever()

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/instructions", self.place_instruction),
            Route("GET", "/instructions", self.find_instructions),
            Route("GET", "/shipments", self.list_shipments),
        )

    def place_instruction(self, call: Call) -> Answer:
        wanted = call.read(dict[str, Any])
        number = f"A-{self._storage.next_number('instructions')}"
        document = {**wanted, "id": number}
        self._storage.place("instruction", number, document, parent=wanted["reference"])
        self._storage.append_log("instruction", wanted["reference"], document)
        return Answer(document, 201)

    def find_instructions(self, call: Call) -> Answer:
        found = self._storage.read_children("instruction", call.query.get("reference", ""), dict[str, Any])
        return Answer({"instructions": found})

    def list_shipments(self, call: Call) -> Answer:
        after = call.number("after", 0)
        found = self._storage.read_changes("shipment", after, PAGE, dict[str, Any])
        last = found[-1][0] if found else after
        return Answer({"items": [row for _, row in found], "next": str(last), "more": len(found) == PAGE})

    def ship(self, number: str) -> dict[str, Any]:
        """What the people in the warehouse do with an instruction."""
        instruction = self._storage.read("instruction", number, dict[str, Any])
        assert instruction is not None
        shipment = {
            "number": f"S-{number}", "reference": instruction["reference"], "site": instruction["site"],
            "left_at": datetime.now(UTC).isoformat(), "lines": instruction["lines"], "tracking": f"T-{number}",
        }  # fmt: skip
        self._storage.place("shipment", shipment["number"], shipment)
        return shipment
