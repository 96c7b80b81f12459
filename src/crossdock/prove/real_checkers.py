"""What must be true when real processes have come to rest: judged by what the receiving systems wrote down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from crossdock.ledger.real_proof import LedgerSays
from crossdock.prove.checkers import Violation

Log = Sequence[Mapping[str, Any]]
Found = Iterator[tuple[str, str]]
"""Subject and message."""
DECLINED_CARD: Final = "tok_declined"
# A buyer who cancels when everything has left is answered by a person.
_FOR_A_PERSON: Final = frozenset({"cancellation_too_late"})
_ORDER_LENGTH: Final = 10
"""An instruction's number is its order's number and its own part."""


class Evidence(msgspec.Struct):
    """The partners' write logs, what the ledger says, and what the run itself noticed."""

    logs: dict[str, Log]
    ledger: LedgerSays
    under_way: list[str] = []
    ended: list[str] = []
    leaks: list[str] = []

    def of(self, partner: str, kind: str) -> Log:
        return [row for row in self.logs[partner] if row["kind"] == kind]

    @property
    def placed(self) -> dict[str, Mapping[str, Any]]:
        """Every order that a channel wrote down, by its number there."""
        return {
            str(row["business_key"]): row["document"] for channel in ("shop", "portal")
            for row in self.of(channel, "order")
        }  # fmt: skip

    @property
    def ours(self) -> dict[str, str]:
        """The channel's number -> ours."""
        return {order.channel_number: order.number for order in self.ledger.orders}

    @property
    def declined(self) -> set[str]:
        """Channel numbers of orders whose card the payment provider refuses."""
        return {number for number, order in self.placed.items() if order["payment"]["token"] == DECLINED_CARD}

    @property
    def regretted(self) -> set[str]:
        """Channel numbers of orders that their buyers cancelled."""
        return {str(row["business_key"]) for row in self.of("shop", "buyer_cancellation")}

    def our_numbers(self, channel_numbers: set[str]) -> set[str]:
        ours = self.ours
        return {ours[number] for number in channel_numbers if number in ours}

    @property
    def shipments(self) -> dict[str, Mapping[str, Any]]:
        return {str(row["document"]["number"]): row["document"] for row in self.of("wms", "shipment")}


def acknowledged_is_kept(evidence: Evidence) -> Found:
    """What a channel sold and told us is in the ledger, once; what the portal was answered, it was answered once."""
    known = Counter(order.channel_number for order in evidence.ledger.orders)
    for number in evidence.placed:
        if known[number] != 1:
            yield number, f"was placed and is in the ledger {known[number]} times"
    for number in known.keys() - evidence.placed.keys():
        yield number, "is in the ledger, and no channel has sold it"
    answers = Counter(str(row["business_key"]) for row in evidence.of("portal", "answer"))
    for number in (str(row["business_key"]) for row in evidence.of("portal", "order")):
        if answers[number] != 1:
            yield number, f"was answered {answers[number]} times"
    for row in evidence.of("portal", "answer"):
        if row["document"]["status"] not in (200, 201):
            yield str(row["business_key"]), f"was answered {row['document']['status']}"


def channels_are_told_once(evidence: Evidence) -> Found:
    """Each order is confirmed once, or called off once, and not both unless its buyer changed his mind."""
    declined, regretted = evidence.declined, evidence.regretted
    shop = {str(row["business_key"]) for row in evidence.of("shop", "order")}
    confirmed = Counter(str(row["business_key"]) for row in evidence.of("shop", "acknowledgment"))
    yield from _more_than_once(confirmed, "was confirmed to the shop")
    for number in confirmed.keys() & declined:
        yield number, "was confirmed although its card was declined"
    for number in shop - confirmed.keys() - declined - regretted:
        yield number, "was never confirmed to the shop"
    cancelled = Counter(str(row["business_key"]).partition("/")[0] for row in evidence.of("shop", "cancellation"))
    yield from _more_than_once(cancelled, "was called off at the shop")
    for number in (declined - regretted) & shop - cancelled.keys():
        yield number, "was declined, and the shop was not told"
    for number in cancelled.keys() - declined - regretted:
        yield number, "was called off at the shop for no reason"
    told = Counter(
        str(row["business_key"]).partition("/")[0] for row in evidence.of("portal", "status")
        if row["document"]["status"] == "cancelled"
    )  # fmt: skip
    expected = declined - shop
    for number in told.keys() | expected:
        if told[number] != (number in expected):
            yield number, f"was called off at the portal {told[number]} times"


def goods_are_instructed_once(evidence: Evidence) -> Found:
    """Each order that is paid for is instructed, each instruction is given once, and only what is regretted is called
    back."""
    regretted = evidence.our_numbers(evidence.regretted)
    paying = set(evidence.ours.values()) - evidence.our_numbers(evidence.declined)
    instructions = Counter(str(row["business_key"]) for row in evidence.of("wms", "instruction"))
    yield from _more_than_once(instructions, "was instructed")
    orders = {number[:_ORDER_LENGTH] for number in instructions}
    for number in orders - paying:
        yield number, "was instructed, and nobody pays for it"
    for number in paying - regretted - orders:
        yield number, "is paid for and was never instructed"
    for row in evidence.of("wms", "cancellation"):
        number = str(row["business_key"]).partition("/")[0]
        if number[:_ORDER_LENGTH] not in regretted:
            yield number, "was called back, and nobody regretted it"


