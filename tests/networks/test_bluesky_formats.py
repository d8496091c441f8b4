"""Bluesky as its lexicons and Jetstream's README write it, through `klingel map`.

Lexicons: app.bsky.feed.post, .like, .repost, app.bsky.embed.*, app.bsky.notification.listNotifications,
chat.bsky.convo.getLog; frames: github.com/bluesky-social/jetstream, README.
"""

from typing import Any

import pytest

BEYOND = 2**53 + 1
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
OTHER = "did:web:x.example"
REV = "3l3qo2vutsw2b"
ROOT = f"at://{DID}/app.bsky.feed.post/aaa"
SAID = "2026-07-04T14:38:07.112Z"


def frame(operation: str, collection: str, record: Any = None, **more: Any) -> dict[str, Any]:
    commit = {"rev": REV, "operation": operation, "collection": collection, "rkey": "3l3qo2vuowo2b"}
    if record is not None:
        commit |= {"record": record, "cid": "bafyreidwaivazkwu67xztlmuobx35hs2lnfh3kolmgfmucldvhd3"}
    return {"did": DID, "time_us": 1725911162329308, "kind": "commit", "commit": commit | more}


def post(**more: Any) -> dict[str, Any]:
    return {"$type": "app.bsky.feed.post", "text": "kein Netz", "createdAt": SAID} | more


def ref(uri: str) -> dict[str, str]:
    return {"uri": uri, "cid": "bafyx"}


