"""Keyset paging: a listing carries an opaque cursor that names the last row given, never an offset."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, Generic, TypeVar

import msgspec

from crossdock.model.errors import Invalid

LIMIT_MAX: Final = 200
_CURSOR_LENGTH_MAX: Final = 600

Item = TypeVar("Item")


class Listing(msgspec.Struct, Generic[Item], frozen=True):
    """A page. `cursor` asks for the next one and is "" on the last."""

    items: tuple[Item, ...]
    cursor: str = ""


def encode_cursor(*key: int | str) -> str:
    """The opaque form of the last row's key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def decode_cursor(cursor: str, key_type: Any) -> Any:
    """The key inside `cursor` (a tuple type such as `tuple[int]`), or None for "". Raises Invalid `cursor`."""
    if not cursor:
        return None
    if len(cursor) > _CURSOR_LENGTH_MAX:
        raise Invalid("cursor", "This cursor was not given by Crossdock.", field="cursor")
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        key = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=key_type)
    except (binascii.Error, UnicodeError, msgspec.DecodeError) as error:
        raise Invalid("cursor", "This cursor was not given by Crossdock.", field="cursor") from error
    if any(isinstance(part, int) and abs(part) > _BIGINT_MAX for part in key):
        raise Invalid("cursor", "This cursor was not given by Crossdock.", field="cursor")
    return key


_BIGINT_MAX: Final = 2**63 - 1


def bounded(limit: int) -> int:
    """The page size asked for, between 1 and the cap."""
    return max(1, min(limit, LIMIT_MAX))
