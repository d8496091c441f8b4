"""Telegram: recorded updates, what Bot API 9 adds to them, and the conformance suite."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from klingel_networks.conformance import NetworkConformance, Sample
from klingel_networks.contract import Delivery, NativeObject
from klingel_networks.mapped import map_delivery, raw_event
from klingel_networks.telegram import NETWORK

HERE = {"channel": "42"}
ANNA = {"id": 7, "is_bot": False, "first_name": "Anna", "last_name": "Ö", "username": "anna"}
PRIVATE = {"id": 7, "type": "private", "first_name": "Anna"}
GROUP = {"id": -1001, "type": "supergroup", "title": "Netz", "username": "netz"}
MESSAGE_IDS = ("message", "edited_message", "channel_post", "edited_channel_post")
GONE = 2**42 - 1


def packed(tree: Any) -> bytes:
    """Return a tree as Telegram sends it."""
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()


def message(chat: dict[str, Any] = PRIVATE, **more: Any) -> dict[str, Any]:
    """Return a message: https://core.telegram.org/bots/api#message."""
    return {
        "message_id": 10,
        "from": ANNA | {"language_code": "de"},
        "chat": chat,
        "date": 1783175887,
        "text": "kein Netz",
    } | more


def update(number: int = 1, **what: Any) -> dict[str, Any]:
    """Return an update of one thing."""
    return {"update_id": number, **what}


def reaction(old: str = "", new: str = "", **more: Any) -> dict[str, Any]:
    """Return a change of reactions: https://core.telegram.org/bots/api#messagereactionupdated."""
    return {
        "chat": GROUP,
        "message_id": 10,
        "user": ANNA,
        "date": 1783175900,
        "old_reaction": [{"type": "emoji", "emoji": each} for each in old],
        "new_reaction": [{"type": "emoji", "emoji": each} for each in new],
    } | more


MARKED = message(
    GROUP,
    text="😡 @nordlicht Anna #Netz example.com hier",
    entities=[
        {"type": "mention", "offset": 3, "length": 10},
        {"type": "text_mention", "offset": 14, "length": 4, "user": ANNA},
        {"type": "hashtag", "offset": 19, "length": 5},
        {"type": "text_link", "offset": 37, "length": 4, "url": "https://example.com/a"},
    ],
    reply_to_message={"message_id": 9, "date": 1, "chat": GROUP, "from": {"id": 8}},
)


class TestTelegram(NetworkConformance):
    """The suite that every network passes."""

    network = "telegram"
    samples = (
        Sample(
            packed(update(message=message())),
            HERE,
            again=(Delivery(packed({"ok": True, "result": [update(9, message=message())]}), HERE),),
            edited=(Delivery(packed(update(edited_message=message(edit_date=1783175900))), HERE),),
        ),
        Sample(packed(update(message=MARKED)), HERE),
        Sample(packed(update(message=message(GROUP))), HERE),
        Sample(packed(update(message_reaction=reaction("👍", "😡🤬"))), HERE, objects=3),
        Sample(
            packed(
                update(
                    deleted_business_messages={
                        "business_connection_id": "c1",
                        "chat": PRIVATE,
                        "message_ids": [10, 11],
                    }
                )
            ),
            HERE,
            objects=2,
        ),
        Sample(packed([update(poll_answer={}), {"update": 1}]), HERE, objects=2, refused=1),
        Sample(
            packed(
                update(
                    callback_query={"id": "5", "from": ANNA, "message": message(), "data": "yes"}
                )
            ),
            HERE,
        ),
    )


def mapped(tree: Any):
    """Return identity and draft of each object of a body."""
    found = []
    for piece in NETWORK.explode(Delivery(packed(tree), HERE)):
        assert isinstance(piece, NativeObject), piece
        identity = NETWORK.identify(piece.native, piece.context)
        found.append((identity, NETWORK.to_social_event(raw_event("telegram", piece, identity))))
    return found


def test_ids_count_where_telegram_counts_them():
    """By bot in private chats, for everybody in supergroups, by connection in business chats."""
    private = message()
    ids = [
        mapped(update(message=each))[0][0].object_id
        for each in (private, message(GROUP), private | {"business_connection_id": "c1"})
    ]
    assert ids == ["telegram:42/7:10", "telegram:-1001:10", "telegram:c1/7:10"]


def test_a_private_chat_is_one_conversation():
    """With the person's name, handle and language."""
    ((_, draft),) = mapped(update(message=message()))
    assert (draft.threading, draft.conversation_id) == ("network", "telegram:42/7:chat")
    assert (draft.kind, draft.visibility) == ("direct_message", "private")
    assert (draft.author.id, draft.author.handle, draft.author.name) == ("7", "anna", "Anna Ö")
    assert draft.published_at == datetime(2026, 7, 4, 14, 38, 7, tzinfo=UTC)
    assert draft.langs == ("de",)


