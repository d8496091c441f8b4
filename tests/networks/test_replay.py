"""Replay: recorded generic events under their own ids, native deliveries under their network's."""

import gzip
import json

import pytest

from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.contract import Delivery, NativeObject
from klingel_networks.mapped import map_delivery, raw_event
from klingel_networks.registry import installed
from klingel_networks.replay import NETWORK
from klingel_networks.replay.mapping import spoken_network

EVENT = {
    "id": "1",
    "network": "twitter",
    "author": {"id": "a"},
    "text": "Hallo",
    "published_at": "2026-07-04T14:38:08Z",
    "in_reply_to": "0",
    "conversation_id": "0",
}


def test_generic_events_get_ids_of_their_recording():
    """`replay:<source>:<id>`, references too; the same event through webhook is another object."""
    body = json.dumps(EVENT).encode()
    for context in ({"source": "file"}, {"source": "file", "network": "replay"}):
        (told,) = map_delivery(NETWORK, body, context)
        assert told["event"]["object_id"] == "replay:file:1"
        assert told["event"]["conversation_id"] == "replay:file:0"
        assert told["event"]["in_reply_to"] == "replay:file:0"
        assert told["event"]["mapping"] == "replay/2"
    (other,) = map_delivery(installed().network("webhook"), body, {"source": "file"})
    assert other["event"]["object_id"] == "webhook:file:1"


def test_native_deliveries_are_their_networks_own(payloads):
    """Every recorded frame gives through replay what it gives live: ids, kinds, words, mapping."""
    (recording,) = payloads("bluesky_jetstream_sample").values()
    bluesky = installed().network("bluesky")
    for line in recording.splitlines():
        (live,) = map_delivery(bluesky, line, {})
        (again,) = map_delivery(NETWORK, line, {"source": "file", "network": "bluesky"})
        assert live["event"].pop("network") == "bluesky"
        assert again["event"].pop("network") == "replay"
        assert again == live


def test_a_recording_of_an_unknown_network_is_refused():
    """The reason names the matter, not the name."""
    for ask in (
        lambda context: NETWORK.explode(Delivery(b"{}", context)),
        lambda context: NETWORK.identify(b"{}", context),
    ):
        with pytest.raises(InvalidMessage) as caught:
            ask({"source": "file", "network": "orkut"})
        assert caught.value.error_type is ErrorType.UNKNOWN_NETWORK
    assert spoken_network({"network": "orkut"}) == "orkut"
    assert spoken_network({}) == "replay"


def test_real_support_posts_map_one_to_one(shared_data):
    """Two real sets as generic events: every text and id comes out, replies find their parents."""
    for name, wanted in (("twcs_threads", 2442), ("twcs_random_sample", 2457)):
        with gzip.open(shared_data / "nc" / "text" / f"{name}.jsonl.gz", "rt") as lines:
            records = [json.loads(line) for line in lines]
        assert len(records) == wanted
        ids = set()
        for record in records:
            event = EVENT | {"id": str(record["id"]), "text": record["text"]}
            (piece,) = NETWORK.explode(Delivery(json.dumps(event).encode(), {"source": name}))
            assert isinstance(piece, NativeObject)
            identity = NETWORK.identify(piece.native, piece.context)
            draft = NETWORK.to_social_event(raw_event("replay", piece, identity))
            assert draft.text == record["text"]
            ids.add(identity.object_id)
        assert ids == {f"replay:{name}:{record['id']}" for record in records}
