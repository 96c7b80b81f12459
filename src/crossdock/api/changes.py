"""Changes of promises as server-sent events: the present of whatever changed, resumable, never a history.

Each event holds the figures as they are when it is sent, so a listener that is slow, or was away, gets fewer events and
not older ones. Nothing is kept for a listener: where it stands is the identifier of its last event.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Annotated, Final

import msgspec

from crossdock.api.answers import Answer, ApiProblem
from crossdock.api.availability import SKUS_MAX, Availability, choose_asked, read_items, read_terms
from crossdock.api.endpoint import Call
from crossdock.api.orders import Text
from crossdock.rules.availability import Promise, Terms

STREAM_SECONDS_MAX: Final = 600.0
REMEMBERED_MAX: Final = 10_000
_ENCODER: Final = msgspec.json.Encoder()


class ChangesQuery(msgspec.Struct, frozen=True):
    """As for the availability itself; with `sku` only these are told of."""

    sku: Annotated[tuple[Text, ...], msgspec.Meta(max_length=SKUS_MAX)] = ()
    channel: Text = ""
    customer: Text = ""


async def stream_changes(call: Call) -> Answer:
    """What may be promised of each SKU whenever it changes. Begins at the header Last-Event-ID, else now."""
    query: ChangesQuery = call.query
    feed = call.services.changes
    channel = choose_asked(call, query.channel)
    after = call.headers.get("last-event-id", "")
    if after and not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise ApiProblem(400, "event_unknown", "This is no identifier of an event.", field="Last-Event-ID")
    if feed.is_full:
        raise ApiProblem(503, "listeners_full", "Too many listen already.", headers={"Retry-After": "5"})
    terms = await read_terms(call, channel, query.customer)
    position, missed = await feed.begin(int(after) if after else None)
    stream = _follow(call, terms, frozenset(query.sku), position, missed)
    return Answer(200, media_type="text/event-stream", stream=stream)


async def _follow(
    call: Call, terms: Terms, wanted: frozenset[str], position: int, missed: bool
) -> AsyncGenerator[bytes]:
    """`beginning` says where it begins; `reset` that the present must be read anew; `availability` what changed."""
    feed = call.services.changes
    ends_at = time.monotonic() + STREAM_SECONDS_MAX
    told: dict[str, Promise] = {}
    feed.listen()
    try:
        yield b"retry: 2000\n\n"
        yield _event("reset" if missed else "beginning", position, b"{}")
        while time.monotonic() < ends_at:
            if not await feed.wait_beyond(position):
                yield f"id: {position}\n: still here\n\n".encode()
                continue
            position, skus = await feed.read_after(position)
            skus = [sku for sku in skus if not wanted or sku in wanted]
            if skus:
                found = await _read_changed(call, terms, skus, told)
                if found is not None:
                    yield _event("availability", position, _ENCODER.encode(found))
    finally:
        feed.leave()


async def _read_changed(
    call: Call, terms: Terms, skus: list[str], told: dict[str, Promise]
) -> Availability | None:
    """The figures that are not those told last; None: none are."""
    now = call.services.clock()
    found = await read_items(call, skus, terms, now)
    fresh = [(item, promise) for item, promise in found if told.get(item.sku) != promise]
    if len(told) > REMEMBERED_MAX:
        told.clear()
    told.update((item.sku, promise) for item, promise in fresh)
    if not fresh:
        return None
    return Availability(now, "ledger", tuple(item for item, _ in fresh), (), terms.channel)


def _event(name: str, position: int, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (position, name.encode(), data)
