"""What `klingel.contracts.patterns` looks at is what msgspec would refuse by the patterns itself.

Each shape is loaded a second time with its patterns where msgspec enforces them. Into every string
of a message that fills every field is planted what could slip through; both have to say the same.
"""

import importlib.util
import inspect
import json
import re
import sys
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect as told_by

from klingel.contracts import codec
from klingel.contracts.patterns import NO_CONTROL
from klingel.contracts.topics import Topic
from klingel.errors import InvalidMessage

ASIDE = re.compile(r"extra_json_schema=\{'pattern': ('(?:[^'\\]|\\.)*')\}")
HOLE = "hole-for-what-is-planted"
SAMPLES = (
    *("a", "bc", "de-fg", "kind:scope:native", "a/1", "2026.03", "2026-03", "0", "12"),
    *("undated", "s|brand", "r|brand|0123456789", "00000000-" + 32 * "a"),
    *("0123456789abcdef" * times for times in (1, 2, 4)),
)
"""One of them keeps each pattern."""
FRAGMENTS = (
    *(f"\\u{point:04x}" for point in (0, 1, 8, 0x1F, 0x20, 0x7F, 0x80, 0x85, 0x9F, 0x2028, 0xFEFF)),
    *("\\u001F", "\\u000A", "\\b", "\\f", "\\n", "\\r", "\\t", '\\"', "\\/", "\\\\"),
    *("\\\\u0000", "\\\\n", "\\\\\\n", "\\\\\\u0000", "\\ud83d\\ude00", "\\ud800", "\\udc00x"),
    *(
        "\0",
        "\n",
        "\x1f",
        "\x7f",
        "\x85",
        "\u2028",
        "\u202e",
        "ä",
        "😀",
        " ",
        "A",
        "-",
        "_",
        ":",
        "|",
    ),
    *("", "x" * 5000, "\\u00", "\\x00", "\\U0000"),
)
SHAPES = list(dict.fromkeys(codec.SHAPES.values()))


@cache
def strict(shape):
    """The shape as msgspec enforces it alone."""
    name = f"strict_{shape.__module__.rpartition('.')[2]}"
    if name not in sys.modules:
        source = inspect.getsource(sys.modules[shape.__module__])
        module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, None))
        sys.modules[name] = module
        exec(ASIDE.sub(r"pattern=\1", source), module.__dict__)
    return msgspec.json.Decoder(getattr(sys.modules[name], shape.__name__))


def filled(told, pattern=None):
    """A value of a type, every field of it given."""
    match told:
        case told_by.Metadata():
            return filled(told.type, (told.extra_json_schema or {}).get("pattern"))
        case told_by.UnionType():
            return filled(next(x for x in told.types if not isinstance(x, told_by.NoneType)))
        case told_by.StructType():
            return {field.encode_name: filled(field.type) for field in told.fields}
        case told_by.ListType():
            return [filled(told.item_type)] * max(1, told.min_length or 0)
        case told_by.DictType():
            return {"name": filled(told.value_type)}
    return simple(told, pattern)


def simple(told, pattern):
    """A value that holds no other."""
    if isinstance(told, told_by.StrType):
        sample = next(x for x in SAMPLES if re.search(pattern or "", x))
        return sample.ljust(told.min_length or 0, "0")
    if isinstance(told, told_by.LiteralType):
        return told.values[0]
    if isinstance(told, told_by.IntType | told_by.FloatType):
        return told.ge or 0
    constant = {
        told_by.DateTimeType: "2026-03-02T12:00:00Z",
        told_by.BytesType: "AAAA",
        told_by.BoolType: True,
    }
    return constant.get(type(told), {"any": "thing"})


def holes(content):
    """Every copy of a content in which one string is the hole, beside that string."""
    if isinstance(content, str):
        yield HOLE, content
    items = content.items() if isinstance(content, dict) else ()
    for key, value in enumerate(content) if isinstance(content, list) else items:
        for inner, before in holes(value):
            copy = content.copy()
            copy[key] = inner
            yield copy, before


@cache
def messages(shape):
    """Bytes before and behind each string of a full message, and the string."""
    content = filled(told_by.type_info(shape))
    found = []
    for copy, before in holes(content):
        head, tail = json.dumps(copy, separators=(",", ":")).encode().split(f'"{HOLE}"'.encode())
        found.append((head, tail, before))
    return found


def fate_by_msgspec(shape, value):
    try:
        return codec.encode(strict(shape).decode(value))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return codec.safe_sentence(error)


def fate_by_codec(shape, value):
    try:
        return codec.encode(codec.decode(shape, value))
    except InvalidMessage as error:
        return str(error)


def same_fate(shape, value):
    strictly, ours = fate_by_msgspec(shape, value), fate_by_codec(shape, value)
    assert isinstance(strictly, bytes) == isinstance(ours, bytes), (strictly, ours, value)
    assert strictly == ours or isinstance(ours, str)