def test_in_a_group_a_reply_names_its_parent_and_marks_are_counted_in_utf16():
    """An emoji before a mention takes two units."""
    ((_, draft),) = mapped(update(message=MARKED))
    assert (draft.kind, draft.visibility) == ("reply", "public")
    assert (draft.in_reply_to, draft.in_reply_to_author) == ("telegram:-1001:9", "8")
    assert draft.mentions == ("@nordlicht", "7")
    assert draft.hashtags == ("netz",)
    assert draft.links == ("https://example.com/a",)
    assert draft.url == "https://t.me/netz/10"


def test_a_topic_is_a_conversation_and_its_head_no_parent():
    """Every message of a topic says that it answers the topic's first one."""
    topic = {"is_topic_message": True, "message_thread_id": 3}
    head = {"message_id": 3, "date": 1, "chat": GROUP}
    ((_, draft),) = mapped(update(message=message(GROUP, reply_to_message=head, **topic)))
    assert (draft.threading, draft.conversation_id) == ("network", "telegram:-1001:3")
    assert (draft.kind, draft.in_reply_to) == ("post", None)


def test_changed_reactions_are_as_many_objects():
    """What stayed is none."""
    found = mapped(update(message_reaction=reaction("👍❤", "❤😡")))
    assert [(identity.object_id, identity.change) for identity, _ in found] == [
        ("telegram:-1001:10/reaction/7/😡", "created"),
        ("telegram:-1001:10/reaction/7/👍", "deleted"),
    ]
    assert {draft.in_reply_to for _, draft in found} == {"telegram:-1001:10"}


def test_deletions_of_a_business_chat_reach_their_messages():
    """Each is an object, and final."""
    gone = {"business_connection_id": "c1", "chat": PRIVATE, "message_ids": [10, 11]}
    found = mapped(update(deleted_business_messages=gone))
    assert [identity.object_id for identity, _ in found] == ["telegram:c1/7:10", "telegram:c1/7:11"]
    assert {identity.revision for identity, _ in found} == {GONE}
    said = message(business_connection_id="c1")
    assert mapped(update(business_message=said))[0][0].object_id == found[0][0].object_id


def test_an_edit_of_an_edit_is_later():
    """Seconds of Telegram as ms."""
    ((first, _),) = mapped(update(edited_message=message(edit_date=1783175900)))
    ((second, draft),) = mapped(update(edited_message=message(edit_date=1783175901)))
    assert second.revision - first.revision == 1000
    assert draft.changed_at == datetime(2026, 7, 4, 14, 38, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("content", "kinds", "text"),
    [
        ({"photo": [{"file_id": "s"}, {"file_id": "l"}], "caption": "kaputt"}, ["image"], "kaputt"),
        ({"voice": {"file_id": "v"}}, ["audio"], ""),
        ({"animation": {"file_id": "a"}, "document": {"file_id": "a"}}, ["video"], ""),
        ({"sticker": {"file_id": "s", "emoji": "🤬"}}, ["sticker"], "🤬"),
        ({"location": {"latitude": 53.5, "longitude": 10}}, ["location"], ""),
        ({"checklist": {"title": "Heute", "tasks": [{"id": 1, "text": "a"}]}}, [], "Heute\na"),
    ],
)
def test_whatever_somebody_sends_is_kept(content: dict[str, Any], kinds: list[str], text: str):
    """Media by their file id, words where there are any."""
    said = {name: value for name, value in message().items() if name != "text"}
    ((identity, draft),) = mapped(update(message=said | content))
    assert identity.kind == "direct_message"
    assert [each.kind for each in draft.media] == kinds
    assert draft.text == text


def test_every_recorded_update_is_an_event(payloads):
    """53 updates: one object each; what people say is no unknown."""
    files = payloads("telegram_updates")
    assert len(files) == 53
    kinds: Counter[str] = Counter()
    for name, body in files.items():
        (told,) = map_delivery(NETWORK, body, HERE)
        assert told["fate"] == "delivered", name
        kinds[told["event"]["kind"]] += 1
        tree = json.loads(body)
        said = next((tree[one] for one in MESSAGE_IDS if one in tree), {})
        if "text" in said:
            assert told["event"]["text"] == said["text"], name
            assert told["event"]["kind"] != "unknown", name
    assert kinds["direct_message"] == 21
    assert kinds["reply"] == 1
