"""One real database connection, shared by all simulated processes, one transaction after the other.

Which process comes next is chosen by the seed. A process that dies keeps nothing: its open transaction is rolled back,
and what it had asked for after its death is never sent.
"""

from __future__ import annotations

import asyncio
import functools
import random
import re
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

import asyncpg

from crossdock.ledger import proof
from crossdock.prove.direct import DirectConnection
from crossdock.prove.processes import Process
from crossdock.prove.virtual_time import VirtualLoop

Answer = TypeVar("Answer")
COMMIT_SECONDS_MAX: Final = 0.01
_DEAD: Final = "This simulated process is dead."
_COMMENT: Final = re.compile(r"\s*(--[^\n]*\n\s*)*")
_CHANGES: Final = ("set_config", "recount_stock")
"""Functions that change something although their statement reads SELECT."""
_CONTROL: Final = ("BEGIN", "COMMIT", "ROLLBACK")
_JUDGED: Final = re.compile(
    r"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+(stock|reservations|order_progress|accounts|invoices)\b|recount_stock"
)
"""Statements that may change what the checkers look at, commit by commit."""


@functools.cache
def _only_reads(statement: str) -> bool:
    return statement[_COMMENT.match(statement).end() :].startswith("SELECT") and not any(  # type: ignore[union-attr]
        name in statement for name in _CHANGES
    )


@functools.cache
def _is_judged(statement: str) -> bool:
    return _JUDGED.search(statement) is not None


Observe = Callable[[Process, bytes], None]
"""Told after each commit what it changed."""


