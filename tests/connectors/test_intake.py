"""n objects in, n fates out: raw events, dead letters, discards on purpose."""

import json
from datetime import UTC, datetime

import pytest

from klingel.contracts import codec
from klingel.contracts.blobs import INLINE_BYTES, BlobStore
from klingel.contracts.topics import Topic
from klingel.domain.identity import REVISION_MAX
from klingel.errors import ErrorType, InvalidMessage
from klingel.model import LedgerLine, RawEvent
from klingel.stage.guard import BrakePulled
from klingel_connectors.books import Books
from klingel_connectors.raw import TurnedAway, check_identity
from klingel_networks.contract import Delivery, Identity, NativeObject, Network, Refused

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RECEIVED = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)


def delivery(body):
    return Delivery(body, {"source": "src"})


async def taken(intake, body):
    return await intake.records(intake.read(delivery(body), "live", RECEIVED))


async def test_a_raw_event_carries_the_native_bytes_and_its_envelope(make_intake, generic):
    native = json.dumps(generic(7), indent=1).encode()
    (record,) = await taken(make_intake(), native)
    raw = codec.decode(RawEvent, record.output.value)
    assert bytes(raw.native) == native
    assert record.output.topic is Topic.RAW_EVENTS
    assert record.output.key == b"replay:src:7" == record.object_id.encode()
    assert (raw.event_id, raw.revision, raw.mode, raw.channel) == (
        "replay:src:7@0",
        0,
        "live",
        "src",
    )
    assert (raw.received_at, raw.context, raw.connector) == (RECEIVED, {"source": "src"}, "test-1")
    headers = dict(record.output.headers)
    assert headers["ce_id"] == b"replay:src:7@0"
    assert headers["ce_type"] == b"klingel.raw-event.v1"
    assert headers["ce_time"] == b"2026-11-20T11:00:00.000Z"


async def test_the_same_input_gives_the_same_ids_in_any_replica(make_intake, generic):
    """K3: neither instance nor time of receipt reach the id."""
    native = json.dumps(generic(7, revision=3)).encode()
    (one,) = make_intake().read(delivery(native), "live", RECEIVED)
    (two,) = make_intake().read(delivery(native), "backfill", NOW)
    assert one.raw.event_id == two.raw.event_id == "replay:src:7@3"


async def test_n_objects_become_n_records_in_order(make_intake, generic):
    """I2, K4: a broken one among them becomes a dead letter, never nothing."""
    batch = [generic(1), {"id": "broken"}, generic(3)]
    records = await taken(make_intake(), json.dumps(batch).encode())
    assert [record.output.topic for record in records] == [
        Topic.RAW_EVENTS,
        Topic.DEAD_LETTERS,
        Topic.RAW_EVENTS,
    ]
    assert json.loads(records[1].output.value) == {"id": "broken"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{broken", "malformed_json"),
        (b"[" * 100_000, "too_deep"),
        (b'{"id":"1","id":"2"}', "duplicate_keys"),
        (b"\xff\xfe", "malformed_json"),
    ],
)
async def test_what_cannot_be_read_keeps_its_bytes_and_reason(make_intake, body, kind):
    (record,) = await taken(make_intake(), body)
    headers = {name: value.decode() for name, value in record.output.headers}
    assert record.output.value == body[: 64 * 1024]
    assert headers["x-dlq-kind"] == kind == record.reason
    assert headers["__connect.errors.stage"] == "connector-test"
    assert headers["x-dlq-network"] == "replay"
    assert headers["__connect.errors.exception.class.name"] == "InvalidMessage"


async def test_a_large_dead_letter_is_cut_and_kept_whole_in_the_store(make_intake, tmp_path):
    body = b"x" * 200_000
    (record,) = await taken(make_intake(), body)
    headers = {name: value.decode() for name, value in record.output.headers}
    assert len(record.output.value) == 64 * 1024
    assert headers["x-dlq-size"] == "200000"
    assert (tmp_path / "blobs" / headers["x-dlq-ref"]).read_bytes() == body


def _huge(size):
    """A network whose one object is as large as its delivery."""
    return Network(
        name="huge",
        explode=lambda delivery: [NativeObject(delivery.body, {})],
        identify=lambda _native, _context: Identity(f"huge:x:{size}", 0, "post", "created"),
        to_social_event=lambda raw: raw,
    )


async def test_an_original_above_512_kib_goes_to_the_store(make_intake, tmp_path):
    body = b'"' + b"x" * INLINE_BYTES + b'"'
    (record,) = await taken(make_intake(network=_huge(1)), body)
    raw = codec.decode(RawEvent, record.output.value)
    assert raw.native is None
    assert len(record.output.value) < 2_000
    assert BlobStore(tmp_path / "blobs").get(raw.native_ref) == body


async def test_an_original_of_512_kib_stays_inline(make_intake):
    body = b'"' + b"x" * (INLINE_BYTES - 2) + b'"'
    (record,) = await taken(make_intake(network=_huge(2)), body)
    assert bytes(codec.decode(RawEvent, record.output.value).native) == body


