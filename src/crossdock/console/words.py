"""The console's words: how states, operations, units, money and times are written for people."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from crossdock.model.values import Money, Quantity

ORDER_STATES: Final = {
    "accepted": ("Accepted", "info"),
    "held": ("On hold", "warn"),
    "refused": ("Refused", "bad"),
    "shipping": ("Shipping", "info"),
    "shipped": ("Shipped", "info"),
    "completed": ("Completed", "good"),
    "cancelled": ("Cancelled", "mute"),
}
STEP_STATES: Final = {
    "waiting": ("Later", "mute"),
    "ready": ("Ready", "info"),
    "sending": ("Sending", "info"),
    "in_doubt": ("In doubt", "warn"),
    "done": ("Done", "good"),
    "cancelled": ("Dropped", "mute"),
    "failed": ("Refused", "bad"),
    "quarantined": ("Parked", "bad"),
}
HEALTH: Final = {
    "healthy": ("Healthy", "good"),
    "limited": ("Rate limited", "info"),
    "stale": ("Stale feed", "warn"),
    "degraded": ("Failing", "warn"),
    "down": ("Not answering", "bad"),
    "paused": ("Paused", "warn"),
}
OPERATIONS: Final = {
    "tax.quote": "Quote tax",
    "tax.commit": "Commit tax",
    "tax.void": "Void tax",
    "payment.authorise": "Authorise payment",
    "payment.capture": "Capture payment",
    "payment.void": "Void payment",
    "payment.refund": "Refund payment",
    "erp.place_order": "Place order in ERP",
    "erp.ship": "Ship and invoice in ERP",
    "erp.payment": "Book payment in ERP",
    "erp.cancel_order": "Cancel order in ERP",
    "wms.release": "Release to warehouse",
    "wms.cancel": "Cancel at warehouse",
    "channel.acknowledge": "Acknowledge to channel",
    "channel.ship": "Tell channel of shipment",
    "channel.status": "Tell channel the status",
    "channel.cancel": "Tell channel of cancellation",
    "carrier.track": "Follow at carrier",
}
FACTS: Final = {
    "order.placed": "Order arrived",
    "arrival.untranslated": "Arrived, but could not be translated",
    "order.paid": "Payment reported",
    "order.cancellation_requested": "Cancellation requested",
    "shipment.confirmed": "Shipment reported",
    "fulfilment.shorted": "Short pick reported",
    "delivery.reported": "Delivery reported",
    "balances.reported": "Stock balances",
    "product.published": "Product data",
    "customer.published": "Customer data",
    "price.published": "Contract price",
    "stock.moved": "Stock movements",
    "supply.reported": "Inbound supply",
}
ACTIONS: Final = {
    "hold.release": "Hold released",
    "hold.refuse": "Hold refused",
    "order.cancel": "Cancellation asked for",
    "step.replay": "Parked steps begun again",
    "step.done": "Parked step settled as done",
    "step.refused": "Parked step settled as refused",
    "fact.replay": "Parked message decided again",
    "fact.dismiss": "Parked message closed",
    "fact.correct": "Parked message corrected and decided again",
    "order.mended": "Refused before; decided again when what it names changed",
}
UNITS: Final = {
    "C62": "pcs",
    "EA": "pcs",
    "H87": "pcs",
    "PR": "pairs",
    "SET": "sets",
    "XBX": "box",
    "XPX": "pallet",
    "XCT": "carton",
    "XCS": "case",
    "XBG": "bag",
    "XPK": "pack",
    "PK": "pack",
    "XRO": "roll",
    "XPA": "packet",
    "DZN": "dozen",
    "MTR": "m",
    "KGM": "kg",
    "GRM": "g",
    "LTR": "l",
    "MTK": "m²",
    "MTQ": "m³",
    "HUR": "h",
    "TNE": "t",
    "MMT": "mm",
    "CMT": "cm",
}
HOLD_CAUSES: Final = {
    "customer_unknown": "Customer unknown",
    "customer_blocked": "Customer blocked",
    "credit": "Over the credit limit",
    "price": "Price beyond tolerance",
    "tax": "Tax not settled",
    "stock_incomplete": "Stock incomplete",
}
DRIFT_CAUSES: Final = {
    "late": ("Late", "warn"),
    "dropped": ("Dropped", "warn"),
    "unit": ("Wrong unit", "bad"),
    "rival_writer": ("A second writer", "bad"),
    "unknown_sku": ("Unknown SKU", "warn"),
    "unlisted": ("Not listed", "warn"),
    "repairing": ("Being repaired", "info"),
    "parked": ("Parked", "bad"),
    "not_owner": ("Not the owner", "mute"),
}
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def state_label(state: str) -> str:
    return _pair(state)[0]


def state_tone(state: str) -> str:
    """The tone of a state: good, info, warn, bad or mute; it names a colour of the style sheet."""
    return _pair(state)[1]


def _pair(state: str) -> tuple[str, str]:
    for table in (ORDER_STATES, STEP_STATES, HEALTH, DRIFT_CAUSES):
        if state in table:
            return table[state]
    return sentence_case(state), "warn" if state in _BAD_OUTCOMES else "mute"


_BAD_OUTCOMES: Final = frozenset(
    {
        "unavailable",
        "invalid",
        "refused",
        "misconfigured",
        "defect",
        "retry",
        "open",
        "half_open",
        "early",
    }
)


def step_title(name: str) -> str:
    """ "wms.release:HAM" -> "Release to warehouse · HAM"."""
    operation, _, subject = name.partition(":")
    operation, _, round_number = operation.partition("#")
    title = OPERATIONS.get(operation, operation)
    return " · ".join(part for part in (title, subject, f"round {round_number}" if round_number else "") if part)


def entry_title(kind: str, title: str) -> str:
    """A timeline entry's machine word as people say it."""
    if kind in ("step", "attempt"):
        return step_title(title)
    if kind == "fact":
        return FACTS.get(title, sentence_case(title))
    if kind == "action":
        return ACTIONS.get(title, sentence_case(title))
    return sentence_case(_CAMEL.sub(" ", title).lower())


