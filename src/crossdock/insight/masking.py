"""Masking at display: the kit masks exchanges before they are stored; here a second look, by key name.

Personal data and secrets stand under telling names in every partner's payload. What is not JSON is cut, not guessed.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

MASK: Final = "•••"
TEXT_LENGTH_MAX: Final = 8_000
_DEPTH_MAX: Final = 40

_PERSONAL_KEY: Final = re.compile(
    r"(?:^|[_\-.])(?:name|first_?name|last_?name|full_?name|contact|attention|street|street2|address|address1|address2|"
    r"line1|line2|city|town|postal_?code|post_?code|zip|e?_?mail|phone|mobile|fax|buyer|recipient|note|comment|birth_?date|"
    r"token|secret|password|passphrase|authorization|api_?key|signature|cookie|iban|bic|card|card_?number|cvc|cvv|session)"
    r"(?:$|[_\-.])",
    re.IGNORECASE,
)
# Names of things, not of people.
_HARMLESS_KEY: Final = frozenset(
    {
        "city_code",
        "line_name",
        "product_name",
        "step_name",
        "warehouse_name",
        "carrier_name",
        "channel_name",
        "file_name",
        "customer_name",
        "unit_name",
        "operation_name",
        "method_name",
    }
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SECRET_IN_TEXT: Final = re.compile(
    r"(?i)((?:token|secret|password|api[_-]?key|signature|authorization|session)\s*[=:]\s*(?:bearer\s+|basic\s+)?"
    r"|bearer\s+|basic\s+)[^\s&,;\"]+"
)
_EMAIL_IN_TEXT: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,63}){1,6}")
_INVISIBLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def masked_payload(text: str) -> str:
    """A request's or response's text, pretty where it is JSON, without personal data and secrets."""
    if not text:
        return ""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return masked_text(text)
    if not isinstance(value, dict | list):
        return masked_text(text)
    pretty = msgspec.json.format(msgspec.json.encode(_masked(value, 0)), indent=2).decode()
    return visible(_cut(pretty))


def masked_text(text: str) -> str:
    """Free text: secrets behind telling words and e-mail addresses go."""
    return _cut(visible(_EMAIL_IN_TEXT.sub(MASK, _SECRET_IN_TEXT.sub(rf"\1{MASK}", text[: TEXT_LENGTH_MAX * 2]))))


def visible(text: str) -> str:
    """The text with control and direction-changing characters shown as their code, so that they can do nothing."""
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _masked(value: Any, depth: int) -> Any:
    if depth > _DEPTH_MAX:
        return MASK
    if isinstance(value, dict):
        return {key: _masked_field(str(key), inner, depth) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, depth + 1) for inner in value]
    if isinstance(value, str):
        # More than can be shown is not searched.
        return _EMAIL_IN_TEXT.sub(MASK, value if len(value) <= TEXT_LENGTH_MAX else f"{value[:TEXT_LENGTH_MAX]}…")
    return value


def _masked_field(key: str, value: Any, depth: int) -> Any:
    plain = _CAMEL.sub("_", key).lower()
    personal = plain not in _HARMLESS_KEY and _PERSONAL_KEY.search(plain) is not None
    if personal and isinstance(value, str | int):
        return MASK if value not in ("", 0, False) else value
    return _masked(value, depth + 1)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[:TEXT_LENGTH_MAX]}\n… cut, {len(text)} characters"
