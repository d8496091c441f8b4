"""Envelope, partition and codec: what every reader of our topics relies on."""

import random
import re
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as reference_murmur2

from klingel.contracts import codec
from klingel.contracts.envelope import Message, SourcePosition, ce_headers, rfc3339, trace_id
from klingel.contracts.partition import conversation_key, murmur2, partition_for
from klingel.contracts.topics import Topic
from klingel.errors import ErrorType, InvalidMessage, InvariantViolation
from klingel.model import RawEvent, SocialEvent

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CANARY = "canary7f3a"


def headers(**changes) -> dict[str, bytes]:
    """Build headers of a social event."""
    given_ = {
        "event_id": "nordlicht/webhook:forum:grüße@0",
        "source": "klingel/understand",
        "subject": "webhook:forum:grüße",
        "time": NOON,
        "trace": trace_id("webhook:forum:grüße"),
        **changes,
    }
    return dict(ce_headers(Topic.SOCIAL_EVENTS, **given_))


def test_every_record_is_a_cloud_event_in_binary_mode() -> None:
    """Required attributes of CloudEvents 1.0, prefixed as the Kafka binding says."""
    found = headers()
    assert found["ce_specversion"] == b"1.0"
    assert found["ce_id"].decode() == "nordlicht/webhook:forum:grüße@0"
    assert found["ce_type"] == b"klingel.social-event.v1"
    assert found["ce_source"] == b"klingel/understand"
    assert found["ce_time"] == b"2026-03-02T12:00:00.000Z"
    assert found["content-type"] == b"application/json"
    assert "klingel-source" not in found


def test_traceparent_has_the_shape_of_w3c() -> None:
    """Version, 32 and 16 hex digits that are not all zero, flags; one trace for one object."""
    value = headers()["traceparent"].decode()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", value)
    other = headers(event_id="x", source="klingel/care")["traceparent"].decode()
    assert value.split("-")[1] == other.split("-")[1]
    assert value.split("-")[2] != other.split("-")[2]


def test_a_source_position_survives_its_header() -> None:
    """What is no position is our own corruption."""
    position = SourcePosition("raw-events", 3, 42, 1)
    assert SourcePosition.decode(position.encode()) == position
    assert headers(caused_by=position)["klingel-source"] == b"raw-events/3/42/1"
    for value in (b"", b"raw-events/3/42", b"raw-events/a/b/c", b"\xff/1/2/3"):
        with pytest.raises(InvariantViolation):
            SourcePosition.decode(value)


def test_times_are_utc_with_milliseconds() -> None:
    """Whatever zone they come in."""
    berlin = timezone(timedelta(hours=1))
    assert rfc3339(datetime(2026, 3, 2, 13, 0, 0, 999_999, berlin)) == "2026-03-02T12:00:00.999Z"
    assert rfc3339(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00.000Z"


def test_a_header_is_found_by_name() -> None:
    """The first one; None where there is none."""
    message = Message(Topic.CASES, 0, 0, b"k", None, (("a", b"1"), ("a", b"2")))
    assert (message.header("a"), message.header("b")) == (b"1", None)


def test_keys_lie_where_every_client_puts_them() -> None:
    """murmur2 of kafka-python over 10,000 random keys."""
    chance = random.Random(7)
    for _ in range(10_000):
        key = chance.randbytes(chance.randrange(60))
        assert murmur2(key) == reference_murmur2(key) & 0xFFFFFFFF
        assert partition_for(key, 24) == (reference_murmur2(key) & 0x7FFFFFFF) % 24


def test_a_conversation_of_a_brand_lies_at_one_place() -> None:
    """Its key is that of `tracked-conversations` too."""
    assert conversation_key("nordlicht", "webhook:forum:0") == b"nordlicht|webhook:forum:0"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([CANARY, "text", "kind"]), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(SocialEvent.__struct_encode_fields__)


@pytest.fixture(scope="session")
def social(request) -> dict:
    """A valid social event."""
    folder = request.config.rootpath / "schemas" / "examples" / "social-events"
    return msgspec.json.decode((folder / "post.json").read_bytes())


@given(field=FIELDS, value=JSON)
def test_no_sentence_repeats_content(social: dict, field: str, value) -> None:
    """Whatever stands in whichever field: the sentence tells path and type, not what stands there."""
    broken = msgspec.json.encode({**social, field: value})
    for piece in (broken, broken[:-1], broken + CANARY.encode(), CANARY.encode()):
        error = refusal_of(piece)
        if error is not None:
            assert CANARY not in str(error)
            assert CANARY not in error.path
            assert error.__cause__ is None


def refusal_of(value: bytes) -> InvalidMessage | None:
    """Return why bytes are no social event, None where they are one."""
    try:
        codec.decode(SocialEvent, value)
    except InvalidMessage as error:
        return error
    return None


@given(st.text(max_size=30))
def test_an_invalid_word_is_not_repeated(word: str) -> None:
    """The decoder quotes invalid enum values; so does nobody after us."""
    quoted = f"{CANARY} - at `$.{word}` {CANARY}"
    error = msgspec.ValidationError(f"Invalid enum value '{quoted}' - at `$.kind`")
    assert codec.safe_sentence(error) == "Invalid enum value - at `$.kind`"


@pytest.mark.parametrize(
    ("value", "error_type"),
    [
        (None, ErrorType.MISSING_FIELD),
        (b"", ErrorType.MALFORMED_JSON),
        (b"{", ErrorType.MALFORMED_JSON),
        (b"[]", ErrorType.SCHEMA),
        (b'"\xff"', ErrorType.MALFORMED_JSON),
        (b"[" * 100_000, ErrorType.TOO_DEEP),
        (b'{"event_id":"\xff\xfe"}', ErrorType.MALFORMED_JSON),
    ],
)
def test_what_cannot_be_read_has_its_type(value: bytes | None, error_type: ErrorType) -> None:
    """Every way of being unreadable is an InvalidMessage."""
    with pytest.raises(InvalidMessage) as caught:
        codec.decode(RawEvent, value)
    assert caught.value.error_type in {error_type, ErrorType.SCHEMA}


def test_a_raw_event_needs_an_original(request) -> None:
    """Inline or by reference: the schema's anyOf."""
    folder = request.config.rootpath / "schemas" / "examples" / "raw-events"
    raw = msgspec.json.decode((folder / "webhook-review.json").read_bytes())
    codec.decode(RawEvent, msgspec.json.encode(raw))
    del raw["native"]
    with pytest.raises(InvalidMessage, match="native or native_ref"):
        codec.decode(RawEvent, msgspec.json.encode(raw))