def events(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert {each["fate"] for each in found} <= {"delivered"}, found
    return [each["event"] for each in found]


def test_both_wires_and_a_notification_tell_the_same_post(told):
    (first,) = events(told("bluesky", frame("create", "app.bsky.feed.post", post())))
    second_wire = {
        "$type": "network.bsky.jetstream.subscribeEvents#commit",
        "seq": BEYOND,
        "did": DID,
        "time": SAID,
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": "3l3qo2vuowo2b",
        "rev": REV,
        "record": post(),
    }
    assert events(told("bluesky", second_wire)) == [first]
    page = {"notifications": [notice(), notice(record=5), notice()], "cursor": "x"}
    found = told("bluesky", page)
    assert [each["fate"] for each in found] == ["delivered", "dead_lettered", "delivered"]
    assert found[0]["event"]["event_id"] == first["event_id"]
    assert found[0]["event"]["author"]["handle"] == "a.example"


def notice(**more: Any) -> dict[str, Any]:
    return {
        "uri": f"at://{DID}/app.bsky.feed.post/3l3qo2vuowo2b",
        "cid": "bafyx",
        "author": {"did": DID, "handle": "a.example", "displayName": "A"},
        "reason": "mention",
        "record": post(),
        "isRead": False,
        "indexedAt": SAID,
    } | more


def test_entries_of_the_log_are_told_without_being_named(told):
    said = {"id": "m1", "rev": REV, "text": "Hallo", "sender": {"did": DID}, "sentAt": SAID}
    logs = [
        {"$type": "chat.bsky.convo.defs#logCreateMessage", "convoId": "c1", "message": said},
        {"$type": "chat.bsky.convo.defs#logDeleteMessage", "convoId": "c1", "message": said},
        {"$type": "chat.bsky.convo.defs#logBeginConvo", "convoId": "c1"},
    ]
    made, gone, begun = events(told("bluesky", {"logs": [each | {"rev": REV} for each in logs]}))
    assert made["object_id"] == gone["object_id"] == "bluesky:network:chat/c1/m1"
    assert (made["change"], gone["change"], begun["kind"]) == ("created", "deleted", "unknown")
    assert made["visibility"] == "private"


@pytest.mark.parametrize(
    ("more", "kind", "names"),
    [
        ({}, "post", {}),
        (
            {"reply": {"root": ref(ROOT), "parent": ref(f"at://{OTHER}/app.bsky.feed.post/b")}},
            "reply",
            {"conversation_id": ROOT, "in_reply_to": f"at://{OTHER}/app.bsky.feed.post/b"},
        ),
        (
            {"embed": {"$type": "app.bsky.embed.record", "record": ref(ROOT)}},
            "quote",
            {"quotes": ROOT},
        ),
        (
            {
                "embed": {
                    "$type": "app.bsky.embed.recordWithMedia",
                    "record": {"record": ref(ROOT)},
                    "media": {"images": [{"alt": "a", "image": {"ref": {"$link": "bafkabc"}}}]},
                }
            },
            "quote",
            {"quotes": ROOT},
        ),
    ],
)
def test_a_post_names_what_it_answers_and_quotes(told, more, kind, names):
    (found,) = events(told("bluesky", frame("create", "app.bsky.feed.post", post(**more))))
    assert found["kind"] == kind
    fields = ("conversation_id", "in_reply_to", "quotes")
    assert {name: found[name] for name in fields if name in found} == {
        name: f"bluesky:network:{uri}" for name, uri in names.items()
    }
    assert found["author"]["id"] == DID


@pytest.mark.parametrize(
    ("embed", "kind", "url"),
    [
        (
            {"images": [{"alt": "", "image": {"ref": {"$link": "bafkabc"}}}]},
            "image",
            "cdn.bsky.app",
        ),
        ({"video": {"ref": {"$link": "bafkabc"}}, "alt": "v"}, "video", "getBlob"),
        ({"images": [{"alt": "", "image": {"cid": "bafkabc"}}]}, "image", "cdn.bsky.app"),
    ],
)
def test_media_have_an_address_to_fetch(told, embed, kind, url):
    (found,) = events(told("bluesky", frame("create", "app.bsky.feed.post", post(embed=embed))))
    (medium,) = found["media"]
    assert (medium["kind"], medium["id"], medium["status"]) == (kind, "bafkabc", "remote")
    assert url in medium["url"]


def test_edits_and_deletions_are_of_the_time_in_the_rev_whatever_the_receipt(told):
    given = [
        frame("create", "app.bsky.feed.post", post()),
        frame("update", "app.bsky.feed.post", post(text="Netz")),
        frame("delete", "app.bsky.feed.post", rev="3l3qo2vutsw2c"),
    ]
    made, edited, gone = (events(told("bluesky", each))[0] for each in given)
    assert made["object_id"] == edited["object_id"] == gone["object_id"]
    assert made["revision"] < edited["revision"] <= gone["revision"]
    late = given[1] | {"time_us": 1825911162329308}
    assert events(told("bluesky", late)) == [edited]


def test_a_like_is_a_reaction_and_a_repost_names_what_it_shows(told):
    subject = {"subject": ref(ROOT), "createdAt": SAID}
    (like,) = events(told("bluesky", frame("create", "app.bsky.feed.like", subject)))
    (shown,) = events(told("bluesky", frame("create", "app.bsky.feed.repost", subject)))
    assert like["object_id"] == f"bluesky:network:{ROOT}/reaction/{DID}/like"
    assert (like["in_reply_to"], shown["reposts"]) == (f"bluesky:network:{ROOT}",) * 2


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "identity", "identity": {"did": DID, "handle": "a.example", "time": SAID}},
        {"kind": "account", "account": {"did": DID, "active": False, "seq": BEYOND, "time": SAID}},
        {
            "kind": "commit",
            "commit": {
                "rev": REV,
                "operation": "create",
                "collection": "app.bsky.graph.follow",
                "rkey": "a",
                "record": {"subject": OTHER},
            },
        },
    ],
)
def test_news_of_accounts_and_other_records_are_of_kind_unknown(told, given):
    (found,) = events(told("bluesky", {"did": DID, "time_us": 1725911162329308} | given))
    assert (found["kind"], found["author"]["id"]) == ("unknown", DID)


@pytest.mark.parametrize(
    "record", [post(text=5), post(createdAt="2026-07-04 14:38"), post(reply=5), {"text": "x"}, None]
)
def test_a_broken_record_is_a_dead_letter_with_its_place(told, record):
    (found,) = told("bluesky", frame("create", "app.bsky.feed.post", record))
    assert found["fate"] == "dead_lettered"
    assert found["reason"] in {"wrong_type", "invalid_field", "missing_field"}
    assert found["path"].startswith("record")
