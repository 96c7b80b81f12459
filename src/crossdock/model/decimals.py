"""Decimals on the wire are plain: an optional minus, digits, and perhaps a point with digits behind it.

Python's Decimal takes more ("1_0", " 10", "1e3", "NaN", digits of other scripts). Where such a text comes in, two
systems could read one number differently, so every door refuses it, naming the field.

A message is read a second time by a shadow of its type that knows nothing but the places of the decimals: that costs
less than to look at every value in Python, and the decoder names the place by itself.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import GenericAlias
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

Kind = TypeVar("Kind")
_PLAIN: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class _Literal(str):
    """A JSON number with point or exponent, as it was written."""

    __slots__ = ()


class _Plain:
    """Stands for a decimal in the shadow of a type."""


def read_json(raw: bytes, kind: type[Kind]) -> Kind:
    """Decode `raw`. Raises msgspec.DecodeError, also for a decimal that is not plain."""
    wanted: Any = kind
    decoder: msgspec.json.Decoder[Kind] = _decoder(wanted)
    decoded = decoder.decode(raw)
    check_decimals(raw, kind)
    return decoded


def check_decimals(raw: bytes, kind: Any) -> None:
    """Raise msgspec.ValidationError, with the place, if a decimal in `raw` (valid for `kind`) is not plain."""
    checker = _checker(kind)
    if checker is not None:
        checker.decode(raw)


@lru_cache(maxsize=200)
def _decoder(kind: Any) -> Any:
    return msgspec.json.Decoder(kind)


@lru_cache(maxsize=200)
def _checker(kind: Any) -> msgspec.json.Decoder[Any] | None:
    shadow = _shadow(inspect.type_info(kind))
    return None if shadow is None else msgspec.json.Decoder(shadow, dec_hook=_read_plain, float_hook=_Literal)


def _read_plain(_: type[Any], value: Any) -> _Plain:
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        raise ValueError('Expected a plain decimal such as "12.50"')
    return _Plain()


def _shadow(kind: inspect.Type) -> Any:
    """The type with nothing but its decimals; None if it has none."""
    match kind:
        case inspect.DecimalType():
            return _Plain
        case inspect.StructType():
            found = [(field.encode_name, _shadow(field.type)) for field in kind.fields]
            kept: list[tuple[str, Any, Any]] = [(name, shadow | None, None) for name, shadow in found if shadow]
            return msgspec.defstruct(kind.cls.__name__, kept) if kept else None
        case inspect.UnionType():
            members = [shadow for shadow in map(_shadow, kind.types) if shadow is not None]
            return members[0] | None if len(members) == 1 else None
        case inspect.ListType() | inspect.VarTupleType():
            item = _shadow(kind.item_type)
            return None if item is None else GenericAlias(list, (item,))
        case inspect.DictType():
            value = _shadow(kind.value_type)
            return None if value is None else GenericAlias(dict, (str, value))
    return None
