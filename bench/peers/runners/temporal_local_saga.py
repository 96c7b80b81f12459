"""The saga on Temporal with local activities: quicker, and a delivery is recorded only with its workflow's task."""

from __future__ import annotations

import asyncio

from bench.peers.runners.temporal_saga import LocalSaga, main

if __name__ == "__main__":
    asyncio.run(main(LocalSaga))
