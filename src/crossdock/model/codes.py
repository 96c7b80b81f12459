"""Code lists and keys of the trade: GS1 keys, ISO 4217, ISO 3166-1, UN/ECE Recommendation 20.

Each `check_*` returns the code unchanged or raises `Invalid` that names the field and the rule.
"""

from __future__ import annotations

import re
from typing import Final

from crossdock.model.errors import Invalid

# ISO 4217 alphabetic code -> minor unit digits (currencies in circulation).
CURRENCY_DIGITS: Final[dict[str, int]] = {
    **dict.fromkeys(
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP "
        "CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR "
        "IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN "
        "NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP "
        "STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG".split(),
        2,
    ),
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}

# ISO 3166-1 alpha-2.
COUNTRIES: Final[frozenset[str]] = frozenset(
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ "
    "CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO "
    "FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE "
    "JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO "
    "MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW "
    "PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM "
    "TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW".split()
)

# UN/ECE Rec 20 codes used in distribution -> decimals a quantity in that unit may have. Codes that begin with X are
# package types (Rec 21 code after the X), as in UBL and Peppol; packages and pieces are indivisible.
UNIT_DECIMALS: Final[dict[str, int]] = {
    **dict.fromkeys("C62 EA H87 NPR PR SET PK DZN GRO NMP CEN MIL TU RO KT ZZ".split(), 0),
    **dict.fromkeys(
        "XBX XPX XCT XCS XBG XPK XPA XBO XRO XSA XTU XPC XCA XBA XDR XTB XSW XAE XBE XBK XCR XPL XSH XEA XPP".split(),
        0,
    ),
    **dict.fromkeys(
        "KGM GRM TNE LBR ONZ MTR CMT MMT FOT INH YRD KMT MTK CMK FTK MTQ DMQ CMQ FTQ LTR MLT DLT HLT GLL GLI PTL QT "
        "HUR MIN DAY WEE MON ANN KWH WHR SEC LM MGM".split(), 4,
    ),
}  # fmt: skip
# What one of a unit is called in a sentence; other units are called by their code.
UNIT_NAMES: Final[dict[str, str]] = {
    **dict.fromkeys(("C62", "EA", "H87"), "piece"), "PR": "pair", "SET": "set", "MTR": "metre", "KGM": "kilogram",
    "LTR": "litre", "MTK": "square metre", "MTQ": "cubic metre", "TNE": "tonne", "HUR": "hour", "XBX": "box",
    "XPX": "pallet", "XCT": "carton", "XCS": "case", "XBG": "bag", "XRO": "roll",
}  # fmt: skip

_DIGITS: Final = re.compile(r"\d+\Z")


def gs1_check_digit(body: str) -> str:
    """Return the GS1 check digit of `body` (weights 3 and 1 from the right; GS1 General Specifications 7.9)."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body)))
    return str(-total % 10)


def _check_gs1(value: str, lengths: tuple[int, ...], name: str, field: str) -> str:
    # `\d` would take digits of other scripts; isascii keeps to 0-9.
    if not (value.isascii() and _DIGITS.match(value)) or len(value) not in lengths:
        allowed = " or ".join(str(length) for length in lengths)
        raise Invalid(f"{name.lower()}_form", f"{name} must have {allowed} digits.", field=field)
    if gs1_check_digit(value[:-1]) != value[-1]:
        raise Invalid(f"{name.lower()}_check_digit", f"The check digit of this {name} is wrong.", field=field)
    return value


def check_gtin(value: str, field: str = "gtin") -> str:
    return _check_gs1(value, (8, 12, 13, 14), "GTIN", field)


def check_gln(value: str, field: str = "gln") -> str:
    return _check_gs1(value, (13,), "GLN", field)


def check_sscc(value: str, field: str = "sscc") -> str:
    return _check_gs1(value, (18,), "SSCC", field)


def check_currency(value: str, field: str = "currency") -> str:
    if value not in CURRENCY_DIGITS:
        raise Invalid("currency_unknown", "The currency must be an ISO 4217 code such as EUR.", field=field)
    return value


def check_country(value: str, field: str = "country") -> str:
    if value not in COUNTRIES:
        raise Invalid("country_unknown", "The country must be an ISO 3166-1 alpha-2 code such as DE.", field=field)
    return value


def check_unit(value: str, field: str = "unit") -> str:
    if value not in UNIT_DECIMALS:
        raise Invalid("unit_unknown", "The unit must be a UN/ECE Rec 20 code such as C62, KGM or XBX.", field=field)
    return value
