"""What watch reads of `brand-signals`: the same as the whole shape, or the same complaint."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from klingel.contracts import codec
from klingel.domain.signals import Heard, pack, records
from klingel.errors import InvalidMessage
from klingel.model import BrandSignals
from klingel_processors.watch.rows import read

from .conftest import row

FIELDS = [each.name for each in structs.fields(Heard)]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 1 << 40),
    st.text(max_size=20),
    st.sampled_from(
        ["", "a\nb", "\u2028", "0123456789abcdef", "0123456789abcdeF", "\x7f", "x" * 1101]
    ),
    st.sampled_from(["2026-03-20T10:00:00Z", "2026-03-20T10:00:00", "live", "updated", "negative"]),
    st.lists(st.text(max_size=61), max_size=51),
)


def told(**changes: Any) -> bytes:
    """Return a record of two rows, one of them changed."""
    packed = [pack("nordlicht", row(str(n), n, text="kein Netz")) for n in range(2)]
    (_, value), *_ = records(packed)
    content = json.loads(value)
    content["rows"][1] |= changes
    return json.dumps(content).encode()


def fields_of(reader: Callable[[bytes], Any], value: bytes) -> object:
    """Return the fields of the rows that somebody reads, or why he does not."""
    try:
        return [[getattr(each, name) for name in FIELDS] for each in reader(value).rows]
    except InvalidMessage as error:
        return str(error), error.error_type


@given(st.dictionaries(st.sampled_from([*FIELDS, "of_a_later_version"]), VALUES))
def test_a_row_is_read_as_its_whole_shape_says(changes: dict[str, Any]) -> None:
    value = told(**changes)
    assert fields_of(read, value) == fields_of(partial(codec.decode, BrandSignals), value)


@pytest.mark.parametrize("field", ["event_id", "conversation_id", "customer_id", "reposts"])
def test_an_id_with_a_control_character_is_none(field: str) -> None:
    with pytest.raises(InvalidMessage):
        read(told(**{field: "nordlicht/x:1\n@0"}))


def test_an_author_is_hexadecimal() -> None:
    with pytest.raises(InvalidMessage):
        read(told(author="0123456789ABCDEF"))


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"\xff", b'{"brand":"A","rows":[]}'])
def test_what_is_no_record_is_told_as_by_its_whole_shape(value: bytes | None) -> None:
    with pytest.raises(InvalidMessage) as expected:
        codec.decode(BrandSignals, value)
    with pytest.raises(InvalidMessage) as caught:
        read(value)
    assert str(caught.value) == str(expected.value)
