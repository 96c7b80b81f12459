"""The console's pages. Each answers whole, or only the part that htmx asks for."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

from litestar import MediaType, Response, get
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from crossdock.console.gate import AnyRequest, NotFound, Services, Visitor, check_origin, is_fragment
from crossdock.console.rendering import render
from crossdock.console.words import ORDER_STATES
from crossdock.insight.connections import read_connections
from crossdock.insight.holds import (
    list_holds,
    list_quarantined_facts,
    list_quarantined_steps,
    read_fact_payload,
    read_hold_groups,
    read_quarantine_groups,
)
from crossdock.insight.orders import TEXT_LENGTH_MAX, OrderFilter, list_channels, read_order, search_orders
from crossdock.insight.timeline import read_timeline

PAGE_SIZE: Final = 50
Text = Annotated[str, QueryParameter(max_length=TEXT_LENGTH_MAX)]

# What a page says after an action; only these texts can be shown, with a number.
SAID: Final = {
    "released": "{count} released. They are decided anew.",
    "released_some": "{count} released. What stays held cannot be accepted as it is: release one alone to see why.",
    "refused": "{count} refused.",
    "closed": "{count} closed.",
    "reason": "Nothing was done: write the reason first.",
    "unchosen": "Nothing was chosen. Tick what is meant first.",
    "settled": "The step is settled; what follows goes on.",
    "replayed": "{count} will be tried again now.",
    "paused": "Paused. Nothing is sent until it is resumed; what arrives is kept.",
    "resumed": "Resumed. The backlog drains at the partner’s own rate.",
    "breaker": "The breaker was set.",
    "cancelled": "The cancellation was asked for.",
    "repairing": "{count} will be repaired, and looked at again until they agree.",
    "dismissed": "{count} left as they are.",
    "retold": "{count} will be told again now.",
    "none": "There was nothing to do: somebody else was faster, or the state has changed.",
}


def said(request: AnyRequest) -> str:
    """The sentence for the action just done, from the query."""
    text = SAID.get(request.query_params.get("said", ""), "")
    count = request.query_params.get("count", "")
    return text.format(count=count if count.isdigit() and len(count) < 8 else "None")


@get("/", media_type=MediaType.HTML)
async def overview_page(request: AnyRequest, services: Services, session: Visitor) -> str:
    """Is all well? What waits, since when, and who must act."""
    snapshot = await services.live.snapshot()
    template = "_overview.html" if is_fragment(request) else "overview.html"
    return render(services, template, session, snapshot=snapshot, overview=snapshot.overview, said=said(request))


@get("/orders", media_type=MediaType.HTML)
async def orders_page(
    request: AnyRequest,
    services: Services,
    session: Visitor,
    q: Text = "",
    order_state: Annotated[str, QueryParameter(name="state", max_length=TEXT_LENGTH_MAX)] = "",
    channel: Text = "",
    sku: Text = "",
    customer: Text = "",
    cause: Text = "",
    cursor: Annotated[str, QueryParameter(max_length=600)] = "",
) -> str:
    """Search and filters; newest first."""
    wanted = OrderFilter(
        text=q,
        state=order_state if order_state in ORDER_STATES else "",
        channel=channel,
        sku=sku,
        customer=customer,
        hold_cause=cause,
    )
    listing = await search_orders(services.pool, wanted, cursor, PAGE_SIZE)
    kept = {"q": q, "state": order_state, "channel": channel, "sku": sku, "customer": customer, "cause": cause}
    query = urlencode({name: value for name, value in kept.items() if value})
    template = "orders.html"
    if is_fragment(request):
        template = "_order_rows.html" if cursor else "_orders.html"
    snapshot = await services.live.snapshot()
    return render(
        services,
        template,
        session,
        listing=listing,
        wanted=wanted,
        query=query,
        channels=await list_channels(services.pool),
        said="",
        counts={count.state: count for count in snapshot.overview.orders},
    )


@get("/orders/{number:str}", media_type=MediaType.HTML)
async def order_page(request: AnyRequest, services: Services, session: Visitor, number: FromPath[str]) -> str:
    """One order over all systems, and what happens next."""
    found = await read_order(services.pool, number)
    if found is None:
        raise NotFound("There is no order with this number.")
    timeline = await read_timeline(services.pool, found.order.order_id, services.clock(), exchanges=True)
    template = "_order.html" if is_fragment(request) else "order.html"
    return render(
        services,
        template,
        session,
        found=found,
        order=found.order,
        progress=found.progress,
        timeline=timeline,
        said=said(request),
    )


@get("/connections", media_type=MediaType.HTML)
async def connections_page(request: AnyRequest, services: Services, session: Visitor) -> str:
    """Each partner: health, backlog, breakers, rate, feeds."""
    connections = await read_connections(services.pool, services.clock())
    template = "_connections.html" if is_fragment(request) else "connections.html"
    return render(services, template, session, connections=connections, said=said(request))


@get("/holds", media_type=MediaType.HTML)
async def holds_page(request: AnyRequest, services: Services, session: Visitor) -> str:
    """What cannot go on by itself, by cause."""
    template = "_holds.html" if is_fragment(request) else "holds.html"
    return render(
        services,
        template,
        session,
        said=said(request),
        holds=await read_hold_groups(services.pool),
        quarantine=await read_quarantine_groups(services.pool),
    )


@get("/holds/orders", media_type=MediaType.HTML)
async def held_orders_page(
    request: AnyRequest,
    services: Services,
    session: Visitor,
    cause: Text = "",
    cursor: Annotated[str, QueryParameter(max_length=600)] = "",
) -> str:
    """The orders held for one cause, to be chosen one by one."""
    listing = await list_holds(services.pool, cause=cause, cursor=cursor, limit=PAGE_SIZE)
    return render(
        services,
        "held_orders.html",
        session,
        cause=cause,
        listing=listing,
        query=urlencode({"cause": cause}),
        said=said(request),
    )


@get("/quarantine/facts", media_type=MediaType.HTML)
async def quarantined_facts_page(
    request: AnyRequest,
    services: Services,
    session: Visitor,
    connection: Text = "",
    cause: Text = "",
    kind: Text = "",
    cursor: Annotated[str, QueryParameter(max_length=600)] = "",
) -> str:
    """The facts that could not be applied, with their payload."""
    listing = await list_quarantined_facts(
        services.pool, connection=connection, cause=cause, kind=kind, cursor=cursor, limit=PAGE_SIZE
    )
    chosen = {"connection": connection, "cause": cause, "kind": kind}
    query = urlencode({name: value for name, value in chosen.items() if value})
    return render(
        services, "quarantined_facts.html", session, listing=listing, chosen=chosen, query=query, said=said(request),
        rehearsed=await services.control.rehearse_facts([fact.fact_id for fact in listing.items]),
    )  # fmt: skip


@get("/quarantine/facts/{fact_id:int}/payload", media_type=MediaType.HTML)
async def fact_payload(services: Services, session: Visitor, fact_id: FromPath[int]) -> str:
    """The payload as received, masked."""
    payload = await read_fact_payload(services.pool, fact_id)
    if payload is None:
        raise NotFound("There is no such fact.")
    return render(services, "_payload.html", session, payload=payload)


@get("/quarantine/steps", media_type=MediaType.HTML)
async def quarantined_steps_page(
    request: AnyRequest,
    services: Services,
    session: Visitor,
    connection: Text = "",
    cause: Text = "",
    operation: Text = "",
    cursor: Annotated[str, QueryParameter(max_length=600)] = "",
) -> str:
    """The steps that could not be done."""
    listing = await list_quarantined_steps(
        services.pool, connection=connection, cause=cause, operation=operation, cursor=cursor, limit=PAGE_SIZE
    )
    chosen = {"connection": connection, "cause": cause, "operation": operation}
    query = urlencode({name: value for name, value in chosen.items() if value})
    return render(
        services, "quarantined_steps.html", session, listing=listing, chosen=chosen, query=query, said=said(request)
    )


@get("/live")
async def live_events(request: AnyRequest, services: Services, session: Visitor) -> Stream | Response[bytes]:
    """Server-sent events that tell a page to look again."""
    check_origin(request)
    if services.live.full:
        return Response(b"", status_code=503, headers={"Retry-After": "30"})
    return Stream(services.live.watch(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@get("/static/{name:path}")
async def static_asset(services: Services, name: FromPath[str]) -> Response[bytes]:
    """Style, script and mark; named with their content's hash, so that browsers may keep them."""
    asset = services.assets.get(name.lstrip("/"))
    if asset is None:
        raise NotFound("There is no such file.")
    return Response(
        asset.content, media_type=asset.media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"}
    )
