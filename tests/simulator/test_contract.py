"""What the simulator sends and what its truth says of it, read by the platform's own mappings."""

import json

from klingel_networks.mapped import map_delivery
from klingel_networks.registry import installed
from klingel_simulator.atproto import BlueskyRenderer
from klingel_simulator.generic import GenericRenderer
from klingel_simulator.jetstream import Entry, to_frame_v1, to_frame_v2
from klingel_simulator.traffic import BLUESKY, GENERIC, Mix, Traffic

NOW = 1_790_000_000_000_000
COUNT = 4_000
MIX = Mix(hostile=0.2)
CHANGES = {"create": "created", "update": "updated", "delete": "deleted"}


def read(network, body, context):
    (row,) = map_delivery(network, body, context)
    assert row["fate"] == "delivered", row
    return row["event"]


def test_bluesky_objects_have_the_id_revision_and_text_that_the_truth_names():
    renderer, network = BlueskyRenderer(3), installed().network("bluesky")
    for number, said in enumerate(Traffic(3, count=COUNT, dialect=BLUESKY, mix=MIX)):
        commit = renderer.to_commit(said, NOW + number * 100)
        entry = Entry(number, NOW, "commit", commit.did, commit.collection, commit.body)
        write = to_frame_v1 if number % 2 else to_frame_v2
        event = read(network, write(entry), {})
        assert event["object_id"] == renderer.object_id(said)
        assert event["revision"] == commit.revision
        assert event["change"] == CHANGES[said.operation]
        if said.operation != "delete":
            assert event["kind"] == said.kind
            assert event.get("text", "") == said.text


def test_generic_events_are_accepted_as_they_are_and_keep_their_text():
    renderer, network = GenericRenderer(3, "community"), installed().network("webhook")
    traffic = Traffic(3, count=COUNT, dialect=GENERIC, account="nordlicht", mix=MIX)
    for number, said in enumerate(traffic):
        body = renderer.to_event(said, NOW + number * 100)
        event = read(network, body, {"source": "shop"})
        assert event["object_id"] == f"webhook:shop:{json.loads(body)['id']}"
        assert event["revision"] == said.revision
        assert event["change"] == CHANGES[said.operation]
        if said.operation != "delete":
            assert event["kind"] == said.kind
            assert event.get("text", "") == said.text
