"""Identifiers for value added tax in the European Union: their form by country, and their check digits where the
country's rule is one sum. Whether a number is really registered only the tax authorities can say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from crossdock.model.errors import Invalid

# Greece writes EL, not its ISO code; XI is Northern Ireland, which trades goods as if it were in the Union.
_FORMS: Final[Mapping[str, str]] = MappingProxyType({
    "AT": r"U\d{8}", "BE": r"[01]\d{9}", "BG": r"\d{9,10}", "CY": r"\d{8}[A-Z]", "CZ": r"\d{8,10}", "DE": r"[1-9]\d{8}",
    "DK": r"\d{8}", "EE": r"\d{9}", "EL": r"\d{9}", "ES": r"[0-9A-Z]\d{7}[0-9A-Z]", "FI": r"\d{8}",
    "FR": r"[0-9A-HJ-NP-Z]{2}\d{9}", "HR": r"\d{11}", "HU": r"\d{8}", "IE": r"\d[0-9A-Z+*]\d{5}[A-Z]{1,2}",
    "IT": r"\d{11}", "LT": r"\d{9}|\d{12}", "LU": r"\d{8}", "LV": r"\d{11}", "MT": r"\d{8}", "NL": r"\d{9}B\d{2}",
    "PL": r"\d{10}", "PT": r"\d{9}", "RO": r"[1-9]\d{1,9}", "SE": r"\d{10}01", "SI": r"[1-9]\d{7}", "SK": r"\d{10}",
    "XI": r"\d{9}|\d{12}|GD[0-4]\d{2}|HA[5-9]\d{2}",
})  # fmt: skip
_COUNTRY_OF_PREFIX: Final[Mapping[str, str]] = MappingProxyType({"EL": "GR"})


def compact_tax_identifier(text: str) -> str:
    """Without the blanks, dots and hyphens that people write into it."""
    return re.sub(r"[\s.\-/]", "", text).upper()


def country_of_tax_identifier(identifier: str) -> str:
    """The ISO 3166 code of the country whose prefix it bears; "" where it bears none of the Union's."""
    prefix = compact_tax_identifier(identifier)[:2]
    return _COUNTRY_OF_PREFIX.get(prefix, prefix) if prefix in _FORMS else ""


def check_tax_identifier(identifier: str, field: str) -> str:
    """Return it compact. Raises Invalid when it is not one of the Union's, or cannot be one."""
    compact = compact_tax_identifier(identifier)
    prefix, body = compact[:2], compact[2:]
    form = _FORMS.get(prefix)
    if form is None:
        raise Invalid("tax_identifier_form", "It begins with no country of the European Union.", field=field)
    if re.fullmatch(form, body, re.ASCII) is None:
        raise Invalid("tax_identifier_form", f"It has not the form of {prefix}.", field=field)
    fits = _CHECKS.get(prefix)
    if fits is not None and not fits(body):
        raise Invalid("tax_identifier_check_digits", "Its check digits do not fit.", field=field)
    return compact


def _weigh(body: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(body, weights, strict=False))


def _luhn(body: str) -> int:
    """The Luhn sum; a valid number's is a multiple of ten."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(body)))
    return sum(value // 10 + value % 10 for value in doubled)


def _fits_iso_7064(body: str) -> bool:
    """ISO 7064, modulus 11,10."""
    check = 5
    for digit in body:
        check = ((check or 10) * 2 % 11 + int(digit)) % 10
    return check == 1


def _fits_france(body: str) -> bool:
    """Two digits of check and a company number; newer keys with letters have a rule of their own, not checked here."""
    company = body[2:]
    if _luhn(company) % 10:
        return False
    return not body[:2].isdigit() or int(body[:2]) == (12 + 3 * (int(company) % 97)) % 97


def _fits_netherlands(body: str) -> bool:
    """Companies' numbers by a weighted sum; sole traders' since 2020 by modulus 97 over the whole."""
    if _weigh(body, (9, 8, 7, 6, 5, 4, 3, 2)) % 11 == int(body[8]):
        return True
    return int("".join(str(int(sign, 36)) for sign in f"NL{body}")) % 97 == 1


def _fits_northern_ireland(body: str) -> bool:
    if not body.isdigit():
        return True
    total = _weigh(body, (8, 7, 6, 5, 4, 3, 2)) + int(body[7:9])
    return total % 97 in (0, 42)


_CHECKS: Final[Mapping[str, Callable[[str], bool]]] = MappingProxyType({
    "AT": lambda body: (_luhn(body[1:8]) + 4 + int(body[8])) % 10 == 0,
    "BE": lambda body: 97 - int(body[:8]) % 97 == int(body[8:]),
    "DE": _fits_iso_7064,
    "DK": lambda body: _weigh(body, (2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0,
    "EL": lambda body: _weigh(body, (256, 128, 64, 32, 16, 8, 4, 2)) % 11 % 10 == int(body[8]),
    "FI": lambda body: _weigh(body, (7, 9, 10, 5, 8, 4, 2, 1)) % 11 == 0,
    "FR": _fits_france,
    "HR": _fits_iso_7064,
    "IT": lambda body: _luhn(body) % 10 == 0,
    "LU": lambda body: int(body[:6]) % 89 == int(body[6:]),
    "NL": _fits_netherlands,
    "PL": lambda body: _weigh(body, (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == int(body[9]),
    "PT": lambda body: -_weigh(body, (9, 8, 7, 6, 5, 4, 3, 2)) % 11 % 10 == int(body[8]),
    "SE": lambda body: _luhn(body[:10]) % 10 == 0,
    "XI": _fits_northern_ireland,
})  # fmt: skip
