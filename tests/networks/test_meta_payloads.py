"""Every recorded payload of the Meta family: each object an event or a dead letter, none lost.

The objects are counted by a walk of this file's own; what each recording must become is told here
in other words than the mapping's.
"""

import json
from collections import Counter
from typing import Any

import pytest

from klingel.errors import InvalidMessage
from klingel_networks.contract import Delivery, NativeObject, Refused
from klingel_networks.mapped import map_delivery, raw_event
from klingel_networks.registry import installed

ARCHIVES = ("meta_page_and_messenger_webhooks", "meta_instagram", "meta_whatsapp_cloud")
NO_WEBHOOKS = {
    "audio-response.json",
    "container_no_copyright.json",
    "ig_login_exception.json",
    "media-image.json",
    "user.json",
    "instagram-conversation.json",
    "group-join-requests.json",
    "message-response-group.json",
    "message-response-phone-precedence.json",
    "message-response.json",
    "phone-number-default-response.json",
    "phone-number-full-response.json",
    "send-message-recipient-only.json",
    "send-message-to-and-recipient.json",
}
"""Answers and requests of the Graph API: no webhooks, and refused as such."""

LISTS = {
    "messages",
    "statuses",
    "message_echoes",
    "history",
    "state_sync",
    "calls",
    "user_preferences",
    "user_id_update",
    "errors",
}


def walk(tree: dict[str, Any]) -> list[str]:
    """Return the network of every object in a webhook."""
    found = []
    for entry in tree["entry"]:
        here = []
        for name in ("messaging", "standby"):
            owner = {"page": "messenger"}.get(tree["object"], tree["object"])
            here += [owner] * len(entry.get(name, ()))
        for change in entry.get("changes", ()):
            if tree["object"] == "whatsapp_business_account":
                value = change.get("value") or {}
                listed = [len(value[name]) for name in LISTS if name in value]
                here += ["whatsapp"] * (sum(listed) or 1)
            else:
                here.append("instagram" if tree["object"] == "instagram" else "facebook")
        found += here or ["facebook"]
    return found


