"""Orders from every channel through the real ERP while our processes are killed, and while the ERP itself is down.

Judged from the ERP's tables and the partners' logs (`erp_judge`). The long forms:

    CROSSDOCK_PROOF_ORDERS=1000 CROSSDOCK_PROOF_KILLS=24 CROSSDOCK_PROOF_RATE=1 \
        .venv/bin/pytest -s tests/e2e/test_erp_kill.py -k killed
    CROSSDOCK_PROOF_OUTAGE_ORDERS=1000 CROSSDOCK_PROOF_SHIPS=0 \
        .venv/bin/pytest -s tests/e2e/test_erp_kill.py -k down

`CROSSDOCK_PROOF_SEED` repeats another run's orders, `CROSSDOCK_PROOF_WORKERS` says how many workers there are,
`CROSSDOCK_PROOF_HOME` goes on with a home that is kept; with `CROSSDOCK_PROOF_SHIPS=0` no warehouse ships anything.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from crossdock.sandbox.orders import BuyerAddress, BuyerLine, BuyerOrder
from crossdock.sandbox.stream import Catalogue, make_order
from crossdock.sandbox.world import make_world
from tests.e2e.erp_judge import (
    WAREHOUSES,
    Row,
    ask,
    judge,
    read_documents,
    read_log,
    read_orders,
    read_shipments,
)
from tests.e2e.test_run import FIRST_SECONDS_MAX, Run

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(9000)]
ORDERS: Final = int(os.environ.get("CROSSDOCK_PROOF_ORDERS", "12"))
KILLS: Final = int(os.environ.get("CROSSDOCK_PROOF_KILLS", "3"))
RATE: Final = float(os.environ.get("CROSSDOCK_PROOF_RATE", "1"))
SEED: Final = int(os.environ.get("CROSSDOCK_PROOF_SEED", "1"))
OUTAGE_ORDERS: Final = int(os.environ.get("CROSSDOCK_PROOF_OUTAGE_ORDERS", "12"))
SHIPS: Final = os.environ.get("CROSSDOCK_PROOF_SHIPS", "1") != "0"
WORKERS: Final = os.environ.get("CROSSDOCK_PROOF_WORKERS", "2")
VICTIMS: Final = ("api", "worker-1", "worker-2")
LOOK_SECONDS: Final = 3
DRAIN_SECONDS_MAX: Final = 300 + 10 * (ORDERS + OUTAGE_ORDERS)


@pytest.fixture
def demonstration(demonstration_place: tuple[Path, int]) -> Iterator[Run]:
    home, port = demonstration_place
    run = Run(home, port, "--orders-per-second", "0", "--workers", WORKERS)
    try:
        run.wait_until(lambda: "Crossdock is ready" in run.said, FIRST_SECONDS_MAX)
        # Nothing is found short at picking: every order can be followed to its end.
        pace = {"on": SHIPS, "interval": 1, "partial": 0.3, "short": 0, "seed": SEED}
        for warehouse in WAREHOUSES:
            ask(port, warehouse, "/_control/auto", "POST", pace)
        yield run
        assert run.end() == 0
    finally:
        run.end()


class Buyers:
    """Order n is the same for the same seed; buyers place it at the channel itself, which sells what it believes in."""

    def __init__(self, port: int, first: int) -> None:
        self._port = port
        self._catalogue = Catalogue(make_world())
        self._next = first

    def place(self, channel: str = "", **changes: Any) -> str:
        name, basket = make_order(self._catalogue, SEED, self._next)
        self._next += 1
        return self.place_basket(channel or name, msgspec.structs.replace(basket, **changes))

    def place_basket(self, channel: str, basket: BuyerOrder) -> str:
        """"channel number"; "" when all of it is sold out."""
        body = msgspec.to_builtins({"orders": [basket]}, str_keys=True)
        number = ask(self._port, channel, "/_control/order", "POST", body)["numbers"][0]
        return f"{channel} {number}" if number else ""


def kill_one(run: Run, chance: random.Random, already: set[int]) -> str:
    """Kill -9 one of our processes that the supervisor has started since its last death."""
    found: list[tuple[str, int]] = []

    def is_there() -> bool:
        kept = json.loads((run.home / "run.json").read_text())["processes"]
        found[:] = [(name, kept[name]) for name in VICTIMS if kept.get(name) and kept[name] not in already]
        return bool(found)

    run.wait_until(is_there, 180)
    name, pid = chance.choice(found)
    already.add(pid)
    os.kill(pid, signal.SIGKILL)
    return name


def is_drained(run: Run) -> bool:
    """Nothing is under way at Crossdock, and the ERP has every shipment of the warehouses invoiced."""
    status = run.status()
    under_way = sum(
        count for states in status["steps"].values() for state, count in states.items()
        if state not in ("done", "cancelled", "failed")
    )  # fmt: skip
    if under_way or status["facts"]["waiting"]:
        return False
    try:
        invoices = read_documents(run.port, "invoices")
    except OSError:
        return False
    posted = {row["reference"] for row in invoices if row["state"] in ("posted", "paid")}
    return read_shipments(run.port).keys() == posted


def wait_until_drained(run: Run) -> None:
    quiet = 0

    def stays_drained() -> bool:
        nonlocal quiet
        quiet = quiet + 1 if is_drained(run) else 0
        time.sleep(LOOK_SECONDS)
        return quiet >= 3

    try:
        run.wait_until(stays_drained, DRAIN_SECONDS_MAX)
    except AssertionError:
        raise AssertionError(run.status()) from None


def test_killed_processes_leave_each_order_shipment_and_invoice_once_in_the_erp(demonstration: Run) -> None:
    run, chance = demonstration, random.Random(SEED)
    buyers = Buyers(run.port, 1)
    began = time.monotonic()
    placing_seconds = ORDERS / RATE
    kills_until = placing_seconds * 1.2 + 30
    deaths = [(chance.uniform(0.05, 1) * kills_until, "kill") for _ in range(KILLS)]
    births = [(number / RATE, "order") for number in range(ORDERS)]
    already: set[int] = set()
    killed: Counter[str] = Counter()
    placed: list[str] = []
    for due, what in sorted(deaths + births):
        time.sleep(max(0.0, began + due - time.monotonic()))
        assert run.process.poll() is None, "the supervisor survives its children"
        if what == "kill":
            killed[kill_one(run, chance, already)] += 1
        else:
            placed.append(buyers.place())
    wait_until_drained(run)
    found = judge(run.port)
    took = time.monotonic() - began
    ordered, _ = read_orders(run.port)
    assert {name for name in placed if name} <= ordered.keys()
    assert sum(killed.values()) == KILLS
    assert run.said.count("was killed; starting it again") >= KILLS
    print(f"seed {SEED}: {found}, killed {dict(killed)}, {took:.0f} s")


def end_the_erp(run: Run) -> Callable[[], None]:
    """Its front hangs and its process is killed in the midst of its work; the answer lets the rest die."""
    front = json.loads((run.home / "run.json").read_text())["processes"]["erp"]
    children = Path(f"/proc/{front}/task/{front}/children").read_text(encoding="ascii").split()
    os.kill(front, signal.SIGSTOP)
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    return lambda: os.kill(front, signal.SIGCONT)


POISONS: Final[dict[str, dict[str, Any]]] = {
    "unknown SKU": {"sku": "NO-SUCH"},
    "impossible unit": {"unit": "XYZ"},
    "negative quantity": {"quantity": -1},
    "nothing": {"quantity": 0},
    "wrong decimals": {"unit_price": "1.23456789"},
    "NUL": {"note": "a\0b"},
    "long note": {"note": "x" * 100_000},
}


def place_poison(buyers: Buyers, channel: str, changes: dict[str, Any]) -> str:
    """A good order with one thing wrong in it."""
    _, basket = make_order(Catalogue(make_world()), SEED, 1)
    customer = "" if channel != "portal" else next(c.code for c in make_world().customers if c.status == "active")
    line_changes = {name: value for name, value in changes.items() if name != "note"}
    body = msgspec.to_builtins(basket)
    body |= {"customer": customer, "card_token": "tok_visa", "note": changes.get("note", "")}
    body["lines"] = [body["lines"][0] | line_changes]
    return buyers.place_basket(channel, msgspec.convert(body, BuyerOrder, strict=False))


def place_at_their_limits(buyers: Buyers, known: set[str], count: int) -> dict[str, list[str]]:
    """Customers who never bought order four times 45 % of their credit, each another article: code -> orders."""
    world = make_world()
    catalogue = Catalogue(world)
    new = [row for row in world.customers if row.status == "active" and row.code not in known]
    products = sorted(
        (row for row in catalogue.products if row.base_unit == "C62"), key=lambda row: row.list_price_eur, reverse=True
    )
    placed = {}
    for customer, product in zip(sorted(new, key=lambda row: row.credit_limit)[:count], products, strict=False):
        price = catalogue.contract_price(customer, product, Decimal(1))
        pieces = int(customer.credit_limit * Decimal("0.45") / price)
        line = BuyerLine(
            product.sku, Decimal(pieces), product.base_unit,
            catalogue.contract_price(customer, product, Decimal(pieces)),
        )  # fmt: skip
        share = line.unit_price * pieces / customer.credit_limit
        assert Decimal("0.34") < share <= Decimal("0.5"), "two fit, a third does not"
        to = BuyerAddress("At the limit", "Quay 1", customer.address.city, "28195", customer.address.country)
        basket = BuyerOrder(customer.currency, to, (line,), "limit@example.com", customer.code, "PO-LIMIT")
        placed[customer.code] = [buyers.place_basket("portal", basket) for _ in range(4)]
    return placed


def waits_for_the_erp(run: Run) -> bool:
    states = run.status()["steps"].get("erp", {})
    return any(states.get(state) for state in ("ready", "sending", "in_doubt"))


def wait_until_all_are_taken(run: Run) -> None:
    """No order is on its way from a channel to us any more: what we have has stopped growing. Only says when to go on;
    what became of the orders is judged elsewhere."""
    seen: list[object] = []

    def has_stopped() -> bool:
        status = run.status()
        seen.append((status["orders"], status["facts"]["waiting"]))
        time.sleep(LOOK_SECONDS)
        return len(seen) > 3 and seen[-1] == seen[-2] == seen[-3] and not status["facts"]["waiting"]

    run.wait_until(has_stopped, 300 + OUTAGE_ORDERS)


def judge_credit(port: int) -> Counter[str]:
    """No customer's sales in the ERP exceed his limit, for nobody has paid yet; and who was held for credit would have
    exceeded it. Returns the portal's answers by state or cause of the hold."""
    limits = {row.code: row.credit_limit for row in make_world().customers}
    bought: dict[str, Decimal] = dict.fromkeys(limits, Decimal(0))
    for row in read_documents(port, "sales"):
        if row["party"] in limits and row["state"] in ("confirmed", "processing", "done"):
            bought[row["party"]] += Decimal(row["untaxed"])
    beyond = {code: total for code, total in bought.items() if total > limits[code]}
    assert not beyond, beyond
    ordered, _ = read_orders(port)
    found: Counter[str] = Counter()
    for row in read_log(port, "portal", "answer"):
        answer = row["document"]["answer"]
        state = answer.get("state", "refused")
        found[f"held for {answer['hold']['cause']}" if state == "held" else state] += 1
        if state == "held" and any(reason["code"] == "credit_limit" for reason in answer["hold"]["reasons"]):
            wish = ordered[f"portal {row['business_key']}"]
            assert bought[wish.party] + wish.net > limits[wish.party], (row["business_key"], wish.party)
    return found


