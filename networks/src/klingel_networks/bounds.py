"""Bounds on what comes from outside: depth, times, characters, and the sentences that refuse it.

Everything from a network is hostile. A refusal names the path and the rule, never the content
(I10): a key that is not one of ours is called `(unknown field)`.
"""

import codecs
import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

from klingel.errors import ErrorType, InvalidMessage

MAX_DEPTH = 64
"""Levels of nesting; the deepest payload seen on any network has 12."""
TEXT_MAX = 100_000
"""Characters of one text."""
OBJECT_ID_MAX = 900
"""Characters of an object id: with brand and revision an event id still fits its 1,024."""
YEAR_MIN, YEAR_MAX = 1970, 2199

UNKNOWN_FIELD = "(unknown field)"

# Strings are cut out whole, also an unterminated one: a second try at every quote of it would make
# the scan quadratic.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.|\\\Z)*+(?:"|\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_NOT_SIGNS = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_OPENING = b"[{"
_UTF8 = codecs.getincrementaldecoder("utf-8")
_PIECE_BYTES = 1 << 15
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,20})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_ESCAPES = ("\\u0000", "\\ud", "\\uD")
_AT = re.compile(r" - at (?:`key` in )?`\$\.?(.*)`\Z", re.DOTALL)
_NAMES = {
    "`str": "`string",
    "`int": "`integer",
    "`float": "`number",
    "`bool": "`boolean",
}


def read_utf8(body: bytes) -> str:
    """Return `body` as text; raises InvalidMessage when it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage(
            ErrorType.MALFORMED_JSON, f"the body is not UTF-8 (byte {error.start})"
        ) from None


def check_utf8(body: bytes) -> None:
    """Refuse what is not UTF-8, as `read_utf8` does; in pieces, so that no long text is made."""
    if len(body) <= _PIECE_BYTES:
        read_utf8(body)
        return
    decoder, view = _UTF8(), memoryview(body)
    try:
        for start in range(0, len(body), _PIECE_BYTES):
            decoder.decode(view[start : start + _PIECE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        read_utf8(body)  # which byte it is


def check_depth(body: bytes) -> None:
    """Refuse JSON nested deeper than MAX_DEPTH; linear, nearly free for short bodies and long ones.

    Of a body only brackets and quotes are kept. Taking away two quotes in a row changes for no
    bracket whether it stands in a string; of what is cut at the quotes that are left, every second
    part does. Taking away the innermost pairs of both kinds of brackets takes at most two levels at
    a time. What does not vanish is counted bracket by bracket.
    """
    if len(body) <= _PIECE_BYTES and body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return
    plain = body
    if b"\\" in plain:
        plain = plain.replace(b"\\\\", b"").replace(b'\\"', b"")
    signs = plain.translate(None, _NOT_SIGNS).replace(b'""', b"")
    brackets = b"".join(signs.split(b'"')[::2])
    for _ in range(MAX_DEPTH // 2):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not brackets:
            return
    _count_depth(body)


def _count_depth(body: bytes) -> None:
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > MAX_DEPTH:
            raise InvalidMessage(
                ErrorType.TOO_DEEP, f"the body is nested deeper than {MAX_DEPTH} levels"
            )


def check_json(body: bytes, known_fields: Collection[str]) -> None:
    """Refuse what a lenient reader would let pass: the strict check at an edge that can answer.

    Args:
        body: one JSON value.
        known_fields: names that a path may repeat.

    Raises:
        InvalidMessage: not UTF-8, malformed, too deep, a key given twice in one object, a NUL
            character or a lone surrogate in a string, a number that no reader agrees on.
    """
    text = read_utf8(body)
    check_depth(body)
    try:
        tree = _STRICT.decode(text)
    except _KeyTwice:
        raise _doubled(text, known_fields) from None
    except json.JSONDecodeError as error:
        raise InvalidMessage(
            ErrorType.MALFORMED_JSON,
            f"the body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}",
        ) from None
    except ValueError:  # an integer of more than 4,300 digits
        raise InvalidMessage(ErrorType.INVALID_FIELD, "a number is out of range") from None
    if any(escape in text for escape in _ESCAPES):
        _check_strings(tree, known_fields)


class _KeyTwice(Exception):
    """An object holds a key twice; where, a second reading finds out."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise _KeyTwice
    return built


def _doubled(text: str, known_fields: Collection[str]) -> InvalidMessage:
    """Return the complaint about the outermost object that holds a key twice."""
    doubled: list[dict[str, Any]] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) != len(pairs):
            doubled.append(built)
        return built

    try:
        tree = json.loads(text, object_pairs_hook=build)
    except ValueError:  # what follows the key is malformed, too
        return InvalidMessage(ErrorType.MALFORMED_JSON, "the body is not valid JSON")
    path = _path_of(tree, {id(each) for each in doubled}, known_fields)
    return InvalidMessage(
        ErrorType.DUPLICATE_KEYS, f"{path or 'the object'} holds a key twice", path=path
    )


def _refuse_constant(_: str) -> NoReturn:
    raise InvalidMessage(
        ErrorType.MALFORMED_JSON, "the body is not valid JSON: NaN and Infinity are no numbers"
    )


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _step(path: str, key: str | int, known_fields: Collection[str]) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    name = key if key in known_fields else UNKNOWN_FIELD
    return f"{path}.{name}" if path else name


