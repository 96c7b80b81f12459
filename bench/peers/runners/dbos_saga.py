"""The saga on DBOS: a workflow with an identifier and five steps, started and awaited, several at once.

The form is the one that its documentation names for throughput: asynchronous workflows, started directly in the process
that runs them (no queue to poll). Each commits its start with its input, each step its result, the workflow its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dbos import DBOS, DBOSConfig, SetWorkflowID, WorkflowHandleAsync

from bench.peers.saga import STEPS, Acknowledged, PartnerLog, arguments, serve

IN_FLIGHT = 50
POOL = 10
Tell = Callable[[Sequence[tuple[int, int]]], None]
_told: list[Tell] = []


@DBOS.step()
async def deliver(number: int, place: int) -> str:
    """A partner that does nothing but write it down."""
    _told[0]([(number, place)])
    return "{}"


@DBOS.workflow()
async def saga(number: int, body: str) -> str:
    for place in range(STEPS):
        await deliver(number, place)
    return "completed"


def launch(address: str, tell: Tell) -> None:
    """Start DBOS on this database; `tell` is called with each delivery."""
    _told[:] = [tell]
    config: DBOSConfig = {
        "name": "bench", "application_version": "bench",
        "system_database_url": address.split("?", maxsplit=1)[0], "sys_db_pool_size": POOL,
        "log_level": "ERROR",
    }  # fmt: skip
    DBOS(config=config)
    DBOS.launch()


class DbosSaga:
    batch = 1
    lanes = IN_FLIGHT
    waits = True

    def __init__(self, address: str, log: PartnerLog, body: str) -> None:
        self._address, self._log, self._body = address, log, body
        self._handles: dict[int, WorkflowHandleAsync[str]] = {}

    async def open(self) -> None:
        launch(self._address, self._log.write)

    async def accept(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            with SetWorkflowID(str(number)):
                self._handles[number] = await DBOS.start_workflow_async(saga, number, self._body)

    async def finish(self, number: int) -> None:
        await self._handles.pop(number).get_result()

    async def completed(self) -> int:
        found = await DBOS.list_workflows_async(status="SUCCESS", load_input=False, load_output=False)
        return len(found)

    async def close(self) -> None:
        DBOS.destroy()


async def main() -> None:
    address, directory, body = arguments()
    log = PartnerLog(directory)
    await serve(DbosSaga(address, log, body), log, Acknowledged(directory))


if __name__ == "__main__":
    asyncio.run(main())
