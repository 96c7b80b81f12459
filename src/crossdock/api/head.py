"""HEAD: what GET would say, without its body. Once, for everything that is served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]
# Streams have no end and so no length: there a HEAD stays what it is, not possible.
_STREAMS: Final = ("/live", "/changes")


def with_head(application: AsgiApplication) -> AsgiApplication:
    """`application`, asked by GET for every HEAD."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].endswith(_STREAMS):
            await application(scope, receive, send)
            return

        async def send_without_body(message: Any) -> None:
            if message["type"] != "http.response.body":
                await send(message)
            elif not message.get("more_body"):
                await send({"type": "http.response.body", "body": b""})

        await application({**scope, "method": "GET"}, receive, send_without_body)

    return answer