def mapped(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Return network and event of each object, through the family as the gateway does."""
    found = []
    for name, piece in installed().family("meta").explode(Delivery(body)):
        assert isinstance(piece, NativeObject), piece
        network = installed().network(name)
        identity = network.identify(piece.native, piece.context)
        draft = network.to_social_event(raw_event(name, piece, identity))
        assert (draft.kind, draft.change) == (identity.kind, identity.change)
        assert installed().manifest(name).delivers(identity.kind, identity.change)
        found.append((name, {"identity": identity, "draft": draft}))
    return found


@pytest.fixture(scope="module")
def files(payloads) -> dict[str, bytes]:
    return {
        path.rpartition("/")[2]: body
        for archive in ARCHIVES
        for path, body in payloads(archive).items()
    }


def test_every_recorded_object_is_an_event_of_the_right_network(files):
    assert len(files) == 71 + 16 + 80
    seen = Counter()
    for name, body in files.items():
        if name in NO_WEBHOOKS:
            with pytest.raises(InvalidMessage, match="no webhook of Meta"):
                mapped(body)
            continue
        found = mapped(body)
        assert [network for network, _ in found] == walk(json.loads(body)), name
        seen.update(network for network, _ in found)
    assert seen == {"messenger": 33, "facebook": 39, "instagram": 10, "whatsapp": 73}


def test_the_command_gives_each_object_of_each_file_a_fate(files):
    for name, body in files.items():
        count = 1 if name in NO_WEBHOOKS else len(walk(json.loads(body)))
        for network in ("facebook", "instagram", "messenger", "whatsapp"):
            told = map_delivery(installed().network(network), body, {})
            assert len(told) == count, (name, network)
            for each in told:
                assert each["fate"] == "delivered" or (each["reason"] and each["sentence"]), name


def test_the_networks_explode_what_the_family_does(files):
    for name, body in files.items():
        if name in NO_WEBHOOKS:
            continue
        together = installed().family("meta").explode(Delivery(body))
        for network in ("facebook", "instagram", "messenger", "whatsapp"):
            alone = installed().network(network).explode(Delivery(body))
            assert len(alone) == len(together)
            for (owner, piece), each in zip(together, alone, strict=True):
                if owner == network:
                    assert each == piece
                else:
                    assert isinstance(each, Refused)
                    assert owner in str(each.error)


EXPECTED = {
    # name: kind, change, direction, text, id of the author (none: not looked at)
    "feed-album-edited.json": ("post", "updated", "outbound", None, "1234567890321"),
    "feed-comment-add-211.json": (
        "comment",
        "created",
        "outbound",
        "and the next one",
        "1234567890321",
    ),
    "feed-comment-remove-25.json": ("comment", "deleted", "outbound", None, "1234567890321"),
    "feed-comment-unhide.json": (
        "comment",
        "updated",
        "outbound",
        "and the next one",
        "1234567890321",
    ),
    "feed-like-remove-25.json": ("reaction", "deleted", "outbound", None, "1234567890321"),
    "feed-photo-edited-message.json": ("post", "updated", "outbound", "Testing", "1234567890321"),
    "feed-photo-hide.json": ("unknown", "updated", "outbound", None, "1234567890321"),
    "feed-photo-hide-message.json": (
        "post",
        "updated",
        "outbound",
        "A really great photo",
        "1234567890321",
    ),
    "feed-post-edit.json": ("post", "updated", None, "Let's check this", "8423678347823"),
    "feed-reaction-add-reply.json": ("reaction", "created", "outbound", "like", "1234567890321"),
    "feed-status-add-photos.json": (
        "post",
        "created",
        "outbound",
        "This is just a short test message",
        "1234567890321",
    ),
    "feed-video-mute.json": ("unknown", "updated", None, "Test video", None),
    "feed-video-remove-25.json": ("post", "deleted", "outbound", None, "1234567890321"),
    "mention-post-add.json": ("post", "created", None, None, "44444444"),
    "permission-granted.wh-2.json": ("unknown", "created", None, None, None),
    "ratings-comment-edited-25.json": ("comment", "updated", "outbound", None, "1234567890321"),
    "ratings-like-add-40.json": ("reaction", "created", None, "like", "705955836155788"),
    "ratings-like-remove-25.json": ("reaction", "deleted", None, None, "705955836155788"),
    "ratings-rating-remove-25.json": ("review", "deleted", None, None, "705955836155788"),
    "ratings-reaction-edit.json": ("reaction", "updated", None, "angry", "705955836155788"),
    "unknown-change-value.json": ("unknown", "created", None, None, None),
    "user-likes-add.json": ("unknown", "created", None, None, None),
    "messaging-message-basic.json": (
        "direct_message",
        "created",
        None,
        "hello, world!",
        "987654321432",
    ),
    "messaging-message-isdeleted.json": ("direct_message", "deleted", None, None, "987654321432"),
    "messaging-message-isunsupported.json": (
        "direct_message",
        "created",
        None,
        None,
        "987654321432",
    ),
    "messaging-reaction-1.json": ("reaction", "created", None, "\U0001f622", "USER_ID"),
    "messaging-reaction-2.json": ("reaction", "deleted", None, None, "USER_ID"),
    "messaging-read-basic.json": ("unknown", "created", None, None, "987654321432"),
    "messaging-policy-callback-block.json": ("unknown", "created", None, None, None),
    "instagram_story_mention_event.json": ("story", "created", None, None, "Sender-id-1"),
    "instagram_story_mention_event_with_echo.json": (
        "story",
        "created",
        "outbound",
        None,
        "Sender-id-1",
    ),
    "instagram_shared_reel_event.json": ("direct_message", "created", None, None, "Sender-id-1"),
    "wh-comments-2021.json": ("comment", "created", None, "This is an example.", "1234536447"),
    "wh-mentions.json": ("comment", "created", None, None, None),
    "wh-story_insights.json": ("unknown", "created", None, None, None),
    "message__text.json": (
        "direct_message",
        "created",
        None,
        "Body Text",
        "bsuid:US.13491208655302741918",
    ),
    "message__unreaction_empty.json": (
        "reaction",
        "deleted",
        None,
        None,
        "bsuid:US.13491208655302741918",
    ),
    "message__unreaction_no_emoji.json": (
        "reaction",
        "deleted",
        None,
        None,
        "bsuid:US.13491208655302741918",
    ),
    "message__unsupported.json": (
        "direct_message",
        "created",
        None,
        None,
        "bsuid:US.13491208655302741918",
    ),
    "callback_selection__callback.json": (
        "direct_message",
        "created",
        None,
        "title",
        "bsuid:US.13491208655302741918",
    ),
    "deleted_message__revoke.json": (
        "direct_message",
        "deleted",
        None,
        None,
        "bsuid:US.13491208655302741918",
    ),
    "outgoing_message__edit.json": (
        "direct_message",
        "updated",
        "outbound",
        "Text was edited",
        "1122334455667",
    ),
    "outgoing_message__delete.json": (
        "direct_message",
        "deleted",
        "outbound",
        None,
        "1122334455667",
    ),
    "message_status__with_tracker.json": (
        "direct_message",
        "created",
        "outbound",
        None,
        "1122334455667",
    ),
    "message_status__read.json": (
        "unknown",
        "created",
        None,
        None,
        "bsuid:US.13491208655302741918",
    ),
    "webhook-userIdUpdate.json": (
        "unknown",
        "created",
        None,
        None,
        "bsuid:US.13491208655302741918",
    ),
    "webhook-incoming-message-system-bsuid.json": (
        "unknown",
        "created",
        None,
        None,
        "bsuid:US.13491208655302741918",
    ),
    "webhook-incoming-message-document.json": (
        "direct_message",
        "created",
        None,
        "RESTFB ANNIVERSARY",
        "phone:",
    ),
    "reactMessage.json": ("reaction", "created", None, "\U0001f44d", "phone:"),
    "buttonMessage.json": ("direct_message", "created", None, "SIM", None),
    "accountBanned.json": ("unknown", "created", None, None, None),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_object_becomes_what_its_name_says(files, name):
    ((_, told),) = mapped(files[name])
    draft = told["draft"]
    kind, change, direction, text, author = EXPECTED[name]
    assert (draft.kind, draft.change, draft.direction, draft.text) == (
        kind,
        change,
        direction,
        text,
    )
    if author is not None:
        assert draft.author.id.startswith(author)


def test_what_belongs_together_shares_its_conversation(files):
    def draft(name):
        return mapped(files[name])[0][1]["draft"]

    rating = mapped(files["ratings-rating-remove-25.json"])[0][1]["identity"].object_id
    assert rating == "facebook:network:rating/904801129604590"
    assert draft("ratings-like-add-25.json").conversation_id == rating
    assert draft("ratings-like-add-25.json").in_reply_to == rating
    comment = draft("feed-comment-add-211.json")
    assert comment.conversation_id == "facebook:network:1234567890321_901097836652708"
    assert comment.in_reply_to == comment.conversation_id
    reply = draft("wh-comments-2021.json")
    assert (reply.conversation_id, reply.in_reply_to) == (
        "instagram:network:76543987",
        "instagram:network:987654321",
    )
    read, text = draft("messaging-read-basic.json"), draft("messaging-message-basic.json")
    assert read.conversation_id == text.conversation_id
    status, words = draft("message_status__read.json"), draft("message__text.json")
    assert status.conversation_id.rpartition(":")[2] == words.conversation_id.rpartition(":")[2]


def test_the_two_messages_that_one_recording_calls_deleted_and_the_other_sent_are_one(files):
    sent = mapped(files["messaging-message-isunsupported.json"])[0][1]["identity"]
    gone = mapped(files["messaging-message-isdeleted.json"])[0][1]["identity"]
    assert (sent.object_id, gone.revision > sent.revision) == (gone.object_id, True)