def goods_are_conserved(evidence: Evidence) -> Found:
    """What was instructed has left, was called back, or was not on the shelf, to the piece."""
    instructed = _sum_lines(evidence.of("wms", "instruction"), lambda row: str(row["business_key"]))
    left = _sum_lines(evidence.of("wms", "shipment"), lambda row: str(row["document"]["instruction"]))
    left += _sum_lines(evidence.of("wms", "cancellation"), lambda row: str(row["business_key"]).partition("/")[0])
    for row in evidence.of("wms", "short"):
        document = row["document"]
        left[document["instruction"], str(document["line"])] += int(document["quantity"])
    for place in sorted(instructed.keys() | left.keys()):
        if instructed[place] != left[place]:
            yield " ".join(place), f"{instructed[place]} were instructed, {left[place]} left or were called back"


def _sum_lines(log: Log, name: Callable[[Mapping[str, Any]], str]) -> Counter[tuple[str, str]]:
    """Units by instruction and line."""
    found: Counter[tuple[str, str]] = Counter()
    for row in log:
        for line in row["document"]["lines"]:
            found[name(row), str(line["line"])] += int(line["quantity"])
    return found


def money_is_conserved(evidence: Evidence) -> Found:
    """Cents: authorised once for each order that is paid for, captured once for each shipment, all of it or voided."""
    regretted = evidence.our_numbers(evidence.regretted)
    paying = set(evidence.ours.values()) - evidence.our_numbers(evidence.declined)
    authorised = {str(row["document"]["id"]): row["document"] for row in evidence.of("payment", "authorisation")}
    references = Counter(str(row["document"]["reference"]) for row in evidence.of("payment", "authorisation"))
    yield from _more_than_once(references, "was authorised")
    for number in references.keys() - paying:
        yield number, "was authorised, and is no order that is paid for"
    for number in paying - regretted - references.keys():
        yield number, "is paid for and was never authorised"
    captured = Counter(str(row["business_key"]) for row in evidence.of("payment", "capture"))
    yield from _once_each(captured, set(evidence.shipments), "captured")
    sums: Counter[str] = Counter()
    for row in evidence.of("payment", "capture"):
        sums[str(row["document"]["source"])] += int(row["document"]["amount"])
    voided = Counter(str(row["document"]["id"]) for row in evidence.of("payment", "void"))
    yield from _more_than_once(voided, "was voided")
    for identifier, document in authorised.items():
        number, amount = str(document["reference"]), int(document["amount"])
        whole = sums[identifier] == amount
        if sums[identifier] > amount or (number not in regretted and not whole):
            yield number, f"was authorised for {amount}, {sums[identifier]} were captured"
        if number not in regretted and voided[identifier]:
            yield number, "was voided, and nobody regretted it"
        if number in regretted and bool(sums[identifier]) == bool(voided[identifier]):
            yield number, f"was regretted; captured {sums[identifier]}, voided {voided[identifier]} times"


def shipments_are_told_once(evidence: Evidence) -> Found:
    """Each shipment is taxed, told to its channel and tracked once."""
    shipments = evidence.shipments
    numbers = Counter(str(row["document"]["number"]) for row in evidence.of("wms", "shipment"))
    yield from _more_than_once(numbers, "left the warehouse")
    committed = Counter(str(row["business_key"]) for row in evidence.of("tax", "transaction"))
    yield from _more_than_once(committed, "was taxed")
    if len(committed) != len(shipments):
        yield "tax", f"{len(committed)} transactions for {len(shipments)} shipments"
    told = Counter(str(row["document"]["reference"]) for row in evidence.of("shop", "fulfilment"))
    told += Counter(
        str(row["document"]["details"]["shipment"]) for row in evidence.of("portal", "status")
        if row["document"]["status"] == "shipped"
    )  # fmt: skip
    yield from _once_each(told, set(shipments), "told to its channel")
    packages = {str(package["tracking"]) for row in shipments.values() for package in row["packages"]}
    tracked = Counter(str(row["business_key"]) for row in evidence.of("carrier", "tracking"))
    yield from _once_each(tracked, packages, "tracked")


def nothing_is_left(evidence: Evidence) -> Found:
    """All has come to rest: no step under way or parked, nothing reserved, no fact unread; events without a gap."""
    for example in evidence.under_way:
        yield "under way", example
    for place in evidence.ledger.reserved:
        yield place, "is still reserved"
    for step in evidence.ledger.parked_steps:
        yield step, "is parked"
    for fact, cause in evidence.ledger.parked_facts:
        if cause not in _FOR_A_PERSON:
            yield fact, f"is parked: {cause}"
    for number in evidence.ledger.gaps:
        yield number, "has events with gaps, or that go back in time"


def processes_live(evidence: Evidence) -> Found:
    """No process of ours ends by itself, whatever happens around it."""
    for ended in evidence.ended:
        name, _, log = ended.partition(": ")
        yield name, f"ended by itself: {log}"


def nothing_leaks(evidence: Evidence) -> Found:
    """No planted secret and no planted person in what the processes left behind."""
    for leak in evidence.leaks:
        yield "leak", leak


CHECKERS: Final[Mapping[str, Callable[[Evidence], Found]]] = {
    "acknowledged": acknowledged_is_kept, "channels": channels_are_told_once,
    "instructions": goods_are_instructed_once, "goods": goods_are_conserved,
    "money": money_is_conserved, "shipments": shipments_are_told_once, "rest": nothing_is_left,
    "processes": processes_live, "leaks": nothing_leaks,
}  # fmt: skip


def judge(evidence: Evidence) -> list[Violation]:
    return [
        Violation(name, subject, message) for name, check in CHECKERS.items() for subject, message in check(evidence)
    ]


def _more_than_once(counts: Mapping[str, int], what: str) -> Found:
    for key, count in counts.items():
        if count > 1:
            yield key, f"{what} {count} times"


def _once_each(counts: Counter[str], expected: set[str], what: str) -> Found:
    for key in sorted(counts.keys() | expected):
        if counts[key] != (key in expected):
            yield key, f"was {what} {counts[key]} times instead of {int(key in expected)}"
