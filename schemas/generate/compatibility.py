"""Whether a shape still keeps what it promised: `schemas/released/` against `schemas/events/`.

What was promised to those who read: every property is still there, what was always present still
is. To those who write: nothing that was valid is refused, so nothing new is required and no type,
set of values or bound is narrower. Additions that are optional keep both; anything else is a new
type (`…v2`).
"""

import json
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

FOLDER = "schemas/released"
_UPPER = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties")
_LOWER = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")
_FIXED = ("pattern", "format", "contentEncoding", "const", "anyOf", "allOf", "oneOf", "not")
_WIDER = {"integer": {"integer", "number"}}


def broken_promises(root: Path) -> list[str]:
    """Return one sentence for each promise that the current shapes break."""
    broken = []
    for path in sorted((root / FOLDER).glob("*.schema.json")):
        current = root / "schemas/events" / path.name
        if not current.exists():
            broken.append(f"{path.name}: the shape was removed")
            continue
        before, after = (json.loads(file.read_text(encoding="utf-8")) for file in (path, current))
        name = path.name.removesuffix(".schema.json")
        broken += breaches(before, after, name)
    return broken


def release(root: Path) -> dict[str, str]:
    """Return {path below root: content} of `released/` when the current shapes are promised."""
    return {
        f"{FOLDER}/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted((root / "schemas/events").glob("*.schema.json"))
    }


def breaches(released: Schema, current: Schema, where: str) -> list[str]:
    """Return one sentence for each promise of `released` that `current` breaks."""
    return _compare(released, current, (released.get("$defs", {}), current.get("$defs", {})), where)


def _compare(before: Schema, after: Schema, around: tuple[Schema, Schema], where: str) -> list[str]:
    before, after = _resolved(before, around[0]), _resolved(after, around[1])
    broken = [f"{where}: {sentence}" for sentence in _values(before, after) + _names(before, after)]
    for field, inner in before.get("properties", {}).items():
        if field in after.get("properties", {}):
            broken += _compare(inner, after["properties"][field], around, f"{where}.{field}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        inner, now = before.get(key, True), after.get(key, True)
        if now is False and inner is not False:
            broken.append(f"{where}{mark}: no longer allowed")
        elif isinstance(now, dict):
            broken += _compare(inner if isinstance(inner, dict) else {}, now, around, where + mark)
    return broken


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return schema


def _names(before: Schema, after: Schema) -> list[str]:
    had, has = before.get("properties", {}), after.get("properties", {})
    needed, needs = set(before.get("required", ())), set(after.get("required", ()))
    return (
        [f"`{field}` was removed" for field in sorted(set(had) - set(has))]
        + [f"`{field}` is newly required" for field in sorted(needs - needed)]
        + [f"`{field}` is no longer always there" for field in sorted((needed - needs) & set(has))]
    )


def _values(before: Schema, after: Schema) -> list[str]:
    broken = []
    if "type" in after and not all(
        _WIDER.get(kind, {kind}) & _types(after) for kind in _types(before) or {"anything"}
    ):
        broken.append(f"type {before.get('type', 'any')} became {after['type']}")
    if "enum" in after and not set(before.get("enum", ("anything",))) <= set(after["enum"]):
        lost = sorted(set(before["enum"]) - set(after["enum"])) if "enum" in before else ["others"]
        broken.append(f"no longer allows {', '.join(map(str, lost))}")
    broken += [
        f"{bound} is narrower: {before.get(bound, 'none')} to {after[bound]}"
        for bound in (*_UPPER, *_LOWER)
        if bound in after and (bound not in before or _narrower(bound, before, after))
    ]
    broken += [
        f"{key} is new or another"
        for key in _FIXED
        if key in after and after[key] != before.get(key)
    ]
    return broken


def _narrower(bound: str, before: Schema, after: Schema) -> bool:
    return bool(after[bound] < before[bound] if bound in _UPPER else after[bound] > before[bound])


def _types(schema: Schema) -> set[str]:
    kinds = schema.get("type", [])
    return {kinds} if isinstance(kinds, str) else set(kinds)
