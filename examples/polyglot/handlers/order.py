"""Where a till listens."""

import asyncio
import sys

import hypercorn.asyncio
import hypercorn.config
import restate


def serve(services: list) -> None:
    """Serves at `--address 127.0.0.1:9081`."""
    config = hypercorn.config.Config()
    config.bind = [sys.argv[sys.argv.index("--address") + 1]]
    config.graceful_timeout = 1
    asyncio.run(hypercorn.asyncio.serve(restate.app(services=services), config))