def _children(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _path_of(tree: Any, wanted: Collection[int], known_fields: Collection[str]) -> str:
    waiting = [("", tree)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in wanted:
            return path
        waiting += [(_step(path, key, known_fields), child) for key, child in _children(value)]
    return ""


def _check_strings(tree: Any, known_fields: Collection[str]) -> None:
    waiting = [("", tree)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            check_characters(value, path)
        for key, child in _children(value):
            step = _step(path, key, known_fields)
            if isinstance(key, str):
                check_characters(key, step)
            waiting.append((step, child))


def check_characters(value: str, path: str) -> None:
    """Refuse a NUL character or a lone surrogate in `value`."""
    if "\x00" in value:
        raise InvalidMessage(
            ErrorType.INVALID_TEXT, f"{path or 'the string'} holds a NUL character", path=path
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidMessage(
            ErrorType.INVALID_TEXT, f"{path or 'the string'} holds a lone surrogate", path=path
        ) from None


def check_text(value: str, path: str) -> None:
    """Refuse a text that is too long or holds a NUL character.

    A decoded msgspec string holds no lone surrogates.
    """
    if len(value) > TEXT_MAX:
        raise InvalidMessage(
            ErrorType.TOO_LARGE, f"{path} is longer than {TEXT_MAX:,} characters", path=path
        )
    if "\x00" in value:
        raise InvalidMessage(ErrorType.INVALID_TEXT, f"{path} holds a NUL character", path=path)


def rfc3339(value: str, path: str) -> datetime:
    """Return an RFC 3339 time as aware UTC; fractions beyond microseconds are cut.

    Raises:
        InvalidMessage: not RFC 3339 (a time zone is required), a moment that does not exist (a
            leap second counts as such), or outside 1970..2199.
    """
    if _RFC3339.fullmatch(value) is None:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD,
            f"{path} is not an RFC 3339 time with a time zone, such as 2026-07-04T14:38:08Z",
            path=path,
        )
    if not YEAR_MIN - 1 <= int(value[:4]) <= YEAR_MAX + 1:
        raise _out_of_range(path)
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except ValueError:
        raise InvalidMessage(
            ErrorType.INVALID_FIELD, f"{path} is a moment that does not exist", path=path
        ) from None
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise _out_of_range(path)
    return moment


def _out_of_range(path: str) -> InvalidMessage:
    return InvalidMessage(
        ErrorType.TIME_OUT_OF_RANGE,
        f"{path} lies outside the years {YEAR_MIN} to {YEAR_MAX}",
        path=path,
    )


_READ_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
READ_ERRORS: tuple[type[Exception], ...] = _READ_ERRORS
"""What a msgspec decoder raises on foreign bytes (a ValidationError is a DecodeError)."""


def refusal(
    error: Exception, path: str = "", allowed: Mapping[str, Collection[str]] | None = None
) -> InvalidMessage:
    """Return msgspec's complaint as an InvalidMessage with one clear sentence.

    Args:
        error: one of READ_ERRORS.
        path: where the decoded part lies in the whole.
        allowed: by field name, the values that an enum takes.
    """
    if isinstance(error, RecursionError):
        return InvalidMessage(ErrorType.TOO_DEEP, "the body is nested too deeply", path=path)
    if isinstance(error, UnicodeDecodeError):
        return InvalidMessage(ErrorType.MALFORMED_JSON, "the body is not UTF-8", path=path)
    sentence = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return InvalidMessage(
            ErrorType.MALFORMED_JSON, f"the body is not valid JSON: {sentence}", path=path
        )
    inner = _AT.search(sentence)
    where = ".".join(part for part in (path, inner[1] if inner else "") if part)
    rule = sentence[: inner.start()] if inner else sentence
    if rule.startswith("Object missing required field"):
        name = rule.split("`")[1]
        where = f"{where}.{name}" if where else name
        return InvalidMessage(ErrorType.MISSING_FIELD, f"{where} is missing", path=where)
    error_type, phrase = _rule(rule, (allowed or {}).get(where.rpartition(".")[2], ()))
    return InvalidMessage(error_type, f"{where or 'the object'}: {phrase}", path=where)


def _rule(rule: str, allowed: Collection[str]) -> tuple[ErrorType, str]:
    """Return the type and the phrase of msgspec's rule, in JSON's words."""
    if rule.startswith("Invalid enum value"):
        values = f"one of {', '.join(allowed)}" if allowed else "one of the documented values"
        return ErrorType.INVALID_FIELD, f"must be {values}"
    if "matching regex" in rule:
        return ErrorType.INVALID_FIELD, "holds characters or a form that is not allowed"
    for ours, theirs in _NAMES.items():
        rule = rule.replace(ours, theirs)
    phrase = rule[:1].lower() + rule[1:]
    if "of length <=" in rule:
        return ErrorType.TOO_LARGE, phrase
    if ", got" in rule:
        return ErrorType.WRONG_TYPE, phrase
    return ErrorType.INVALID_FIELD, phrase


def is_unreadable(error: InvalidMessage) -> bool:
    """Return whether a body could not be read at all, rather than holding an invalid object."""
    return error.error_type in {ErrorType.MALFORMED_JSON, ErrorType.TOO_DEEP}
