"""What is wrong with the shape of a brand file's part, as a sentence that says what would be right.

Such as "2 is too small; the least is 3", or "it is empty; write at least 1, such as `- id: service`".
"""

import math
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from klingel.config.brand import Brand

Place = tuple[str | int, ...]

LONGEST_SHOWN: Final = 60
NO_MAPPING: Final = "the file is no mapping; a brand file begins with `brand: <id>`"
_EXAMPLES: Final = {
    "hours": '`mon-fri: ["08:00-20:00"]`',
    "queues": "`- id: service`",
    "words": "`- router`",
}
"""What stands in parts that must not be empty, by their keys."""

_SENTENCES: Final = {
    "bool_type": "{it} is neither true nor false; write one of them",
    "greater_than": "{it} is too small; write more than {gt:g}",
    "greater_than_equal": "{it} is too small; the least is {ge:g}",
    "less_than": "{it} is too large; write less than {lt:g}",
    "less_than_equal": "{it} is too large; the most is {le:g}",
    "literal_error": "{it} is not known; it must be {expected}",
    "string_pattern_mismatch": "{it} does not fit; it must match {pattern}",
}
_NUMBERS: Final = {"int": "whole number", "float": "number", "finite": "number"}
_LISTS: Final = ("tuple_type", "list_type")
_MAPPINGS: Final = ("dict_type", "model_type", "model_attributes_type")


def shape_problem(detail: ErrorDetails) -> tuple[Place, str] | None:
    """Return place and sentence of what pydantic found, None where it only follows from another.

    Args:
        detail: one of `ValidationError.errors`, with its context and input.
    """
    path = tuple(part for part in detail["loc"] if part != "[key]")
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        known = sorted(_fields_at(path[:-1]))
        near = get_close_matches(str(path[-1]), known, 1)
        right = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
        return path, f"unknown key; {right}"
    if kind == "missing":
        return path, f"missing; add `{path[-1]}:`"
    if not path:
        return path, NO_MAPPING
    if path[-1] in {"float", "str"}:  # one of two types, of which each is told
        return path[:-1], f"{shown(value)} is neither a number nor a text; write one of them"
    if kind == "too_short" and len(value) >= detail["ctx"]["min_length"]:
        return None  # what is missing is there, and wrong: that is said of itself
    return path, _sentence(path, kind, value, detail)


def shown(value: Any) -> str:
    """Return a value of a brand file (no customer's words) in at most one short line."""
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST_SHOWN else value[: LONGEST_SHOWN - 3] + "...")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)


def lowered(sentence: str) -> str:
    """Return a sentence as it goes on behind a colon."""
    return sentence[:1].lower() + sentence[1:]


def forbidden(text: str) -> str | None:
    """Return what is wrong with the characters of a text, None where nothing is.

    Control characters but tab and line feed are no part of any word, and not all of whom a brand is
    told can keep them; half a character is no text at all.
    """
    for character in text:
        code = ord(character)
        if code < 0x20 or 0x7F <= code < 0xA0:
            if character not in "\t\n":
                return f"it holds a control character (U+{code:04X}); remove it"
        elif 0xD800 <= code < 0xE000:
            return f"it holds half a character (U+{code:04X}); write the character itself"
    return None


def _sentence(path: Place, kind: str, value: Any, detail: ErrorDetails) -> str:
    """Return the sentence of a key that is known and has the wrong type, size or form."""
    context, it = detail.get("ctx", {}), shown(value)
    number = _NUMBERS.get(kind.split("_", 1)[0])
    if value is None:
        found = _nothing(path)
    elif kind in {"too_short", "too_long", "string_too_short", "string_too_long"}:
        found = _size(path, kind, value, context)
    elif number is not None or (isinstance(value, float) and math.isnan(value)):
        found = _no_number(number or "number", value)
    elif kind in _SENTENCES:
        found = _SENTENCES[kind].format(it=it, **context)
    elif kind == "string_type":
        right = "write one value" if isinstance(value, dict | list) else "put it in quotes"
        found = f"{it} is no text; {right}"
    elif kind in _LISTS:
        found = f"{it} is no list; write {_as_list(value)}, or a line `- …` for each"
    elif kind in _MAPPINGS:
        found = f"{it} is no mapping; write {_example(path) or '`key: value`, a line for each'}"
    else:
        found = f"{it} is wrong; {lowered(detail['msg'])}"
    return found


def _nothing(path: Place) -> str:
    """Return the sentence of a key behind which nothing stands."""
    field = _fields_at(path[:-1]).get(str(path[-1]))
    right = f"write {_example(path) or 'a value'}"
    is_needed = field is None or field.is_required()
    return f"nothing stands here; {right}" + ("" if is_needed else ", or leave the key out")


def _as_list(value: Any) -> str:
    is_short = isinstance(value, str) and len(value) <= LONGEST_SHOWN
    return f'["{value}"]' if is_short else "[a, b]"


def _size(path: Place, kind: str, value: Any, context: dict[str, Any]) -> str:
    unit = " characters" if kind.startswith("string_") else ""
    if kind.endswith("too_long"):
        return f"it has {len(value)}{unit}; the most is {context['max_length']}"
    if unit:
        return (
            "it is empty; write a text" if not value else f"it has {len(value)}{unit}; write more"
        )
    example = _example(path)
    such = f", such as {example}" if example else ""
    return f"it is empty; write at least {context['min_length']}{such}"


def _no_number(number: str, value: Any) -> str:
    it = shown(value)
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            pass
        else:
            return f"{it} is a text; write the {number} without quotes"
    return f"{it} is no {number}; write one"


def _example(path: Place) -> str | None:
    return _EXAMPLES.get(str(path[-1]))


def _fields_at(path: Place) -> dict[str, FieldInfo]:
    """Return the fields of the part at a path, by their keys; none where it is no part of its own."""
    model: type[BaseModel] = Brand
    for part in path:
        if isinstance(part, int):
            continue
        found = next(_models_of(model, part), None)
        if found is None:
            return {}
        model = found
    return model.model_fields


def _models_of(model: type[BaseModel], key: str) -> Iterator[type[BaseModel]]:
    annotation = model.model_fields[key].annotation if key in model.model_fields else None
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            yield candidate