class SimulatedDatabase:
    """Serialises transactions and tells the loop while an answer is outstanding."""

    def __init__(
        self, connection: Any, direct: DirectConnection, loop: VirtualLoop, chance: random.Random, observe: Observe, *,
        is_slow_alone: bool = False,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._direct = direct
        self._outstanding = 0
        self._is_slow_alone = is_slow_alone
        self._observe = observe
        self._loop = loop
        self._chance = chance
        self._holder: Process | None = None
        self._waiting: list[tuple[Process, asyncio.Future[None]]] = []
        self._idle: list[asyncio.Future[None]] = []
        self._in_transaction = False
        self._is_begun = False
        self._is_judged = False
        self._looked_until = 0

    async def send(self, statement: Coroutine[Any, Any, Answer]) -> Answer:
        """The database's answer, which takes no virtual time. What is ready runs first."""
        answered: asyncio.Future[Answer] = self._loop.create_future()

        def ask() -> None:
            try:
                answer = self._direct.answer(statement)
            except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
                if not answered.done():
                    answered.set_exception(error)
            else:
                if not answered.done():
                    answered.set_result(answer)

        self._outstanding += 1
        self._loop.ask(ask)
        try:
            return await answered
        finally:
            self._outstanding -= 1
            if not self._outstanding:
                for waiter in self._idle:
                    if not waiter.done():
                        waiter.set_result(None)
                self._idle.clear()

    async def call(self, process: Process, method: str, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        await process.reach()
        statement = arguments[0]
        is_commit = statement == "COMMIT"
        # A statement by itself is its own commit: its answer may be lost as well.
        is_alone = not self._in_transaction and statement not in _CONTROL and not _only_reads(statement)
        if not is_commit and process.is_cut(after_commit=False):
            await self._lose()
        if is_alone and _is_judged(statement):
            if self._is_slow_alone:
                # The disk takes its time here too, so that what arrives meanwhile comes together.
                await asyncio.sleep(self._chance.uniform(0.001, COMMIT_SECONDS_MAX))
                await process.reach()
            answer = await self.send(getattr(self._connection, method)(*arguments, **options))
            await self._look_at_changes(process)
        else:
            answer = await self._call(process, method, arguments, options)
        await process.reach()
        if (is_commit or is_alone) and process.is_cut(after_commit=True):
            await self._lose()
        return answer

    async def _call(self, process: Process, method: str, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        statement = arguments[0]
        if statement == "COMMIT" and self._is_begun and self._is_judged:
            self._is_begun = self._is_judged = False
            self._direct.precede("COMMIT")
            await self._look_at_changes(process)
            return None
        if not self._is_needed(statement):
            return None
        answer = await self.send(getattr(self._connection, method)(*arguments, **options))
        self._is_judged = self._is_judged or (self._is_begun and _is_judged(statement))
        return answer

    async def _look_at_changes(self, process: Process) -> None:
        """Tell what a commit changed. There is one connection, so all that changed since the last look is its own."""
        changes, self._looked_until = await self.send(proof.read_changes(self._connection, self._looked_until))
        if changes:
            self._observe(process, changes)

    def _is_needed(self, statement: str) -> bool:
        """A transaction really begins with the first statement that changes something, and one that only read never
        did: nobody else is there meanwhile, so that reads see the same, and most transactions find nothing to do."""
        if statement == "BEGIN":
            return False
        if statement in ("COMMIT", "ROLLBACK"):
            begun, self._is_begun, self._is_judged = self._is_begun, False, False
            return begun
        if self._in_transaction and not self._is_begun and not _only_reads(statement):
            self._direct.precede("BEGIN")
            self._is_begun = True
        return True

    async def _lose(self) -> None:
        """The holder's connection is gone, and with it what it had not committed."""
        self._direct.withdraw()
        if self._connection.is_in_transaction():
            await self.send(self._connection.execute("ROLLBACK"))
        self._in_transaction = self._is_begun = self._is_judged = False
        raise asyncpg.ConnectionDoesNotExistError("The connection was closed in the middle of an operation.")

    async def begin(self, process: Process) -> bool:
        """Begin a transaction, or a savepoint in one; return whether it is the outermost."""
        outermost = not self._in_transaction
        await self.call(process, "execute", ["BEGIN" if outermost else "SAVEPOINT inner_part"], {})
        self._in_transaction = True
        return outermost

    async def end(self, process: Process, *, outermost: bool, well: bool) -> None:
        if not process.alive:
            return
        if outermost:
            self._in_transaction = False
            # The disk takes its time: what arrives meanwhile comes together in the next batch.
            await asyncio.sleep(self._chance.uniform(0.001, COMMIT_SECONDS_MAX))
            await self.call(process, "execute", ["COMMIT" if well else "ROLLBACK"], {})
        elif not well:
            await self.call(process, "execute", ["ROLLBACK TO SAVEPOINT inner_part"], {})

    async def take(self, process: Process) -> None:
        await process.stand_still()
        await process.wait_for_pool()
        if not process.alive:
            raise ConnectionResetError(_DEAD)
        if self._holder is None:
            self._holder = process
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        entry = (process, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif self._holder is process:
                self.give_back(process)
            raise

    def give_back(self, process: Process) -> None:
        if self._holder is not process:
            return
        self._holder = None
        self._waiting = [entry for entry in self._waiting if entry[0].alive]
        if self._waiting:
            process, turn = self._waiting.pop(self._chance.randrange(len(self._waiting)))
            self._holder = process
            turn.set_result(None)

    async def become_idle(self) -> None:
        """Wait until no statement is under way."""
        while self._outstanding:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._idle.append(waiter)
            await waiter

    async def bury(self, process: Process) -> None:
        """Take a dead process's hold off the database; what it had not committed is gone."""
        await self.become_idle()
        if self._holder is process:
            self._direct.withdraw()
            # The last statement of the dead may have been its COMMIT: then there is nothing to roll back.
            if self._connection.is_in_transaction():
                await self.send(self._connection.execute("ROLLBACK"))
            self._in_transaction = self._is_begun = self._is_judged = False
            self.give_back(process)


class ProcessPool:
    """What a simulated process has in place of a pool of connections."""

    def __init__(self, database: SimulatedDatabase, process: Process) -> None:
        self._database = database
        self._process = process

    def acquire(self) -> _Acquired:
        return _Acquired(self._database, self._process)

    async def fetch(self, query: str, *arguments: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.execute(query, *arguments)


class _Acquired:
    def __init__(self, database: SimulatedDatabase, process: Process) -> None:
        self._database = database
        self._process = process

    async def __aenter__(self) -> ProcessConnection:
        await self._database.take(self._process)
        return ProcessConnection(self._database, self._process)

    async def __aexit__(self, *_: object) -> None:
        if self._process.alive:
            self._database.give_back(self._process)


class ProcessConnection:
    """The part of a connection's interface that the ledger uses."""

    def __init__(self, database: SimulatedDatabase, process: Process) -> None:
        self._database = database
        self._process = process

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        return await self._database.call(self._process, "execute", [query, *arguments], options)

    async def executemany(self, query: str, rows: Any, **options: Any) -> Any:
        return await self._database.call(self._process, "executemany", [query, rows], options)

    async def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
        return await self._database.call(self._process, "fetch", [query, *arguments], options)

    async def fetchrow(self, query: str, *arguments: Any, **options: Any) -> Any:
        return await self._database.call(self._process, "fetchrow", [query, *arguments], options)

    async def fetchval(self, query: str, *arguments: Any, **options: Any) -> Any:
        return await self._database.call(self._process, "fetchval", [query, *arguments], options)

    async def copy_records_to_table(self, table: str, **options: Any) -> Any:
        return await self._database.call(self._process, "copy_records_to_table", [table], options)

    def transaction(self) -> _Transaction:
        return _Transaction(self._database, self._process)


class _Transaction:
    def __init__(self, database: SimulatedDatabase, process: Process) -> None:
        self._database = database
        self._process = process
        self._outermost = False

    async def __aenter__(self) -> None:
        self._outermost = await self._database.begin(self._process)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost = isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InterfaceError)
        if not lost:
            await self._database.end(self._process, outermost=self._outermost, well=error is None)
