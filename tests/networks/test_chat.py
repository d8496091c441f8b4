"""The web chat: what page and brand say in klingel's words, and the conformance suite."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.config.brand import Brand
from klingel.config.compiled import CompiledBrand
from klingel.contracts.topics import Topic
from klingel.domain.direction import addressing_of, direction_of
from klingel.errors import InvalidMessage
from klingel_networks.chat import NETWORK
from klingel_networks.chat.frames import FRAME_BYTES, TEXT_MAX, read_frame
from klingel_networks.chat.replies import object_of, reply_of
from klingel_networks.chat.sessions import Talk, begun_at, talk_of
from klingel_networks.conformance import NetworkConformance, Sample
from klingel_networks.contract import Delivery, Refused
from klingel_networks.mapped import raw_event

SESSION = "6a030f00-00112233445566778899aabbccddeeff"
HERE = {"channel": "website", "session": SESSION}
OURS = HERE | {"side": "brand"}
AT = 1_763_640_000_000


def said(number=1, text="Wo bleibt mein Techniker?", **more):
    """Return a frame of the page."""
    return json.dumps({"say": {"id": f"{number:032x}", "at": AT, "text": text} | more}).encode()


def reply(**more):
    """Return a record of chat-outbox."""
    return json.dumps(
        {
            "channel": "website",
            "session": SESSION,
            "reply_id": "r-1",
            "text": "Er kommt um 14 Uhr. ^ab",
            "name": "Abel",
            "written_at": "2025-11-20T12:01:00Z",
        }
        | more
    ).encode()


def mapped(body, context):
    """Return identity and draft of the one object of a delivery."""
    (piece,) = NETWORK.explode(Delivery(body, context))
    identity = NETWORK.identify(piece.native, piece.context)
    return identity, NETWORK.to_social_event(raw_event("chat", piece, identity))


class TestChat(NetworkConformance):
    """The suite that every network passes."""

    network = "chat"
    samples = (
        Sample(said(), HERE, again=(Delivery(b" " + said(), HERE | {"at": "1763640000001"}),)),
        Sample(reply(), OURS),
        Sample(said(text=""), HERE, refused=1),
    )


def test_a_customer_speaks_privately_in_the_conversation_of_the_session():
    identity, draft = mapped(said(), HERE)
    assert identity == (f"chat:website:{SESSION}/{1:032x}", 0, "chat", "created")
    assert (draft.conversation_id, draft.threading) == (f"chat:website:{SESSION}", "network")
    assert (draft.author.id, draft.target) == (f"website/{SESSION}", "website")
    assert draft.published_at == datetime(2025, 11, 20, 12, 0, tzinfo=UTC)
    assert (draft.direction, draft.visibility) == ("inbound", "private")


def test_the_gateways_time_stands_where_it_does_not_believe_the_page():
    _, draft = mapped(said(), HERE | {"at": str(AT + 5_000)})
    assert draft.published_at == datetime(2025, 11, 20, 12, 0, 5, tzinfo=UTC)


def test_a_reply_is_the_brands_in_the_same_conversation():
    identity, draft = mapped(reply(), OURS)
    assert identity.object_id == f"chat:website:{SESSION}/reply/r-1"
    assert draft.conversation_id == f"chat:website:{SESSION}"
    assert (draft.direction, draft.author.name) == ("outbound", "Abel")
    assert draft.target == f"website/{SESSION}"


def test_no_page_can_speak_as_the_brand():
    forged = json.dumps(json.loads(said()) | json.loads(reply())).encode()
    identity, draft = mapped(forged, HERE)
    assert draft.direction == "inbound"
    assert "/reply/" not in identity.object_id
    (piece,) = NETWORK.explode(Delivery(reply(), HERE))
    assert isinstance(piece, Refused)


@pytest.mark.parametrize(
    ("channel", "direction"), [("website", "outbound"), ("other", "third_party")]
)
def test_only_the_brand_whose_chat_it_is_has_answered(channel, direction):
    brand = CompiledBrand.compile(
        Brand(
            brand="nordlicht",
            name="N",
            queues=[{"id": "q"}],
            channels=[{"network": "chat", "id": channel}],
        ),
        "1",
    )
    _, draft = mapped(reply(), OURS)
    assert direction_of(draft, brand, channel="website") == direction
    _, heard = mapped(said(), HERE)
    assert direction_of(heard, brand, channel="website") == "inbound"
    assert addressing_of(heard, brand, channel="website") == "direct"


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"channel": "website"},
        {"channel": "a/b", "session": SESSION},
        {"channel": "website", "session": "s1"},
        {"channel": "website", "session": SESSION + "\n"},
    ],
)
def test_without_channel_and_session_nothing_is_taken(context):
    (piece,) = NETWORK.explode(Delivery(said(), context))
    assert isinstance(piece, Refused)


def test_a_reply_for_another_session_is_refused():
    (piece,) = NETWORK.explode(Delivery(reply(session=SESSION[:-1] + "0"), OURS))
    assert isinstance(piece, Refused)


@pytest.mark.parametrize("text", ["", " \n", "x" * (TEXT_MAX + 1), "a\x00b"])
def test_texts_that_are_refused(text):
    (piece,) = NETWORK.explode(Delivery(said(text=text), HERE))
    assert isinstance(piece, Refused)
    assert text.strip() == "" or text not in str(piece.error)


def test_the_longest_text_fits_a_frame_however_it_is_escaped():
    assert len(said(text="😡" * TEXT_MAX)) < FRAME_BYTES
    (piece,) = NETWORK.explode(Delivery(said(text="😡" * TEXT_MAX), HERE))
    assert not isinstance(piece, Refused)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"[]",
        b'{"seen": -2}',
        b'{"resume": {}}',
        b'{"resume": {"token": ""}}',
        b'{"say": {"id": "x", "at": 1, "text": "t"}}',
        b'{"say": {"id": "' + b"A" * 32 + b'", "at": 1, "text": "t"}}',
        b"[" * 5_000,
    ],
)
def test_frames_that_are_none(frame):
    with pytest.raises(InvalidMessage):
        read_frame(frame)


@pytest.mark.parametrize("reply_id", ["r-1\n", "", "a b", "x" * 65])
def test_an_id_of_a_reply_that_is_none_is_refused(reply_id):
    (piece,) = NETWORK.explode(Delivery(reply(reply_id=reply_id), OURS))
    assert isinstance(piece, Refused)


@pytest.mark.parametrize(
    ("text", "name"),
    [("", None), (" ", None), ("a\x00b", None), ("ein Wort", "b\x00"), ("\ud800", None)],
)
def test_replies_that_no_gateway_would_take_are_not_made(text, name):
    with pytest.raises(InvalidMessage) as refused:
        reply_of(Talk("website", SESSION), text, "r-1", datetime.now(UTC), name)
    assert not text.strip() or text not in str(refused.value)


def test_the_page_on_the_web_chat_makes_a_reply_that_the_gateway_takes():
    """The example of docs/web-chat.md, run as it stands."""
    page = (Path(__file__).parents[2] / "docs" / "web-chat.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    made: dict = {}
    exec(compile(example, "web-chat.md", "exec"), made)
    assert made["record"].topic is Topic.CHAT_OUTBOX
    assert made["record"].key.decode() == made["talk"].session
    assert 0 <= made["partition"] < 24
    context = {"channel": "website", "session": made["talk"].session, "side": "brand"}
    identity, draft = mapped(made["record"].value, context)
    assert identity.object_id == object_of(made["reply"])
    assert (draft.direction, draft.author.name) == ("outbound", "Abel")


def test_sessions_tell_their_times():
    begun = datetime(2026, 3, 2, 12, tzinfo=UTC)
    session = f"{int(begun.timestamp()):08x}-{'0' * 32}"
    assert begun_at(session) == begun
    assert talk_of(f"chat:a.b:{session}") == Talk("a.b", session)
    assert Talk("a.b", session).conversation_id == f"chat:a.b:{session}"
    for wrong in (
        "",
        "chat:website",
        f"chat:a/b:{session}",
        f"chat:a:{session}0",
        f"x:a:{session}",
    ):
        assert talk_of(wrong) is None


@given(st.text(max_size=200))
def test_what_is_no_conversation_of_a_chat_is_none(text):
    found = talk_of(text)
    assert found is None or found.conversation_id == text
