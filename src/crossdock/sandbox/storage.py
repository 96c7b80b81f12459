"""A sandbox partner's own storage: documents, numbers, an append-only write log and the outbox, in one SQLite file.

The write log is the outside evidence: tests judge Crossdock by it, so the database itself refuses to change it.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

Document = TypeVar("Document")
LOG_PAGE: Final = 5000


def _named_queries(text: str) -> dict[str, str]:
    parts = text.split("-- name: ")[1:]
    return {name.strip(): body.strip() for name, body in (part.split("\n", 1) for part in parts)}


_SQL: Final = _named_queries(files("crossdock.sandbox").joinpath("storage.sql").read_text(encoding="utf-8"))


class LogEntry(msgspec.Struct, frozen=True):
    """One committed write, exactly as the partner took it."""

    sequence: int
    at: str
    kind: str
    business_key: str
    document: msgspec.Raw


class Message(msgspec.Struct, frozen=True):
    """A webhook that waits to be delivered."""

    id: str
    topic: str
    body: bytes
    attempts: int


class Storage:
    """One connection, used from one event loop: every request is one short transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SQL["schema"])

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def append_log(self, kind: str, business_key: str, document: object) -> None:
        at = datetime.now(UTC).isoformat()
        self._run("append_log", at, kind, business_key, msgspec.json.encode(document))

    def append_logs(self, kind: str, entries: Sequence[tuple[str, object]]) -> None:
        at = datetime.now(UTC).isoformat()
        rows = [(at, kind, key, msgspec.json.encode(document)) for key, document in entries]
        self._connection.executemany(_SQL["append_log"], rows)

    def read_log(self, after: int, limit: int = LOG_PAGE) -> list[LogEntry]:
        rows = self._run("read_log", after, limit).fetchall()
        return [LogEntry(row[0], row[1], row[2], row[3], msgspec.Raw(row[4])) for row in rows]

    def next_number(self, series: str, start: int = 1) -> int:
        return int(self._run("next_number", series, start).fetchone()[0])

    def place(self, kind: str, key: str, body: object, parent: str = "") -> None:
        """Store a document under its key; it moves to the end of the change sequence of its kind."""
        position = self.next_number(f"position of {kind}")
        self._run("place_document", kind, key, parent, position, msgspec.json.encode(body))

    def read(self, kind: str, key: str, shape: type[Document]) -> Document | None:
        row = self._run("read_document", kind, key).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=shape)

    def read_children(
        self, kind: str, parent: str, shape: type[Document], limit: int = LOG_PAGE
    ) -> list[Document]:
        rows = self._run("read_children", kind, parent, limit).fetchall()
        return [msgspec.json.decode(row[0], type=shape) for row in rows]

    def read_changes(self, kind: str, after: int, limit: int, shape: type[Document]) -> list[tuple[int, Document]]:
        rows = self._run("read_changes", kind, after, limit).fetchall()
        return [(row[0], msgspec.json.decode(row[1], type=shape)) for row in rows]

    def read_by_key(self, kind: str, parent: str, after: str, limit: int, shape: type[Document]) -> list[Document]:
        rows = self._run("read_by_key", kind, parent, after, limit).fetchall()
        return [msgspec.json.decode(row[1], type=shape) for row in rows]

    def place_listings(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """(SKU, unit, shown, changed by) of each."""
        self._connection.executemany(_SQL["place_listing"], rows)

    def read_listings(self, skus: Sequence[str]) -> list[tuple[str, str, str, str]]:
        return self._run("read_listings", msgspec.json.encode(skus).decode()).fetchall()

    def list_listings(self, after: str, limit: int = LOG_PAGE) -> list[tuple[str, str, str, str]]:
        return self._run("list_listings", after, limit).fetchall()

    def place_promised(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """(SKU, order number, base units) of an order that the seller has not confirmed."""
        self._connection.executemany(_SQL["place_promised"], rows)

    def confirm_promised(self, number: str, at: float) -> None:
        self._run("confirm_promised", at, number)

    def release_promised(self, number: str) -> None:
        self._run("release_promised", number)

    def read_unconfirmed(self, number: str) -> list[tuple[str, str]]:
        """(SKU, base units) that an order keeps back while the seller has not confirmed it."""
        return self._run("read_unconfirmed", number).fetchall()

    def read_promised(self, skus: Sequence[str], confirmed_after: float) -> list[tuple[str, str, float | None]]:
        return self._run("read_promised", msgspec.json.encode(skus).decode(), confirmed_after).fetchall()

    def queue_message(self, topic: str, body: bytes, delay_seconds: float = 0.0) -> None:
        identifier = f"msg_{uuid.uuid4().hex}"
        self._run("queue_message", identifier, topic, body, time.time() + delay_seconds)

    def due_messages(self, limit: int) -> list[Message]:
        rows = self._run("due_messages", time.time(), limit).fetchall()
        return [Message(row[0], row[1], row[2], row[3]) for row in rows]

    def seconds_until_due(self) -> float | None:
        due_at = self._run("next_due").fetchone()[0]
        return None if due_at is None else max(0.0, float(due_at) - time.time())

    def close_message(self, identifier: str, state: str) -> None:
        self._run("close_message", state, identifier)

    def postpone_message(self, identifier: str, delay_seconds: float) -> None:
        self._run("postpone_message", time.time() + delay_seconds, identifier)

    def count_messages(self) -> dict[str, int]:
        return {str(row[0]): int(row[1]) for row in self._run("count_messages").fetchall()}

    def _run(self, query: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(_SQL[query], values)
