"""A workflow in Python whose activity is in Rust: called by its name, on the other worker's queue.

usage: order.py ADDRESS QUEUE RUST-QUEUE ORDER
Prints what the workflow saw, as JSON."""

import asyncio
import json
import os
import sys
from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker


@workflow.defn
class Order:
    @workflow.run
    async def run(self, queue: str, order: dict) -> dict:
        try:
            receipt = await workflow.execute_activity(
                "charge",
                order,
                task_queue=queue,
                result_type=str,
                start_to_close_timeout=timedelta(seconds=30),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)),
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
            return {"receipt": receipt}
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type == "exactly-once/rejected":
                details = cause.details[0]
                return {"refused": cause.message, "status": details["http_status"],
                        "final": cause.non_retryable}
            raise


async def main(address, queue, rust_queue, order):
    client = await Client.connect(address)
    async with Worker(client, task_queue=queue, workflows=[Order]):
        answer = await client.execute_workflow(
            Order.run, args=[rust_queue, json.loads(order)], id=queue, task_queue=queue
        )
    print(json.dumps(answer))


# The sandbox of workflows imports this file once more.
if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    sys.stdout.flush()
    # Threads of the SDK's core outlive the interpreter. One that takes the GIL while the interpreter
    # finalizes aborts the process, so the process ends without that. Whatever failed has raised before.
    os._exit(0)
