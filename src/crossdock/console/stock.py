"""The console's pages of stock: places and channels, one SKU with its sum, drift by cause; what may be done there."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote, urlencode

from litestar import MediaType, get, post
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect

from crossdock.console.actions import back_to, chosen_ids
from crossdock.console.gate import AnyRequest, NotFound, Services, Visitor, first, is_fragment, signed_form
from crossdock.console.pages import PAGE_SIZE, Text, said
from crossdock.console.rendering import render
from crossdock.insight.stock import (
    list_drift,
    list_locations,
    list_places,
    list_published,
    read_drift_groups,
    read_held_reports,
    read_kpis,
    read_parked_groups,
    read_sku,
    read_sources,
    read_stock_lanes,
)

SIDES: Final = ("owner", "channel")
Cursor = Annotated[str, QueryParameter(max_length=600)]


@get("/stock", media_type=MediaType.HTML)
async def stock_page(
    request: AnyRequest, services: Services, session: Visitor, q: Text = "", location: Text = "", channel: Text = "",
    parked: Text = "", cursor: Cursor = "",
) -> str:  # fmt: skip
    """Places by SKU, or what a channel is told; above it what needs somebody, below it how well it goes."""
    pool = services.pool
    text = q.strip().replace("\x00", "")
    query = urlencode({
        name: value for name, value in
        {"q": text, "location": location, "channel": channel, "parked": parked}.items() if value
    })  # fmt: skip
    places = published = None
    if channel:
        published = await list_published(pool, channel, text=text, parked=bool(parked), cursor=cursor, limit=PAGE_SIZE)
    else:
        places = await list_places(pool, text=text, location=location, cursor=cursor, limit=PAGE_SIZE)
    found = {"places": places, "published": published, "query": query, "wanted": {
        "q": text, "location": location, "channel": channel, "parked": parked,
    }}  # fmt: skip
    if is_fragment(request) and (cursor or request.headers.get("hx-target") == "stock-found"):
        return render(services, "_stock_rows.html" if cursor else "_stock_found.html", session, **found)
    return render(
        services, "_stock.html" if is_fragment(request) else "stock.html", session, said=said(request),
        kpis=await read_kpis(pool, services.clock()), sources=await read_sources(pool),
        lanes=await read_stock_lanes(pool), parked_groups=await read_parked_groups(pool),
        held=await read_held_reports(pool), drift=await read_drift_groups(pool),
        locations=await list_locations(pool), **found,
    )  # fmt: skip


@get("/stock/sku/{sku:str}", media_type=MediaType.HTML)
async def sku_page(request: AnyRequest, services: Services, session: Visitor, sku: FromPath[str]) -> str:
    """One SKU: where it is, what may be promised and why, what is published where, what differs."""
    found = await read_sku(services.pool, sku, services.policy, services.clock()) if sku.isprintable() else None
    if found is None:
        raise NotFound("There is no such SKU.")
    template = "_stock_sku.html" if is_fragment(request) else "stock_sku.html"
    return render(services, template, session, found=found, said=said(request))


@get("/stock/drift", media_type=MediaType.HTML)
async def drift_page(
    request: AnyRequest, services: Services, session: Visitor, cause: Text = "", side: Text = "",
    counterpart: Text = "",
    cursor: Cursor = "",
) -> str:  # fmt: skip
    """Open differences, to be chosen one by one."""
    side = side if side in SIDES else ""
    chosen = {"cause": cause, "side": side, "counterpart": counterpart}
    listing = await list_drift(
        services.pool, cause=cause, side=side, counterpart=counterpart, cursor=cursor, limit=PAGE_SIZE
    )
    return render(
        services, "drift.html", session, listing=listing, chosen=chosen, said=said(request),
        query=urlencode({name: value for name, value in chosen.items() if value}),
    )  # fmt: skip


@post("/stock/drift/repair")
async def repair_drift(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Repair what was ticked, or all of a cause at a counterpart."""
    fields = await signed_form(request, session)
    cause, side, counterpart = _group(fields)
    count = await services.control.repair_drift(
        services.clock(), session.name, chosen_ids(fields, "drift_id"), cause, side, counterpart
    )
    return back_to(fields, "/console/stock", "repairing", count)


@post("/stock/drift/dismiss")
async def dismiss_drift(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Leave what was ticked, or all of a cause at a counterpart, as it is."""
    fields = await signed_form(request, session)
    cause, side, counterpart = _group(fields)
    count = await services.control.dismiss_drift(
        services.clock(), session.name, chosen_ids(fields, "drift_id"), cause, side, counterpart
    )
    return back_to(fields, "/console/stock", "dismissed", count)


@post("/stock/retry")
async def retry_parked(request: AnyRequest, services: Services, session: Visitor) -> Redirect:
    """Tell parked figures again: one SKU's, or all of a channel and cause."""
    fields = await signed_form(request, session)
    channel, sku = first(fields, "channel"), first(fields, "sku")
    count = await services.control.retry_publications(
        services.clock(), session.name, channel, first(fields, "code"), sku
    )
    return back_to(fields, f"/console/stock/sku/{quote(sku)}" if sku else "/console/stock", "retold", count)


def _group(fields: dict[str, list[str]]) -> tuple[str, str, str]:
    """All of a cause only where nothing was ticked and the form says so."""
    if fields.get("drift_id") or first(fields, "all") != "yes":
        return "", "", ""
    return first(fields, "cause"), first(fields, "side"), first(fields, "counterpart")
