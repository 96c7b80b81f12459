"""From the wire to a call: bounded bodies, strict JSON, strict query strings. Everything else is a problem."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

import msgspec

from crossdock.api.answers import ApiProblem, ProblemDetail
from crossdock.model.decimals import check_decimals

Receive = Callable[[], Awaitable[Any]]
BODY_BYTES_MAX: Final = 10 * 1024 * 1024
BODY_BYTES_DISCARDED_MAX: Final = 4 * BODY_BYTES_MAX
QUERY_FIELDS_MAX: Final = 1_100
_PLACE: Final = re.compile(r" - at `\$?\.?(.*)`\Z")
_LISTS: Final = ("tuple", "typing.Annotated[tuple")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# A backslash before it would make it a harmless text of six characters.
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def read_headers(scope: Any) -> dict[str, str]:
    """Names in lower case; of a repeated header the last one counts."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def read_body(receive: Receive, headers: Mapping[str, str]) -> bytes:
    """The whole body, once. Raises ApiProblem 413 without keeping more than the limit, 415 if it is compressed."""
    if headers.get("content-encoding", "identity") not in ("", "identity"):
        raise ApiProblem(415, "body_compressed", "Send the message uncompressed.", field="Content-Encoding")
    announced = headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit():
        raise ApiProblem(400, "content_length", "The length of the message is no number.", field="Content-Length")
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body") and len(body) <= BODY_BYTES_MAX:
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiProblem(400, "body_cut", "The message ended before it was complete.")
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_DISCARDED_MAX:
            break
        if size > BODY_BYTES_MAX or int(announced) > BODY_BYTES_MAX:
            # Read on without keeping: a sender that is cut off while it sends does not see the answer.
            parts.clear()
        else:
            parts.append(part)
    if size > BODY_BYTES_MAX:
        raise _too_large()
    return b"".join(parts)


def _too_large() -> ApiProblem:
    megabytes = BODY_BYTES_MAX // (1024 * 1024)
    return ApiProblem(
        413, "body_too_large", f"The message is larger than {megabytes} MB.",
        next_action="Shorten its texts, or split the order.",
    )  # fmt: skip


def check_media_type(headers: Mapping[str, str], wanted: str) -> None:
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise ApiProblem(415, "media_type", f"Send {wanted}.", field="Content-Type")


def decode_body(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    """Raises ApiProblem: 400 for what is no JSON, 422 for JSON that is not what is wanted."""
    if b"\\u0000" in raw and _NUL.search(raw):
        raise ApiProblem(
            422, "text_characters", "A text holds the character U+0000, which cannot be kept.",
            next_action="Remove the character and send the message again.",
        )  # fmt: skip
    try:
        raw.decode()
        decoded = decoder.decode(raw)
        check_decimals(raw, decoder.type)
    except msgspec.ValidationError as error:
        message, field = explain(error)
        detail = ProblemDetail("body_form", message, field=field)
        raise ApiProblem(422, "body_form", message, field=field, errors=(detail,)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiProblem(400, "body_unreadable", f"The message is no JSON: {_why(error)}.") from None
    return decoded


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8 text (byte {error.start})"
    return str(error).removeprefix("JSON is malformed: ").rstrip(".")


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """The sentence and the field of a validation error."""
    text = str(error)
    place = _PLACE.search(text)
    field = place.group(1) if place else ""
    return f"{_PLACE.sub('', text)}.", field


def _read_pairs(query_string: bytes) -> list[tuple[str, str]]:
    """The names and values of a query string. Raises ApiProblem 400."""
    pairs = []
    try:
        fields = query_string.decode("ascii").split("&", QUERY_FIELDS_MAX)
        if len(fields) > QUERY_FIELDS_MAX:
            raise ValueError
        for field in fields:
            name, _, value = field.partition("=")
            if "%" in field or "+" in field:
                name = unquote_plus(name, errors="strict")
                value = unquote_plus(value, errors="strict")
            if field:
                pairs.append((name, value))
    except ValueError:
        raise ApiProblem(400, "query_unreadable", "The query string cannot be read.") from None
    if _CONTROL.search("".join([value for _, value in pairs])):
        name = next(name for name, value in pairs if _CONTROL.search(value))
        raise ApiProblem(400, "parameter_characters", "A parameter holds control characters.", field=name[:40])
    return pairs


class QueryReader:
    """Reads query strings to one struct type; unknown and repeated parameters are refused."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        fields = msgspec.structs.fields(kind)
        self._lists = {item.encode_name for item in fields if str(item.type).startswith(_LISTS)}
        self._names = {item.encode_name for item in fields}

    def read(self, query_string: bytes) -> Any:
        found: dict[str, Any] = {}
        for name, value in _read_pairs(query_string):
            if name in self._lists:
                values = found.get(name)
                if values is None:
                    found[name] = [value]
                else:
                    values.append(value)
            elif name not in self._names:
                raise ApiProblem(400, "parameter_unknown", "There is no such parameter.", field=name[:40])
            elif name in found:
                raise ApiProblem(400, "parameter_repeated", "This parameter can be given once.", field=name)
            else:
                found[name] = value
        try:
            return msgspec.convert(found, self._kind, strict=False)
        except msgspec.ValidationError as error:
            message, field = explain(error)
            raise ApiProblem(422, "parameter_form", message, field=field) from None
