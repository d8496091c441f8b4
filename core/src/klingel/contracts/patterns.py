r"""The patterns of the schemas, beside msgspec: which strings of a record are looked at, and when.

msgspec calls `re` from C for every string that has a pattern, which takes longer than all else of
decoding a record. So the models carry a pattern where msgspec does not look (`extra_json_schema`),
and `klingel.contracts.codec` asks here once a record is decoded. What is accepted and what is
refused stays the same; what cannot break its pattern is not looked at:

| pattern | looked at | how |
|---|---|---|
| no control character | in a message with a backslash | `isprintable`, else `re` |
| an id or a hash | always | `re` |
| a word, such as a brand's or a network's | always | `re`, once for the words of a record |

In JSON a control character is written with a backslash; as itself msgspec refuses it. The empty
string, which that pattern refuses too, has its `min_length`.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from msgspec import inspect

from klingel.model.base import Record

NO_CONTROL = r"^[^\u0000-\u001f]+$"
BACKSLASH = ord("\\")
_WORDS = 1024
"""Words of records that are remembered; a stage meets few."""

Breach = tuple[str, str]
"""Where a pattern is broken, as a path, and the pattern."""
Check = Callable[[Any], Breach | None]
_Row = tuple[Callable[[Any], Any], Check, str]
"""What takes a field's value, what checks it, and its path."""


def checks(shape: type[Record]) -> tuple[Check | None, Check | None]:
    """Return what checks a decoded record of a shape; None where nothing has to be looked at.

    The first is for a message with a backslash in it, the second for any other.
    """
    told = inspect.type_info(shape)
    return _check(told, escapes=True), _check(told, escapes=False)


def _check(told: inspect.Type, *, escapes: bool) -> Check | None:
    told, pattern = _bare(told)
    if pattern is not None:
        return _check_text(told, pattern, escapes=escapes)
    if isinstance(told, inspect.StructType):
        return _check_fields(told, escapes=escapes)
    if isinstance(told, inspect.ListType):
        return _check_items(_check(told.item_type, escapes=escapes))
    return None


def _bare(told: inspect.Type) -> tuple[inspect.Type, str | None]:
    """Return a type without `None`, and its pattern."""
    if isinstance(told, inspect.UnionType):
        some = [each for each in told.types if not isinstance(each, inspect.NoneType)]
        return _bare(some[0]) if len(some) == 1 else (told, None)
    if isinstance(told, inspect.Metadata):
        return told.type, (told.extra_json_schema or {}).get("pattern")
    return told, None


def _check_text(told: inspect.Type, pattern: str, *, escapes: bool) -> Check | None:
    assert isinstance(told, inspect.StrType)
    search = re.compile(pattern).search
    if pattern != NO_CONTROL:
        return lambda text: None if search(text) else ("", pattern)
    assert told.min_length, "a string that may be empty is looked at always"
    if not escapes:
        return None
    return lambda text: None if text.isprintable() or search(text) else ("", pattern)


def _check_items(check: Check | None) -> Check | None:
    if check is None:
        return None

    def check_items(items: Sequence[Any]) -> Breach | None:
        for index, item in enumerate(items):
            found = check(item)
            if found is not None:
                return f"[{index}]{found[0]}", found[1]
        return None

    return check_items


def _check_fields(told: inspect.StructType, *, escapes: bool) -> Check | None:
    words: list[_Row] = []
    others: list[_Row] = []
    for field in told.fields:
        check = _check(field.type, escapes=escapes)
        if check is not None:
            rows = words if _is_word(field.type) else others
            rows.append((attrgetter(field.name), check, f".{field.encode_name}"))
    if not words:
        return _check_rows(others) if others else None
    names = [field.name for field in told.fields if _is_word(field.type)]
    get_words = attrgetter(*names, names[-1])  # of one name it would not give a tuple
    check_words = lru_cache(_WORDS)(_check_words(words))
    check_others = _check_rows(others)

    def check_fields(record: Any) -> Breach | None:
        found = check_words(get_words(record))
        return check_others(record) if found is None and others else found

    return check_fields


def _check_words(rows: Sequence[_Row]) -> Callable[[tuple[str | None, ...]], Breach | None]:
    """Return what checks the values of the rows, in their order."""

    def check_words(words: tuple[str | None, ...]) -> Breach | None:
        for word, (_, check, name) in zip(words, rows, strict=False):
            if word is not None:
                found = check(word)
                if found is not None:
                    return name, found[1]
        return None

    return check_words


def _check_rows(rows: Sequence[_Row]) -> Check:
    """Return what checks a record by its rows."""

    def check_rows(record: Any) -> Breach | None:
        for get, check, name in rows:
            value = get(record)
            if value is not None:
                found = check(value)
                if found is not None:
                    return name + found[0], found[1]
        return None

    return check_rows


def _is_word(told: inspect.Type) -> bool:
    """Whether a string is often met again; ids and hashes are not, nor are people's remembered."""
    _, pattern = _bare(told)
    return pattern is not None and "[^" not in pattern and "[0-9a-f]" not in pattern