def planted(before):
    yield from (before, f"{before}\\n", f"{before}\n", f"\\n{before}")
    for fragment in FRAGMENTS:
        yield from (fragment, before + fragment, fragment + before, f"{before}{fragment}{before}")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_codec_and_msgspec_refuse_the_same_whatever_is_planted_wherever(shape):
    """Control characters, escapes, wrong ids, lengths and nulls in every string of a message."""
    seen = set()
    for head, tail, before in messages(shape):
        for text in planted(before):
            same_fate(shape, head + f'"{text}"'.encode() + tail)
            seen.add(isinstance(fate_by_codec(shape, head + f'"{text}"'.encode() + tail), bytes))
        for other in (b"null", b"7", b"[]", b'"\xff"', b'"\xed\xa0\x80"', b'"a', b""):
            same_fate(shape, head + other + tail)
    assert not messages(shape) or seen == {True, False}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_broken_pattern_is_told_in_the_words_of_msgspec(shape):
    """The sentence names path and pattern, and never the text."""
    for head, tail, _ in messages(shape):
        value = head + b'"PRIVATE\\u0001"' + tail
        strictly = fate_by_msgspec(shape, value)
        if isinstance(strictly, str) and "regex" in strictly:
            assert fate_by_codec(shape, value) == strictly


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_message_of_valid_strings_is_accepted(shape):
    """The message that every other is made of keeps every pattern, also beside an escape."""
    value = json.dumps(filled(told_by.type_info(shape))).encode()
    assert isinstance(fate_by_codec(shape, value), bytes), fate_by_codec(shape, value)
    escaped = value[:-1] + b',"unknown":"\\u0000"}'
    assert fate_by_codec(shape, escaped) == fate_by_codec(shape, value)


@given(
    shape=st.sampled_from(SHAPES),
    where=st.integers(0, 10_000),
    parts=st.lists(st.sampled_from([*FRAGMENTS, *SAMPLES]) | st.text(max_size=3), max_size=6),
)
def test_codec_and_msgspec_refuse_the_same_texts(shape, where, parts):
    """Whatever is put together from fragments of escapes, ids and any text."""
    places = messages(shape)
    if places:
        head, tail, _ = places[where % len(places)]
        text = "".join(parts).encode("utf-8", "surrogatepass")
        same_fate(shape, head + b'"' + text + b'"' + tail)


@given(data=st.data())
def test_codec_and_msgspec_refuse_the_same_with_two_strings_altered(data):
    """A pattern is looked at wherever the escape stands that makes it suspicious."""
    shape = data.draw(st.sampled_from([shape for shape in SHAPES if len(messages(shape)) > 1]))
    content = data.draw(st.sampled_from([copy for copy, _ in all_holes(shape)]))
    text = data.draw(st.sampled_from(["a\nb", "\x7f", "a\\u0000", "", "a", '"', "\0"]))
    other = data.draw(st.sampled_from(list(holes(content))))[0]
    value = json.dumps(other, ensure_ascii=data.draw(st.booleans()))
    same_fate(shape, value.replace(HOLE, json.dumps(text)[1:-1]).encode())


@cache
def all_holes(shape):
    return list(holes(filled(told_by.type_info(shape))))


def test_every_example_has_the_same_fate(example):
    """Codec and msgspec read the examples alike, byte for byte."""
    assert isinstance(fate_by_codec(codec.SHAPES[example.topic], example.value), bytes)
    same_fate(codec.SHAPES[example.topic], example.value)


def test_every_invalid_example_has_the_same_fate(invalid):
    """Codec and msgspec refuse the invalid examples in the same words, or the codec alone does."""
    shape = codec.SHAPES[invalid.topic]
    strictly = fate_by_msgspec(shape, invalid.value)
    ours = fate_by_codec(shape, invalid.value)
    assert isinstance(ours, str)
    assert ours == strictly or (isinstance(strictly, bytes) and invalid.topic is Topic.RAW_EVENTS)


def test_no_pattern_of_the_schemas_is_lost(schemas):
    """Each pattern of a schema stands in its module, and msgspec enforces none beside us.

    Of a case's hashes the length is checked (`schemas/generate/models.py`).
    """
    for shape in SHAPES:
        module = shape.__module__.rpartition(".")[2]
        name = module.replace("_", "-")
        schema = (schemas / "events" / f"{name}.v1.schema.json").read_text(encoding="utf-8")
        source = inspect.getsource(sys.modules[shape.__module__])
        promised = {x for x in patterns_of(json.loads(schema)) if name != "case" or "{16}" not in x}
        kept = {json.loads(found.replace("'", '"')) for found in ASIDE.findall(source)}
        assert kept == promised, name
        assert not re.search(r"\bpattern=", source)
    assert any(
        NO_CONTROL in patterns_of(json.loads(path.read_text()))
        for path in (schemas / "events").glob("*.json")
    )


def patterns_of(schema):
    found = set()
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            found.add(schema["pattern"])
        schema = list(schema.values())
    if isinstance(schema, list):
        found.update(*map(patterns_of, schema))
    return found
