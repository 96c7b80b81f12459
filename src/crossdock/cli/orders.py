"""`crossdock orders`: look orders up, see their timeline, cancel, release or refuse."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime
from typing import Any, get_args

import click
from rich.console import Console
from rich.progress import Progress

from crossdock.app import Application
from crossdock.cli.application import with_application
from crossdock.cli.exits import HELP
from crossdock.cli.output import finish, say, show_json, show_table, with_pool
from crossdock.insight.holds import list_holds
from crossdock.insight.orders import OrderFilter, order_id_of, read_order, search_orders
from crossdock.insight.timeline import read_timeline
from crossdock.kit.masking import printable
from crossdock.model.errors import Conflict, Invalid
from crossdock.model.orders import OrderState

PAGES_MAX = 1000


def actor() -> str:
    """Who acts, as the audit keeps it."""
    return f"cli:{getpass.getuser()}"


@click.group(epilog=HELP)
def orders() -> None:
    """Look orders up and act on them."""


@orders.command("list")
@click.option("--text", default="", help="Our number or any partner's, a customer, a SKU.")
@click.option("--state", type=click.Choice(get_args(OrderState)), help="Only orders in this state.")
@click.option("--channel", default="")
@click.option("--customer", default="")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--cursor", default="", help="Where the last page ended.")
@click.option("--json", "as_json", is_flag=True)
def list_orders(
    text: str, state: str | None, channel: str, customer: str, limit: int, cursor: str, as_json: bool
) -> None:
    """List orders, newest first."""
    wanted = OrderFilter(text=text, state=state or "", channel=channel, customer=customer)
    page = finish(with_pool(dict(os.environ), lambda pool: search_orders(pool, wanted, cursor, limit)))
    if as_json:
        show_json(page)
        return
    show_table(
        "Orders", ("number", "channel", "its number", "customer", "state", "net", "placed"),
        [(order.number, order.channel, order.channel_number, order.customer, order.state,
          f"{order.net} {order.currency}", f"{order.placed_at:%Y-%m-%d %H:%M}") for order in page.items],
    )  # fmt: skip
    if page.cursor:
        say(f"More with --cursor {page.cursor}")


@orders.command()
@click.argument("number")
@click.option("--json", "as_json", is_flag=True)
def show(number: str, as_json: bool) -> None:
    """Show one order with everything that happened, and what happens next."""

    async def read(pool: Any) -> tuple[Any, Any]:
        order_id = read_order_id(number)
        found = await read_order(pool, number)
        if found is None:
            raise Invalid("order_unknown", f"There is no order {number}.", field="number")
        return found, await read_timeline(pool, order_id, datetime.now(UTC))

    detail, timeline = finish(with_pool(dict(os.environ), read))
    if as_json:
        show_json({"order": detail, "timeline": timeline})
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    order = detail.order
    console.print(f"{order.number}  {detail.progress.state}  {order.net.amount} {order.currency}  plan {order.plan}")
    if detail.progress.hold:
        console.print(f"  held: {detail.progress.hold.cause}; {detail.progress.hold.next_action}")
        for reason in detail.progress.hold.reasons:
            console.print(printable(f"    {'line ' + reason.line + ': ' if reason.line else ''}{reason.message}"))
    show_table(
        "Lines", ("line", "SKU", "ordered", "open", "shipped", "backordered", "cancelled"),
        [(line.line, line.sku, found.ordered, found.open, found.shipped, found.backordered, found.cancelled)
         for line in order.lines for found in [detail.progress.lines[line.line]]],
    )  # fmt: skip
    for entry in timeline.entries:
        words = (entry.kind, entry.title, entry.system, entry.state, entry.reference, entry.message)
        at = f"{entry.at:%m-%d %H:%M:%S.%f}"[:-3]
        console.print(printable("  ".join(("", at, *(word for word in words if word)))))
    for step in timeline.next:
        console.print(printable(f"  next: {step.name}: {step.sentence}"))


@orders.command()
@click.argument("number")
@click.option("--reason", required=True)
@click.option("--config", "configuration", default="")
def cancel(number: str, reason: str, configuration: str) -> None:
    """Cancel what of an order can still be cancelled."""

    async def work(application: Application) -> None:
        await application.control.cancel_order(application.clock(), actor(), read_order_id(number), reason)

    finish(with_application(configuration, work))
    say(f"{number}: what could be cancelled is cancelled")


@orders.command()
@click.argument("numbers", nargs=-1)
@click.option("--cause", default="", help="All orders held for this cause.")
@click.option("--config", "configuration", default="")
@click.option("--json", "as_json", is_flag=True)
def release(numbers: tuple[str, ...], cause: str, configuration: str, as_json: bool) -> None:
    """Release held orders, by number or by cause."""

    async def work(application: Application) -> dict[str, int]:
        found = await _held(application, numbers, cause)
        released = 0
        with Progress(console=Console(stderr=True), disable=as_json) as progress:
            task = progress.add_task("Releasing", total=len(found))
            for order_id in found:
                released += await application.control.release_holds(application.clock(), actor(), [order_id])
                progress.advance(task)
        if numbers and len(found) == 1 and not released:
            raise Conflict("order_not_held", f"{numbers[0]} is not held, or is held again for another cause.")
        return {"held": len(found), "released": released}

    answer = finish(with_application(configuration, work))
    if as_json:
        show_json(answer)
    else:
        say(f"{answer['released']} of {answer['held']} orders are released")


@orders.command()
@click.argument("numbers", nargs=-1)
@click.option("--cause", default="", help="All orders held for this cause.")
@click.option("--reason", required=True)
@click.option("--config", "configuration", default="")
def refuse(numbers: tuple[str, ...], cause: str, reason: str, configuration: str) -> None:
    """Refuse held orders for good, by number or by cause."""

    async def work(application: Application) -> int:
        found = await _held(application, numbers, cause)
        return await application.control.refuse_holds(application.clock(), actor(), found, reason)

    say(f"{finish(with_application(configuration, work))} orders are refused")


async def _held(application: Application, numbers: tuple[str, ...], cause: str) -> list[int]:
    if bool(numbers) == bool(cause):
        raise Invalid("what_is_meant", "Name orders, or a cause.", next_action="Give numbers, or --cause, not both.")
    if numbers:
        return [read_order_id(number) for number in numbers]
    found: list[int] = []
    cursor = ""
    for _ in range(PAGES_MAX):
        page = await list_holds(application.pool, cause=cause, cursor=cursor, limit=200)
        found += [order.order_id for order in page.items]
        cursor = page.cursor
        if not cursor:
            break
    return found


def read_order_id(number: str) -> int:
    """The order's id in our number. Raises Invalid for what is none."""
    order_id = order_id_of(number)
    if order_id is None:
        message = f"{number!r} is not one of our order numbers."
        raise Invalid("number_form", message, next_action="Write it like CD00000012.")
    return order_id
