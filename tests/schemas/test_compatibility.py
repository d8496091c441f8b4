"""What was promised in `schemas/released` is kept, and a broken promise is found."""

import copy

import pytest

from klingel.contracts.topics import topic_specs

RELEASED = {
    "type": "object",
    "required": ["id", "state"],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 20},
        "state": {"type": "string", "enum": ["open", "closed"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "facts": {"type": "array", "maxItems": 8, "items": {"$ref": "#/$defs/Fact"}},
        "names": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "$defs": {
        "Fact": {
            "type": "object",
            "required": ["at"],
            "properties": {"at": {"type": "string"}, "hash": {"type": "string", "pattern": "^a"}},
        }
    },
}
PROPERTIES = RELEASED["properties"]
FACT = RELEASED["$defs"]["Fact"]


def changed(place, **values):
    """Return a copy of RELEASED in which the schema equal to `place` has other values."""
    current = copy.deepcopy(RELEASED)

    def walk(schema):
        if schema == place:
            schema.update(values)
            for key in [key for key, value in schema.items() if value is None]:
                del schema[key]
            return True
        return any(walk(inner) for inner in schema.values() if isinstance(inner, dict))

    assert walk(current)
    return current


BREACHES = {
    "property removed": changed(
        PROPERTIES, **{key: PROPERTIES[key] if key != "count" else None for key in PROPERTIES}
    ),
    "newly required": changed(RELEASED, required=["id", "state", "count"]),
    "no longer always there": changed(RELEASED, required=["id"]),
    "type replaced": changed(PROPERTIES["count"], type="string", minimum=None, maximum=None),
    "value no longer allowed": changed(PROPERTIES["state"], enum=["open"]),
    "enum where none was": changed(PROPERTIES["id"], enum=["a", "b"]),
    "upper bound narrower": changed(PROPERTIES["id"], maxLength=19),
    "lower bound narrower": changed(PROPERTIES["count"], minimum=1),
    "bound where none was": changed(FACT["properties"]["at"], maxLength=30),
    "pattern replaced": changed(FACT["properties"]["hash"], pattern="^b"),
    "format where none was": changed(FACT["properties"]["at"], format="date-time"),
    "items: newly required": changed(FACT, required=["at", "hash"]),
    "items: property removed": changed(FACT, properties={"at": {"type": "string"}}),
    "fewer items": changed(PROPERTIES["facts"], maxItems=7),
    "values of a map narrowed": changed(
        PROPERTIES["names"], additionalProperties={"type": "string", "maxLength": 3}
    ),
    "unknown fields refused": changed(RELEASED, additionalProperties=False),
    "alternatives required": changed(RELEASED, anyOf=[{"required": ["count"]}]),
}
ADDITIONS = {
    "nothing": RELEASED,
    "optional property": changed(PROPERTIES, note={"type": "string"}),
    "further value": changed(PROPERTIES["state"], enum=["open", "closed", "merged"]),
    "wider bound": changed(PROPERTIES["id"], maxLength=40),
    "bound dropped": changed(PROPERTIES["count"], maximum=None),
    "integer becomes number": changed(PROPERTIES["count"], type="number"),
    "optional property of an item": changed(
        FACT["properties"], note={"type": "string", "maxLength": 3}
    ),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_broken_promise_is_found(generator, breach):
    """Each way to break a promise gives one sentence."""
    sentences = generator("compatibility").breaches(RELEASED, BREACHES[breach], "shape")
    assert len(sentences) == 1
    assert sentences[0].startswith("shape")


@pytest.mark.parametrize("addition", ADDITIONS)
def test_addition_breaks_nothing(generator, addition):
    """What only adds or widens keeps every promise."""
    assert generator("compatibility").breaches(RELEASED, ADDITIONS[addition], "shape") == []


def test_current_shapes_keep_what_is_released(generator, root):
    """No shape of `schemas/events` breaks what `schemas/released` promises."""
    assert generator("compatibility").broken_promises(root) == []


def test_every_shape_is_released(schemas):
    """Every topic's shape is promised, so that a break cannot pass unseen."""
    released = {path.name for path in (schemas / "released").glob("*")}
    assert released >= {f"{spec.event}.schema.json" for spec in topic_specs().values()}


def test_removed_shape_is_found(generator, tmp_path):
    """A released shape that is gone is a broken promise."""
    for folder in ("released", "events"):
        (tmp_path / "schemas" / folder).mkdir(parents=True)
    (tmp_path / "schemas/released/case.v1.schema.json").write_text("{}")
    assert generator("compatibility").broken_promises(tmp_path) == [
        "case.v1.schema.json: the shape was removed"
    ]
