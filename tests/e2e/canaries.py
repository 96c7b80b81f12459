"""Canaries: secrets and people that a run is given, and the search for them in everything that it leaves behind."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.proof_world import World

# A card number of the test ranges that satisfies the check digit.
CARD_NUMBER = "4539578763621486"


def _word(kind: str) -> str:
    return f"{kind}{secrets.token_hex(5)}"


@dataclass(frozen=True, slots=True)
class Person:
    """A buyer who exists once: nothing of this is any other word in the run."""

    name: str = field(default_factory=lambda: f"{_word('Quill')} {_word('Feather')}")
    street: str = field(default_factory=lambda: f"{_word('Alley')} 7")
    city: str = field(default_factory=lambda: _word("Town"))
    email: str = field(default_factory=lambda: f"{_word('quill')}@{_word('mail')}.example")
    phone: str = field(default_factory=lambda: f"+49 4711 {secrets.randbelow(10**9):09d}")
    note: str = field(default_factory=lambda: f"{_word('ring')} the bell")
    card_token: str = field(default_factory=lambda: f"tok_{_word('visa')}")

    @property
    def personal(self) -> dict[str, str]:
        first, last = self.name.split()
        return {
            "first name": first, "last name": last, "street": self.street, "city": self.city, "e-mail": self.email,
            "phone": self.phone, "note": self.note.split()[0],
        }  # fmt: skip

    @property
    def basket(self) -> dict[str, str]:
        """How a basket says who it is for."""
        return {
            "name": self.name, "street": self.street, "city": self.city, "phone": self.phone, "email": self.email,
            "note": self.note, "card_token": self.card_token,
        }  # fmt: skip


def secrets_of(world: World, person: Person, **further: str) -> dict[str, str]:
    """What nobody may find in any place, whatever his role."""
    found = world.secrets
    basic = base64.b64encode(f"portal-1:{found.client_secret}".encode()).decode()
    return {
        "client secret": found.client_secret, "operator's secret": found.operator_secret, "client's header": basic,
        "webhook secret": found.webhook_secret, "webhook key": found.webhook_secret.removeprefix("whsec_"),
        "console password": found.console_password, "partner's key": found.partner_key,
        "database password": urlsplit(world.dsn).password or "", "card token": person.card_token,
        "card number": CARD_NUMBER, **further,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Left:
    """Something that a run left behind or said. `may_name`: whoever sees it may know the buyer."""

    where: str
    text: str
    may_name: bool = False


def files_left(world: World) -> Iterator[Left]:
    """The logs and the spans of every process."""
    for path in (*sorted(world.logs.iterdir()), *sorted(world.traces.iterdir())):
        yield Left(path.name, path.read_text(encoding="utf-8", errors="replace"))


def find_canaries(left: Iterable[Left], hidden: Mapping[str, str], personal: Mapping[str, str]) -> list[str]:
    """Every place in which something was found that has no business there."""
    found = []
    for item in left:
        looked_for: dict[str, Any] = {**hidden} if item.may_name else {**hidden, **personal}
        found += [f"{what} in {item.where}" for what, text in looked_for.items() if _holds(item.text, text)]
    return found


def _holds(text: str, wanted: str) -> bool:
    return bool(wanted) and (wanted in text or wanted.replace(" ", "") in text)
