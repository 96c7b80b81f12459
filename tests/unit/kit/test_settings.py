"""Settings that cannot be used are refused with field and next action; secrets are never shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from crossdock.kit.connector import Connector
from crossdock.kit.masking import MASK
from crossdock.kit.settings import decode_settings, shown_settings
from crossdock.model.errors import Misconfigured


class AcmeSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    key: str
    page_size: int = 50


@asynccontextmanager
async def open_nothing(settings: Any) -> AsyncIterator[Any]:
    yield settings


ACME = Connector(system="acme", title="Acme", settings=AcmeSettings, open=open_nothing, secrets=("key",))


def test_settings_become_the_connectors_struct() -> None:
    decoded = decode_settings(ACME, "a", {"url": "u", "key": "k", "page_size": "7"})
    assert decoded == AcmeSettings(url="u", key="k", page_size=7)


@pytest.mark.parametrize(
    ("values", "field"),
    [({"url": "u"}, "key"), ({"url": "u", "key": ""}, "key"), ({"url": "u", "key": "k", "colour": 1}, "colour"),
     ({"url": "u", "key": "k", "page_size": "many"}, "page_size"), ({"url": 7, "key": ["k-1"]}, "url")],
)  # fmt: skip
def test_nonsense_is_refused_by_name(values: dict[str, Any], field: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        decode_settings(ACME, "depot", values)
    assert caught.value.field == field
    assert "depot" in caught.value.message
    assert caught.value.next_action
    assert "k-1" not in caught.value.message


def test_secrets_are_not_shown() -> None:
    assert shown_settings(ACME, {"url": "u", "key": "k"}) == {"url": "u", "key": MASK}