def hold_title(cause: str) -> str:
    """ "credit" -> "Over the credit limit", "refused:erp.place_order" -> "Refused: Place order in ERP"."""
    kind, _, operation = cause.partition(":")
    if kind == "refused" and operation:
        return f"Refused: {step_title(operation)}"
    return HOLD_CAUSES.get(cause, sentence_case(cause))


def lower_first(text: str) -> str:
    """A title in the middle of a sentence."""
    return text[:1].lower() + text[1:]


def counted(count: int, noun: str) -> str:
    """ "1 fact", "2 facts"."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def sentence_case(word: str) -> str:
    """ "credit_limit" -> "Credit limit"."""
    plain = re.sub(r"[_.:]+", " ", word).strip()
    return re.sub(r"^(Sku|Erp)\b", lambda found: found.group().upper(), plain[:1].upper() + plain[1:])


def unit(code: str) -> str:
    return UNITS.get(code, code)


def number(value: Decimal | int) -> str:
    """A quantity without needless zeros, in groups of three."""
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: Quantity) -> str:
    return f"{number(value.value)} {unit(value.unit)}"


def amount(value: Decimal, currency: str) -> str:
    return f"{value:,f} {currency}"


def money(value: Money) -> str:
    return amount(value.amount, value.currency)


def moment(at: datetime) -> str:
    """A time in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%H:%M:%S")


def day(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%A, %d %B %Y")


def since(at: datetime, now: datetime) -> str:
    """ "09:28" of the same day, "29 Nov 09:28" of another: what follows the word since."""
    there, here = at.astimezone(UTC), now.astimezone(UTC)
    return f"{there:%H:%M}" if there.date() == here.date() else f"{there.day} {there:%b %H:%M}"


def machine_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def age(at: datetime, now: datetime) -> str:
    """ "12 s", "4 min", "3 h", "2 d": how long ago, or "in 4 min"."""
    seconds = int((now - at).total_seconds())
    span = duration(timedelta(seconds=abs(seconds)))
    if abs(seconds) < 1:
        return "now"
    return f"in {span}" if seconds < 0 else f"{span} ago"


def duration(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            smaller = {"d": (3_600, "h"), "h": (60, "min"), "min": (1, "s")}[name]
            part = rest // smaller[0]
            return f"{whole} {name} {part} {smaller[1]}" if part and whole < 10 else f"{whole} {name}"
    return f"{seconds} s"


def milliseconds(value: int) -> str:
    """ "437 ms", "3.8 s", "58 s", "3 min 16 s"."""
    if value < 1_000:
        return f"{value} ms"
    seconds, rest = divmod(value, 1_000)
    return f"{seconds}.{rest // 100} s" if value < 10_000 else duration(timedelta(milliseconds=value))
