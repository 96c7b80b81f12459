"""The saga on Temporal: a workflow with an identifier and five activities; the worker and the client in one process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.peers.saga import STEPS, Acknowledged, PartnerLog, arguments, serve

QUEUE = "saga"
IN_FLIGHT = 50
AT_ONCE = 100
DEADLINE = timedelta(seconds=5)
_logs: list[PartnerLog] = []


@activity.defn
async def deliver(number: int, place: int) -> str:
    """A partner that does nothing but write it down."""
    _logs[0].write([(number, place)])
    return "{}"


@workflow.defn
class Saga:
    """Each delivery is an activity of its own: scheduled, done and recorded by the server."""

    @workflow.run
    async def run(self, number: int, body: str) -> str:
        for place in range(STEPS):
            await workflow.execute_activity(deliver, args=[number, place], start_to_close_timeout=DEADLINE)
        return "completed"


@workflow.defn
class LocalSaga:
    """Each delivery is a local activity: done in the worker, recorded with the workflow's task."""

    @workflow.run
    async def run(self, number: int, body: str) -> str:
        for place in range(STEPS):
            await workflow.execute_local_activity(deliver, args=[number, place], start_to_close_timeout=DEADLINE)
        return "completed"


class TemporalSaga:
    batch = 1
    lanes = IN_FLIGHT
    waits = True

    def __init__(self, address: str, body: str, saga: Any) -> None:
        self._address, self._body, self._saga = address, body, saga
        self._client: Client | None = None
        self._handles: dict[int, WorkflowHandle[Any, Any]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._client = await _connect(self._address)
        self._worker = asyncio.create_task(self._work(self._client))

    async def accept(self, numbers: Sequence[int]) -> None:
        assert self._client is not None
        for number in numbers:
            try:
                self._handles[number] = await self._client.start_workflow(
                    self._saga.run, args=[number, self._body], id=str(number), task_queue=QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                )  # fmt: skip
            except WorkflowAlreadyStartedError:
                self._handles[number] = self._client.get_workflow_handle(str(number))

    async def finish(self, number: int) -> None:
        handle = self._handles.pop(number)
        while True:
            try:
                await handle.result()
                return
            except Exception as error:  # noqa: BLE001 - the server may be away; the orders are counted in the end
                sys.stderr.write(f"no result yet: {error!r}\n")
                await asyncio.sleep(0.5)

    async def completed(self) -> int:
        assert self._client is not None
        return (await self._client.count_workflows("ExecutionStatus = 'Completed'")).count

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self, client: Client) -> None:
        while True:
            try:
                await Worker(
                    client, task_queue=QUEUE, workflows=[Saga, LocalSaga], activities=[deliver],
                    workflow_runner=UnsandboxedWorkflowRunner(), max_concurrent_workflow_tasks=AT_ONCE,
                    max_concurrent_activities=AT_ONCE, max_concurrent_local_activities=AT_ONCE,
                ).run()  # fmt: skip
            except Exception as error:  # noqa: BLE001 - a supervisor would start it again
                sys.stderr.write(f"the worker ended: {error!r}\n")
            await asyncio.sleep(1)


async def _connect(address: str) -> Client:
    for _ in range(100):
        try:
            client = await Client.connect(address)
            await client.count_workflows()
            return client
        except Exception as error:  # noqa: BLE001 - it is starting
            sys.stderr.write(f"not there yet: {error!r}\n")
            await asyncio.sleep(0.2)
    raise RuntimeError("the server did not answer")


async def main(saga: Any = Saga) -> None:
    address, directory, body = arguments()
    _logs.append(PartnerLog(directory))
    await serve(TemporalSaga(address, body, saga), _logs[0], Acknowledged(directory))


if __name__ == "__main__":
    asyncio.run(main())
