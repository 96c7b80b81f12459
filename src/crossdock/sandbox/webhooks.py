"""Outgoing webhooks: persisted first, signed as Standard Webhooks asks, at least once, in no promised order."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from contextlib import suppress
from typing import Final

import aiohttp

from crossdock.sandbox.faults import Faults
from crossdock.sandbox.storage import Message, Storage

# Waits between attempts, in seconds: the schedule of Standard Webhooks, compressed so that a demonstration can see it.
RETRY_WAITS_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
SENDERS: Final = 8
AGAIN_AFTER_SECONDS: Final = 3.0
AGAIN_MAX: Final = 3


def sign(secret: str, identifier: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` value: v1 and the base64 HMAC-SHA256 over `id.timestamp.body`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = b".".join((identifier.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()}"


def traceparent_of(identifier: str) -> str:
    """Each message is a trace of its own; its identifier is random and long enough to name it."""
    trace = identifier.removeprefix("msg_")
    return f"00-{trace}-{trace[:16]}-01"


class WebhookSender:
    """Delivers the outbox to one subscriber until it answers 2xx or the schedule ends."""

    def __init__(self, storage: Storage, faults: Faults, url: str, secret: str) -> None:
        self._storage = storage
        self._faults = faults
        self._url = url
        self._secret = secret
        self._news = asyncio.Event()
        self._sending = False

    def announce(self) -> None:
        """Say that something was queued and committed."""
        self._news.set()

    async def until_told(self, seconds_max: float) -> None:
        """Until all that is due was sent, for which there is a limit: the subscriber may be down."""
        self.announce()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                while self._sending or self._storage.seconds_until_due() == 0.0:  # noqa: ASYNC110 - due by the clock
                    await asyncio.sleep(0.01)

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
            while True:
                self._news.clear()
                messages = self._storage.due_messages(limit=SENDERS)
                if messages:
                    self._sending = True
                    await asyncio.gather(*(self._deliver(session, message) for message in messages))
                    self._sending = False
                    continue
                await self._wait(self._storage.seconds_until_due())

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(None if seconds is None else seconds + 0.005):
                await self._news.wait()
        except TimeoutError:
            return

    async def _deliver(self, session: aiohttp.ClientSession, message: Message) -> None:
        fate = self._faults.draw_webhook()
        if fate.lost:
            self._storage.close_message(message.id, "lost")
            return
        if fate.delay_seconds and message.attempts == 0:
            self._storage.postpone_message(message.id, fate.delay_seconds)
            return
        answers = await asyncio.gather(*(self._send(session, message) for _ in range(fate.copies)))
        if any(answers) and fate.again and message.attempts < AGAIN_MAX:
            self._storage.postpone_message(message.id, AGAIN_AFTER_SECONDS)
        elif any(answers):
            self._storage.close_message(message.id, "delivered")
        elif message.attempts >= len(RETRY_WAITS_SECONDS):
            self._storage.close_message(message.id, "given up")
        else:
            self._storage.postpone_message(message.id, RETRY_WAITS_SECONDS[message.attempts])

    async def _send(self, session: aiohttp.ClientSession, message: Message) -> bool:
        timestamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secret, message.id, timestamp, message.body),
            "traceparent": traceparent_of(message.id),
        }
        try:
            async with session.post(self._url, data=message.body, headers=headers, allow_redirects=False) as response:
                return 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError):
            return False