def test_orders_taken_while_the_erp_is_down_are_in_it_once_afterwards_and_poison_is_not(demonstration: Run) -> None:
    run, buyers = demonstration, Buyers(demonstration.port, ORDERS + 1)
    before = {row["id"] for row in read_documents(run.port, "sales")}
    buyers_known = {row["document"]["customer"] for row in read_log(run.port, "portal", "order")}
    revive = end_the_erp(run)
    began = time.monotonic()

    def answers() -> dict[str, Row]:
        return {row["business_key"]: row["document"] for row in read_log(run.port, "portal", "answer")}

    def are_answered(names: Iterable[str]) -> bool:
        return {name.partition(" ")[2] for name in names if name.startswith("portal ")} <= answers().keys()

    try:
        at_limit = place_at_their_limits(buyers, buyers_known, max(1, OUTAGE_ORDERS // 50))
        run.wait_until(lambda: are_answered(chain.from_iterable(at_limit.values())), 300)
        placed = list(filter(None, (buyers.place() for _ in range(OUTAGE_ORDERS))))
        poisons = {
            place_poison(buyers, channel, changes): what
            for channel in ("portal", "shop") for what, changes in POISONS.items()
        }  # fmt: skip
        run.wait_until(lambda: are_answered([*placed, *poisons]), 300 + OUTAGE_ORDERS)
        wait_until_all_are_taken(run)
        assert waits_for_the_erp(run)
    finally:
        revive()
    revived = time.monotonic()
    run.wait_until(lambda: "erp ended" in run.said, 180)
    wait_until_drained(run)
    drained = time.monotonic()
    found = judge(run.port)
    sales = [row for row in read_documents(run.port, "sales") if row["id"] not in before]
    assert sales, "orders went on when the ERP was back"

    for customer, names in at_limit.items():
        said = [answers()[name.partition(" ")[2]]["answer"] for name in names]
        assert Counter(answer["state"] for answer in said) == {"accepted": 2, "held": 2}, (customer, said)
        assert {answer["hold"]["cause"] for answer in said if answer["state"] == "held"} == {"credit"}, said
    states = judge_credit(run.port)
    accepted = read_orders(run.port)[1]
    for name, what in poisons.items():
        assert name not in accepted, what
        if name.startswith("portal "):
            answer = answers()[name.partition(" ")[2]]
            assert answer["status"] in (400, 413, 422), (what, answer)
            assert answer["answer"]["detail"], what
    assert accepted & set(placed), found
    print(
        f"{found}, poison {len(poisons)}, {len(at_limit)} customers at their limits, the portal was answered "
        f"{dict(states)}; the ERP was away for {revived - began:.0f} s, its {len(sales)} sales were in "
        f"{drained - revived:.0f} s after its return"
    )
