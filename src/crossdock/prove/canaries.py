"""Canaries: secrets and people that a run is given, and the search for them in everything that it leaves behind."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CARD_NUMBER: Final = "4539578763621486"
"""A card number of the test ranges that satisfies the check digit."""


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


def client_secrets(name: str, secret: str) -> dict[str, str]:
    """An API client's secret, and the header in which it travels."""
    return {"client secret": secret, "client's header": base64.b64encode(f"{name}:{secret}".encode()).decode()}


def webhook_secrets(secret: str) -> dict[str, str]:
    return {"webhook secret": secret, "webhook key": secret.removeprefix("whsec_")}


@dataclass(frozen=True, slots=True)
class Left:
    """Something that a run left behind or said. `may_name`: whoever sees it may know the buyer."""

    where: str
    text: str
    may_name: bool = False


def read_files(*folders: Path) -> Iterator[Left]:
    """The logs and the spans of every process."""
    for folder in folders:
        for path in sorted(folder.iterdir()):
            yield Left(path.name, path.read_text(encoding="utf-8", errors="replace"))


def find_canaries(left: Iterable[Left], hidden: Mapping[str, str], personal: Mapping[str, str]) -> list[str]:
    """Every place in which something was found that has no business there."""
    found = []
    for item in left:
        looked_for = dict(hidden) if item.may_name else {**hidden, **personal}
        found += [f"{what} in {item.where}" for what, text in looked_for.items() if _holds(item.text, text)]
    return found


def _holds(text: str, wanted: str) -> bool:
    return bool(wanted) and (wanted in text or wanted.replace(" ", "") in text)


def summarise(found: Sequence[str], most: int = 20) -> list[str]:
    """Each place once, not more than a person reads."""
    return sorted(set(found))[:most]
