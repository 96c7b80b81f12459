"""What of an exchange may be kept: no secret, no personal data, no more than a screenful.

Masked by the name of the key, wherever it stands in a JSON body; what is not JSON is searched for telling words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import msgspec

MASK: Final = "•••"
KEPT_CHARACTERS_MAX: Final = 2_000
# What is looked at for it, with room for what masking takes away; a body of dashes costs seconds to search whole.
SEARCHED_CHARACTERS_MAX: Final = 4 * KEPT_CHARACTERS_MAX
SECRET_CHARACTERS_MAX: Final = 500
PARSED_BYTES_MAX: Final = 256 * 1024
_DEPTH_MAX: Final = 32

# Compared with the key in lower case without "_", "-" and "."; whole keys, then parts of keys.
PERSONAL_KEYS: Final = frozenset(
    "name firstname lastname fullname givenname familyname surname company contact attention recipient buyer consignee "
    "street street1 street2 streetname streetaddress address address1 address2 addressline addressline1 addressline2 "
    "line1 line2 city town locality postalcode postcode zip zipcode phone telephone mobile fax birthdate dateofbirth "
    "note notes comment description memo shiptoname partyname".split()
)
SECRET_KEYS: Final = frozenset(
    "key apikey token accesstoken refreshtoken cardtoken secret clientsecret password passphrase authorization "
    "signature cookie setcookie session sessionid card cardnumber pan cvc cvv iban bic privatekey "
    "credential credentials".split()
)
_KEY_PARTS: Final = ("email", "password", "secret", "apikey", "phone")
# Keys that hold a masked word but name a thing. Whole keys, so nothing personal hides behind them.
HARMLESS_KEYS: Final = frozenset("idempotencykey businesskey skuname productname".split())

_SEPARATORS: Final = re.compile(r"[_\-.\s]")
_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}")
_SPOKEN_SECRET: Final = re.compile(
    r"(?i)(\b(?:bearer|basic|session)\s+|(?:token|secret|password|api[_-]?key|signature|authorization)"
    r"[\"']?\s*[=:]\s*[\"']?(?:(?:bearer|basic|session)\s+)?)[^\s&,;\"'<>]+"
)
_CARD_NUMBER: Final = re.compile(r"(?<![\d.])(?:\d[ -]?){12,18}\d(?![\d.])")
_TOKEN: Final = re.compile(r"\b(?:tok|whsec|sk|pk)_[A-Za-z0-9+/=_-]+")
# C0, C1, bidirectional and invisible characters can forge a line of a log or of the console.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def is_masked_key(key: str) -> bool:
    """Whether values under this key are never kept."""
    plain = _plain(key)
    if plain in HARMLESS_KEYS:
        return False
    return plain in PERSONAL_KEYS or plain in SECRET_KEYS or any(part in plain for part in _KEY_PARTS)


def masked_text(text: str, secrets: Sequence[str] = ()) -> str:
    """Free text without e-mail addresses, tokens, spoken secrets and the given ones; one screenful."""
    return _masked_text(text, secrets)


def _masked_text(text: str, secrets: Sequence[str], *, cards: bool = False) -> str:
    length = len(text)
    text = text[:SEARCHED_CHARACTERS_MAX]
    if cards:
        text = _CARD_NUMBER.sub(MASK, text)
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, MASK)
    text = _SPOKEN_SECRET.sub(rf"\g<1>{MASK}", text)
    text = printable(_TOKEN.sub(MASK, _EMAIL.sub(MASK, text)))
    if length > SEARCHED_CHARACTERS_MAX:
        # The first half of a secret may stand at the end, where nothing tells that it is one.
        return f"{text[:-SECRET_CHARACTERS_MAX][:KEPT_CHARACTERS_MAX]}… ({length} characters)"
    return shortened(text)


def masked_body(body: bytes, secrets: Sequence[str] = ()) -> str:
    """A request's or response's body as it may be kept."""
    if not body:
        return ""
    if len(body) > PARSED_BYTES_MAX:
        return f"({len(body)} bytes)"
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _masked_text(body.decode("utf-8", errors="replace"), secrets, cards=True)
    masked = msgspec.json.encode(_masked(value, 0)).decode()
    return masked_text(masked, secrets)


def masked_url(url: str, secrets: Sequence[str] = ()) -> str:
    """The address without user, password, fragment and the values of telling parameters."""
    parts = urlsplit(url)
    found = parse_qsl(parts.query, keep_blank_values=True)
    pairs = (f"{quote(key)}={MASK if is_masked_key(key) else quote(value, safe='/:,')}" for key, value in found)
    host = parts.netloc.rpartition("@")[2]
    return masked_text(urlunsplit((parts.scheme, host, parts.path, "&".join(pairs), "")), secrets)


def masked_mapping(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings or log fields: values under telling keys are masked, at any depth."""
    masked: dict[str, Any] = _masked(dict(values), 0)
    return masked


def printable(text: str) -> str:
    """Control, bidirectional and invisible characters as their \\u escapes."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def shortened(text: str) -> str:
    if len(text) <= KEPT_CHARACTERS_MAX:
        return text
    return f"{text[:KEPT_CHARACTERS_MAX]}… ({len(text)} characters)"


def _masked(value: Any, depth: int) -> Any:
    if depth > _DEPTH_MAX:
        return MASK
    if isinstance(value, dict):
        return {
            key: MASK if _is_masked_item(str(key), item) else _masked(item, depth + 1)
            for key, item in value.items()
        }  # fmt: skip
    if isinstance(value, list | tuple):
        return [_masked(item, depth + 1) for item in value]
    if isinstance(value, str) and value.startswith(("{", "[")):
        return _masked_document(value, depth)
    return value


def _masked_document(text: str, depth: int) -> str:
    # Some partners hand a whole document back inside a string.
    try:
        return msgspec.json.encode(_masked(msgspec.json.decode(text), depth + 1)).decode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def _is_masked_item(key: str, item: Any) -> bool:
    if item in (None, "", [], {}) or not is_masked_key(key):
        return False
    # An address or a buyer given as an object is walked into: its country and its codes may stay.
    return not isinstance(item, dict) or _plain(key) in SECRET_KEYS


def _plain(key: str) -> str:
    return _SEPARATORS.sub("", key).lower()