def _raising(where):
    def fail(*_args):
        raise LookupError("the author said secret")

    return Network(
        name="ours",
        explode=fail if where == "explode" else lambda delivery: [NativeObject(delivery.body, {})],
        identify=fail,
        to_social_event=fail,
    )


@pytest.mark.parametrize("where", ["explode", "identify"])
async def test_what_our_own_code_raises_is_a_dead_letter_without_its_words(make_intake, where):
    (record,) = await taken(make_intake(network=_raising(where)), b"{}")
    headers = {name: value.decode() for name, value in record.output.headers}
    assert headers["x-dlq-kind"] == "unhandled:LookupError"
    assert "secret" not in str(headers)


async def test_the_brake_is_pulled_when_our_own_code_raises_too_often(make_intake):
    """I8: a bad deploy must not empty the input into the dead letters."""
    intake = make_intake(network=_raising("explode"))
    for _ in range(49):
        intake.read(delivery(b"{}"), "live", RECEIVED)
    with pytest.raises(BrakePulled):
        intake.read(delivery(b"{}"), "live", RECEIVED)


async def test_bad_input_never_pulls_the_brake(make_intake):
    intake = make_intake()
    results = [intake.read(delivery(b"{broken"), "live", RECEIVED) for _ in range(600)]
    assert all(isinstance(result, TurnedAway) for (result,) in results)


@pytest.mark.parametrize(
    "identity",
    [
        Identity("n:s:" + "x" * 1024, 0, "post", "created"),
        Identity("n:s:a\nb", 0, "post", "created"),
        Identity("n:s:\ud800", 0, "post", "created"),
        Identity("n:s:1", -1, "post", "created"),
        Identity("n:s:1", REVISION_MAX + 1, "post", "created"),
    ],
    ids=["long", "control", "surrogate", "negative", "beyond"],
)
def test_an_identity_that_no_topic_can_carry_is_refused(identity):
    with pytest.raises(InvalidMessage) as refused:
        check_identity(identity)
    assert refused.value.error_type is ErrorType.INVALID_FIELD


class _All:
    async def known(self):
        return None

    def holds(self, raw, network):
        return True


async def test_suppressed_and_filtered_objects_are_counted_and_not_written(
    make_intake, books, generic
):
    """K14: the suppression check stands before the write."""
    body = json.dumps(generic(1)).encode()
    assert await taken(make_intake(suppressions=_All()), body) == []
    assert await taken(make_intake(keep=lambda raw: raw.object_id != "replay:src:1"), body) == []
    line = codec.decode(LedgerLine, books.close(NOW.replace(hour=13)).value)
    assert line.fates == {"discarded": 2}
    assert line.reasons == {"discarded:suppressed": 1, "discarded:filtered": 1}


async def test_books_count_each_object_when_its_fate_is_certain(make_intake, books, generic):
    intake = make_intake()
    records = await taken(intake, json.dumps([generic(1), {"id": "x"}]).encode())
    assert books.close(NOW.replace(hour=13)) is None
    for record in records:
        intake.settled(record, None)
    line = codec.decode(LedgerLine, books.close(NOW.replace(hour=14)).value)
    assert (line.stage, line.topic, line.received) == ("connector-test", "", 2)
    assert line.fates == {"delivered": 1, "dead_lettered": 1}
    assert line.emitted == {"raw-events": 1, "dead-letters": 1}
    assert line.reasons == {"dead_lettered:missing_field": 1}
    assert line.after - line.before == 2 * 3600 * 1000
    assert books.close(NOW.replace(hour=15)) is None


async def test_metrics_follow_the_books(make_intake, metrics, generic):
    books = Books("connector-test", "holder", NOW, metrics)
    intake = make_intake(books=books, keep=lambda raw: raw.object_id != "replay:src:2")
    batch = [generic(1), generic(2), {"id": "x"}]
    for record in await taken(intake, json.dumps(batch).encode()):
        intake.settled(record, None)
    books.close(NOW.replace(hour=13))
    counted = {
        (name, labels.get("reason") or labels.get("error_type")): value
        for name, labels, value in metrics.samples()
        if name.endswith("_total") and value
    }
    assert counted == {
        ("klingel_received_total", None): 3.0,
        ("klingel_delivered_total", None): 1.0,
        ("klingel_discarded_total", "filtered"): 1.0,
        ("klingel_dead_lettered_total", "missing_field"): 1.0,
    }


def test_a_refused_piece_passes_its_own_reason(make_intake):
    piece = Refused(b"x", InvalidMessage(ErrorType.TOO_LARGE, "too large"))
    network = Network("n", lambda _d: [piece], lambda _n, _c: None, lambda raw: raw)
    (result,) = make_intake(network=network).read(delivery(b"x"), "live", RECEIVED)
    assert (result.native, result.error) == (piece.native, piece.error)
