"""A connection's settings: from the configuration's plain mapping to the connector's typed Struct."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crossdock.kit.connector import Connector
from crossdock.kit.masking import MASK
from crossdock.model.errors import Misconfigured

_LOCATION: Final = " - at `$"


def decode_settings(connector: Connector, connection: str, values: Mapping[str, Any]) -> Any:
    """The settings as the connector declares them. Raises Misconfigured naming connection, field and what to do."""
    fields = {found.name: found for found in msgspec.structs.fields(connector.settings)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise _wrong(connection, unknown[0], f"{connector.title} has no such setting", f"Use: {', '.join(fields)}.")
    missing = [name for name, found in fields.items() if found.required and name not in values]
    if missing:
        raise _wrong(connection, missing[0], "it is missing", f"Set {missing[0]} of connection {connection!r}.")
    empty = [name for name in connector.secrets if name in values and values[name] in ("", None, [], ())]
    if empty:
        next_action = f"Set {empty[0]} of connection {connection!r}."
        raise _wrong(connection, empty[0], "a secret must not be empty", next_action)
    try:
        return msgspec.convert(dict(values), connector.settings, strict=False)
    except msgspec.ValidationError as error:
        reason, _, location = str(error).partition(_LOCATION)
        raise _wrong(connection, location.strip("`.").split(".")[0], reason, "Correct the value.") from error


def shown_settings(connector: Connector, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they may be shown: secrets are masked."""
    return {name: MASK if name in connector.secrets and value else value for name, value in values.items()}


def _wrong(connection: str, field: str, reason: str, next_action: str) -> Misconfigured:
    message = f"Setting {field or '?'!r} of connection {connection!r} cannot be used: {reason}."
    return Misconfigured("settings_wrong", message, field=field, next_action=next_action)
