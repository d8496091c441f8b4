"""Schema and codec say the same of every example: what one refuses, the other refuses."""

import json
from statistics import median

import pytest
import yaml
from jsonschema import Draft202012Validator

from klingel.contracts import codec
from klingel.contracts.topics import Topic, topic_specs
from klingel.errors import InvalidMessage

HARD_CAP_BYTES = 64 * 1024


def shape_of(topic):
    return codec.SHAPES[topic]


def test_schema_is_itself_valid(topic, schemas):
    """Every event schema is a valid JSON Schema of draft 2020-12."""
    path = schemas / "events" / f"{topic_specs()[topic].event}.schema.json"
    Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


def test_example_passes_its_schema(example):
    """An example is valid by the schema of its topic."""
    Draft202012Validator(example.schema).validate(example.content)


def test_example_travels_through_the_codec_unchanged(example):
    """Decoding and encoding an example loses nothing, adds nothing and alters nothing."""
    record = codec.decode(shape_of(example.topic), example.value)
    assert json.loads(codec.encode(record)) == example.content


def test_example_may_hold_a_field_that_its_reader_does_not_know(example):
    """Readers ignore unknown fields, by schema and by codec."""
    newer = example.content | {"said_by_a_newer_writer": {"of": ["another", "version"]}}
    Draft202012Validator(example.schema).validate(newer)
    record = codec.decode(shape_of(example.topic), json.dumps(newer).encode())
    assert json.loads(codec.encode(record)) == example.content


def test_example_without_a_required_field_is_refused(example):
    """Schema and codec require the same fields."""
    for field in example.schema["required"]:
        poorer = {key: value for key, value in example.content.items() if key != field}
        assert not Draft202012Validator(example.schema).is_valid(poorer), field
        with pytest.raises(InvalidMessage):
            codec.decode(shape_of(example.topic), json.dumps(poorer).encode())


def test_invalid_example_is_refused_by_its_schema(invalid):
    """What the file's name says is refused by the schema."""
    assert not Draft202012Validator(invalid.schema).is_valid(invalid.content)


def test_invalid_example_is_refused_by_the_codec(invalid):
    """What the schema refuses, the codec refuses, in one sentence."""
    with pytest.raises(InvalidMessage) as refused:
        codec.decode(shape_of(invalid.topic), invalid.value)
    assert str(refused.value)
    assert "\n" not in str(refused.value)


def test_invalid_example_is_refused_for_one_reason_alone(invalid):
    """Every invalid example breaks its schema in one place, the one its name tells of."""
    errors = list(Draft202012Validator(invalid.schema).iter_errors(invalid.content))
    assert len(errors) == 1


def test_routed_example_carries_a_valid_social_event(examples):
    """The event inside a routed event is a social event, though its schema leaves it open."""
    for example in examples(Topic.ROUTED_EVENTS):
        inner = json.dumps(example.content["event"]).encode()
        record = codec.decode(shape_of(Topic.SOCIAL_EVENTS), inner)
        assert json.loads(codec.encode(record)) == example.content["event"]


def test_sizes_stay_within_their_bounds(topic, schemas, examples):
    """The median example is no larger than the topic file promises, and none above 64 KiB."""
    promised = yaml.safe_load((schemas / "topics" / f"{topic}.yaml").read_text())
    sizes = [len(example.value) for example in examples(topic)]
    assert max(sizes) <= HARD_CAP_BYTES
    assert median(sizes) <= promised.get("p50_bytes", HARD_CAP_BYTES)
