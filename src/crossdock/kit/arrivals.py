"""What arrives and cannot be translated: kept as it came, parked alone, translated again when it is replayed.

A connector's translation is a pure function of one item, `translate(connection, raw)`. It raises `Invalid` (or lets the
decoder's error through) for what it cannot read; `translate_items` then keeps that item and goes on with the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from crossdock.kit.masking import is_masked_key
from crossdock.model.errors import CrossdockError, Defect, Invalid
from crossdock.model.facts import UNTRANSLATED, Fact, Untranslated

Row = Mapping[str, Any]
Translate = Callable[[str, bytes], Sequence[Fact]]
WEBHOOK: Final = "webhook"
_KEPT_HEADERS: Final = ("content-type", "webhook-id", "webhook-timestamp")
_NEXT_ACTION: Final = "Mend the mapping or ask the sender; a replay translates the kept payload again."
_ROW_FORM: Final = "A value of it is missing or does not have the expected form."
_READ_AGAIN: Final = "Correct it in that system: the next reading brings it by itself."
_DEFECT: Final = "The connector failed in an unforeseen way while it translated this."


def translate_items(
    connection: str, feed: str, items: Iterable[bytes], translate: Translate, name: Callable[[bytes], str]
) -> list[Fact]:
    """The facts of a page's items. One that cannot be translated is kept as such; `name` reads the number it bears."""
    facts: list[Fact] = []
    for raw in items:
        try:
            facts.extend(translate(connection, raw))
        except Exception as error:  # noqa: BLE001 - one item must not take its neighbours with it
            facts.append(untranslated(connection, feed, raw, error, name(raw)))
    return facts


def translate_rows(
    connection: str, feed: str, rows: Iterable[Row], translate: Callable[[Row], Fact | None], name: Callable[[Row], str]
) -> list[Fact]:
    """The same for rows of a system that tells its whole state again: what is corrected there comes by itself.

    `translate` may answer None for a row that is none of ours.
    """
    facts: list[Fact] = []
    for row in rows:
        try:
            fact = translate(row)
        except Exception as error:  # noqa: BLE001 - one row must not take its neighbours with it
            cause = error if isinstance(error, CrossdockError) else Invalid("row_form", _ROW_FORM, detail=repr(error))
            cause.next_action = cause.next_action or _READ_AGAIN
            facts.append(untranslated(connection, feed, msgspec.json.encode(row, enc_hook=str), cause, name(row)))
        else:
            facts.extend([fact] if fact is not None else [])
    return facts


def untranslated(
    connection: str, source: str, raw: bytes, error: Exception, key: str = "", headers: Mapping[str, str] | None = None
) -> Fact:
    """The fact that keeps `raw`: `source` says who translates it again, a feed's name or `WEBHOOK`."""
    cause = cause_of(error)
    digest = hashlib.sha256(raw).hexdigest()[:32]
    kept = {name: value for name, value in (headers or {}).items() if _is_kept(name)}
    body = Untranslated(source, cause.code, cause.message, cause.who_acts, cause.next_action or _NEXT_ACTION, kept)
    return Fact(
        connection, UNTRANSLATED, key or digest, msgspec.json.encode(body), raw, version=digest, subject=key
    )  # fmt: skip


def cause_of(error: Exception) -> CrossdockError:
    """Why it could not be translated, in our classes: nothing that a connector raises is without cause and owner."""
    match error:
        case CrossdockError():
            return error
        case msgspec.DecodeError() | UnicodeError():
            # The decoder names places and types, never values.
            return Invalid("payload_form", f"It does not have the expected form: {error}"[:500])
        case _:
            return Defect("translation_defect", _DEFECT, detail=repr(error), next_action=_NEXT_ACTION)


def named(raw: bytes, field: str) -> str:
    """The text under `field`, the least that can be read of what cannot be read; "" where there is none."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError):
        return ""
    value = found.get(field) if isinstance(found, dict) else None
    return str(value)[:200] if isinstance(value, str | int) else ""


def _is_kept(name: str) -> bool:
    return name in _KEPT_HEADERS or (name.startswith("x-") and not is_masked_key(name))
