"""Reads tables of a configuration into typed values; goes on after a problem, so that all are reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

import msgspec

from crossdock.policy.problems import Problems


def read_value(kind: Any, value: Any, path: str, problems: Problems) -> Any:
    """Return `value` as `kind`, or None after reporting what is wrong with it."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return read_table(kind, value, path, problems)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is dict and isinstance(value, Mapping):
        read = {name: read_value(arguments[1], item, f"{path}.{name}", problems) for name, item in value.items()}
        return {name: item for name, item in read.items() if item is not None}
    if origin is tuple and isinstance(value, list):
        items = [read_value(arguments[0], item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
        return tuple(item for item in items if item is not None)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, inner = str(error).partition(" - at `$")
        problems.add(f"{path}{inner.rstrip('`')}", f"{message.rstrip('.')}.", _advice(kind))
        return None


def read_table(kind: type[Any], table: Any, path: str, problems: Problems) -> Any:
    """Return a Struct, or None when anything in the table is wrong."""
    if not isinstance(table, Mapping):
        problems.add(path, "This must be a table.", f"Write [{path}] and its keys below it.")
        return None
    fields = {found.encode_name: found for found in msgspec.structs.fields(kind)}
    before = len(problems.found)
    for name in table:
        if name not in fields:
            close = get_close_matches(name, fields, n=1)
            advice = f"Did you mean {close[0]}?" if close else f"Use one of: {', '.join(fields)}."
            problems.add(f"{path}.{name}", f"There is no setting {name}.", advice)
    read = {}
    for name, found in fields.items():
        if name in table:
            read[name] = read_value(found.type, table[name], f"{path}.{name}", problems)
        elif found.required:
            problems.add(path, f"{name} is missing.", f"Add {name}.{_advice(found.type, before=' ')}")
    if len(problems.found) > before:
        return None
    return kind(**read)


def _advice(kind: Any, before: str = "") -> str:
    """What may be written there."""
    choices = [choice for choice in (kind, *get_args(kind)) if get_origin(choice) is Literal]
    words = [str(word) for choice in choices for word in get_args(choice)]
    return f"{before}Use one of: {', '.join(words)}." if words else ""
