"""X's published forms beside those of the recordings: each gives its object, whole and rightly placed.

A form's name says the page that describes it (docs.x.com; "data dictionary" is
`x-api/fundamentals/data-dictionary`). Accounts, ids and texts are made up.
"""

import copy
import json
import random
from typing import Any

import pytest

from klingel_networks.contract import Delivery
from klingel_networks.mapped import map_delivery
from klingel_networks.x import NETWORK

BRAND, CUSTOMER, OTHER = "1111111111111111111", "2222222222222222222", "3333333333333333333"
ROOT, POST, LATER = "2080765813578190001", "2080765813578191303", "2080765913578191304"
OBJECT = "x:network:"
LONG = "Kein Netz. " * 2727 + "Ende"


def post(post_id: str = POST, **more: Any) -> dict[str, Any]:
    """Return a post of the data dictionary, changed by `more`."""
    return {"id": post_id, "text": "kein Netz", "author_id": CUSTOMER} | more


def line(data: Any, **more: Any) -> dict[str, Any]:
    """Return a line of a stream, or an answer."""
    return {"data": data} | more


def event(name: str, payload: Any, **more: Any) -> dict[str, Any]:
    """Return an activity event."""
    told = {"event_uuid": "9", "event_type": name, "filter": {"user_id": BRAND}, "payload": payload}
    return line(told | more)


def referring(*kinds: str, **more: Any) -> dict[str, Any]:
    """Return a post that refers to the root."""
    return post(referenced_tweets=[{"type": kind, "id": ROOT} for kind in kinds], **more)


def told(**wanted: Any) -> list[dict[str, Any]]:
    """Return what one delivered event must say."""
    return [wanted]


POSTED = {"object_id": OBJECT + POST, "kind": "post", "text": "kein Netz"}
SAID: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "data dictionary, note_tweet of 30,000 characters": (
        line(post(note_tweet={"text": LONG, "entities": {"hashtags": [{"tag": "Netz"}]}})),
        told(text=LONG, hashtags=["netz"]),
    ),
    "data dictionary, note_tweet without entities": (
        line(post(text="Anf…", note_tweet={"text": "Anfang #a"}, entities={"hashtags": []})),
        told(text="Anfang #a"),
    ),
    "data dictionary, attachments.poll_ids and includes.polls": (
        line(
            post(attachments={"poll_ids": ["1199786642468413448"]}),
            includes={"polls": [{"id": "1199786642468413448", "options": [{"position": 1}]}]},
        ),
        told(**POSTED),
    ),
    "data dictionary, card_uri": (line(post(card_uri="card://1")), told(**POSTED)),
    "data dictionary, media with its expansion": (
        line(
            post(attachments={"media_keys": ["3_1", "16_2"]}),
            includes={
                "media": [
                    {"media_key": "3_1", "type": "photo", "url": "https://pbs.twimg.com/a.jpg"},
                    {
                        "media_key": "16_2",
                        "type": "animated_gif",
                        "preview_image_url": "https://p/b",
                    },
                ]
            },
        ),
        told(
            media=[
                {"kind": "image", "id": "3_1", "url": "https://pbs.twimg.com/a.jpg"},
                {"kind": "video", "id": "16_2", "url": "https://p/b"},
            ]
        ),
    ),
    "data dictionary, media without its expansion": (
        line(post(attachments={"media_keys": ["7_9"], "media_source_tweet_id": [ROOT]})),
        told(media=[{"kind": "video", "id": "7_9"}]),
    ),
    "x-api/fundamentals/expansions, partial errors beside data": (
        line(
            [referring("replied_to"), post(LATER)],
            errors=[
                {
                    "resource_id": ROOT,
                    "resource_type": "tweet",
                    "parameter": "referenced_tweets.id",
                    "type": "https://api.x.com/2/problems/resource-not-found",
                }
            ],
        ),
        [{"kind": "reply", "in_reply_to": OBJECT + ROOT}, {"object_id": OBJECT + LATER}],
    ),
    "x-api/posts/filtered-stream, matching_rules with integers": (
        line(post(), matching_rules=[{"id": 1166895166390583299, "tag": "klingel/name"}]),
        told(**POSTED),
    ),
    "x-api/posts/filtered-stream/webhooks, a post beside its rules": (
        {"data": post(), "includes": {"users": []}, "matching_rules": []},
        told(**POSTED),
    ),
    "data dictionary, a post of several authors (coauthors_tweet)": (
        line(post(text="CoTweet: da", author_id=CUSTOMER, coauthor_ids=[OTHER])),
        told(text="CoTweet: da", author={"id": CUSTOMER}),
    ),
    "data dictionary, community_id": (
        line(post(community_id="1146654567674912769")),
        told(**POSTED),
    ),
    "data dictionary, geo and includes.places": (
        line(
            post(geo={"place_id": "01a9a39529b27f36", "coordinates": {"type": "Point"}}),
            includes={"places": [{"id": "01a9a39529b27f36", "geo": {"bbox": [-74.0, 40.6]}}]},
        ),
        told(**POSTED),
    ),
    "data dictionary, reply_settings, edit_controls, context_annotations, article, scopes": (
        line(
            post(
                reply_settings="mentionedUsers",
                edit_controls={"edits_remaining": 4, "is_edit_eligible": True},
                context_annotations=[{"domain": {"id": "45"}, "entity": {"id": "1"}}],
                scopes={"followers": False},
                article={"title": "Netz"},
                suggested_source_links=[],
                entities={"cashtags": [{"tag": "NORD"}], "annotations": [{"probability": 0.9}]},
            )
        ),
        told(**POSTED),
    ),
    "data dictionary, fields that are null": (
        line(
            post(
                conversation_id=None,
                referenced_tweets=None,
                attachments=None,
                entities=None,
                public_metrics=None,
                note_tweet=None,
                withheld=None,
                in_reply_to_user_id=None,
            ),
            includes=None,
        ),
        told(**POSTED),
    ),
    "data dictionary, the least fields: id and text": (
        line([{"id": POST, "text": "kein Netz"}], meta={"result_count": 1}),
        told(**POSTED),
    ),
    "x-api/posts/lookup, one post by id": (
        line(post(), includes={"users": [{"id": CUSTOMER, "username": "erika"}]}),
        told(author={"id": CUSTOMER, "handle": "erika"}),
    ),
    "x-api/posts/search, nothing found": ({"meta": {"result_count": 0}}, []),
    "x-api/fundamentals/conversation-id, a reply deep in a thread": (
        line(
            referring(
                "replied_to", conversation_id="2080765813578180000", in_reply_to_user_id=BRAND
            )
        ),
        told(
            kind="reply",
            conversation_id=OBJECT + "2080765813578180000",
            in_reply_to=OBJECT + ROOT,
            in_reply_to_author=BRAND,
        ),
    ),
    "data dictionary, a reply that quotes": (
        line(
            post(
                referenced_tweets=[
                    {"type": "quoted", "id": LATER},
                    {"type": "replied_to", "id": ROOT},
                ]
            )
        ),
        told(kind="reply", in_reply_to=OBJECT + ROOT, quotes=OBJECT + LATER),
    ),
    "data dictionary, a repost of a post that is gone": (
        line(
            referring("retweeted", text="RT @nordlicht: weg"),
            errors=[{"resource_id": ROOT, "parameter": "referenced_tweets.id"}],
        ),
        told(kind="repost", reposts=OBJECT + ROOT, text="RT @nordlicht: weg"),
    ),
    "data dictionary, a quote of an edited post": (
        line(
            post(referenced_tweets=[{"type": "quoted", "id": LATER}]),
            includes={
                "tweets": [
                    {"id": LATER, "author_id": BRAND, "edit_history_tweet_ids": [ROOT, LATER]}
                ]
            },
        ),
        told(kind="quote", quotes=OBJECT + ROOT, quoted_author=BRAND),
    ),
    "data dictionary, a reference of a kind that is new": (
        line(referring("remixed")),
        told(kind="post", text="kein Netz"),
    ),
    "data dictionary, withheld in other countries": (
        line(post(withheld={"copyright": False, "country_codes": ["TR", "IN"]})),
        told(text="kein Netz", metrics={"withheld_countries": 2}),
    ),
    "data dictionary, withheld here": (
        line(
            post(
                withheld={"scope": "tweet", "country_codes": ["DE"]},
                entities={"hashtags": [{"tag": "a"}], "mentions": [{"id": BRAND, "username": "n"}]},
            )
        ),
        told(withheld=True, text=None, hashtags=None, mentions=None),
    ),
    "data dictionary, withheld by its author's country": (
        line(post(withheld={"scope": "user", "country_codes": ["DE", "FR"]})),
        told(withheld=True, text=None),
    ),
    "v1.1, withheld for copyright": (
        {
            "statuses": [
                {
                    "id": int(POST),
                    "id_str": POST,
                    "text": "@nordlicht's account is withheld",
                    "withheld_copyright": True,
                    "withheld_in_countries": ["XX"],
                    "user": {"id_str": CUSTOMER},
                }
            ]
        },
        told(withheld=True, text=None),
    ),
    "data dictionary, a protected author": (
        line(post(), includes={"users": [{"id": CUSTOMER, "username": "e", "protected": True}]}),
        told(visibility="followers"),
    ),
    "x-api/direct-messages/lookup, a message with an attachment": (
        line(
            [
                {
                    "id": "1346889436626259968",
                    "event_type": "MessageCreate",
                    "text": "schau https://t.co/a",
                    "sender_id": CUSTOMER,
                    "dm_conversation_id": f"{CUSTOMER}-{BRAND}",
                    "created_at": "2026-01-06T18:40:40.000Z",
                    "attachments": {"media_keys": ["3_1"], "card_ids": ["8"]},
                    "referenced_tweets": [{"id": ROOT}],
                    "entities": {"urls": [{"url": "https://t.co/a"}]},
                }
            ],
            includes={"users": [{"id": CUSTOMER, "username": "erika"}]},
        ),
        told(
            object_id=OBJECT + "dm/1346889436626259968",
            kind="direct_message",
            conversation_id=f"{OBJECT}dm/{BRAND}-{CUSTOMER}",
            target=BRAND,
            author={"id": CUSTOMER, "handle": "erika"},
        ),
    ),
    "x-api/direct-messages/lookup, of a group": (
        line(
            {
                "id": "7",
                "event_type": "MessageCreate",
                "text": "da",
                "sender_id": CUSTOMER,
                "dm_conversation_id": "1582103724607971332",
                "participant_ids": [CUSTOMER, OTHER],
            }
        ),
        told(kind="direct_message", conversation_id=OBJECT + "dm/1582103724607971332", target=None),
    ),
    "x-api/direct-messages/lookup, ParticipantsJoin and ParticipantsLeave": (
        line(
            [
                {
                    "id": "8",
                    "event_type": "ParticipantsJoin",
                    "participant_ids": [CUSTOMER],
                    "dm_conversation_id": "1582103724607971332",
                },
                {"id": "9", "event_type": "ParticipantsLeave", "participant_ids": [CUSTOMER]},
            ]
        ),
        [{"kind": "unknown", "object_id": OBJECT + "dm/8"}, {"kind": "unknown"}],
    ),
    "x-api/activity/event-payloads, chat.received of a group": (
        event(
            "chat.received",
            {
                "id": "e4f4d3fc-8bbf-4928-92eb-e5058d6bb6f6",
                "created_at_msec": 1784841183370,
                "sender_id": CUSTOMER,
                "conversation_id": "g1582103724607971332",
                "encoded_event": "CwAB",
            },
        ),
        told(kind="direct_message", text=None, author={"id": CUSTOMER}),
    ),
    "x-api/activity/event-payloads, chat.sent": (
        event(
            "chat.sent",
            {"id": "e4f4", "sender_id": BRAND, "conversation_id": f"{BRAND}:{CUSTOMER}"},
        ),
        told(kind="direct_message", direction="outbound", target=CUSTOMER),
    ),
    "x-api/activity/event-payloads, chat.conversation_join": (
        event("chat.conversation_join", {"conversation_id": "g1", "sender_id": CUSTOMER}),
        told(kind="unknown", object_id=OBJECT + "event/9"),
    ),
    "x-api/activity/event-payloads, post.quote.create with its includes": (
        event(
            "post.quote.create",
            referring("quoted"),
            includes={
                "tweets": [{"id": ROOT, "author_id": BRAND}],
                "users": [{"id": CUSTOMER, "username": "erika", "is_identity_verified": True}],
            },
        ),
        told(
            kind="quote",
            quotes=OBJECT + ROOT,
            quoted_author=BRAND,
            author={"id": CUSTOMER, "handle": "erika"},
        ),
    ),
    "x-api/activity/event-payloads, post.repost.create": (
        event("post.repost.create", referring("retweeted", text="RT @nordlicht: da")),
        told(kind="repost", reposts=OBJECT + ROOT),
    ),
    "x-api/activity/event-payloads, includes beside the event": (
        event("post.create", post()) | {"includes": {"users": [{"id": CUSTOMER, "username": "e"}]}},
        told(author={"id": CUSTOMER, "handle": "e"}),
    ),
    "x-api/activity/event-payloads, follow.follow": (
        event(
            "follow.follow",
            {"source": {"data": {"id": CUSTOMER}}, "target": {"data": {"id": BRAND}}},
        ),
        told(kind="unknown", target=BRAND),
    ),
    "x-api/activity/event-payloads, news.new by keyword": (
        event("news.new", {"id": ROOT, "name": "Netz", "summary": "…"}, filter={"keyword": "Netz"}),
        told(kind="unknown", object_id=OBJECT + "event/9"),
    ),
    "x-api/activity/event-payloads, an event without an id of its own": (
        line({"event_type": "profile.update.bio", "payload": {"before": "a", "after": "b"}}),
        told(kind="unknown"),
    ),
    "x-api/activity/activity-stream, several events, one a line": (
        [event("post.create", post()), event("post.delete", {"id": POST})],
        [{"change": "created"}, {"change": "deleted", "author": {"id": BRAND}}],
    ),
    "x-api/compliance/batch-compliance, results of posts, one a line": (
        [
            {
                "id": POST,
                "action": "delete",
                "created_at": "2026-01-10T12:00:00Z",
                "reason": "protected",
            },
            {"id": ROOT, "action": "delete", "reason": "bounce"},
        ],
        [{"change": "deleted"}, {"change": "deleted"}],
    ),
    "x-api/users/lookup, accounts beside errors": (
        line([{"id": CUSTOMER, "username": "erika", "name": "E"}], errors=[{"title": "Not Found"}]),
        told(kind="unknown", object_id=f"{OBJECT}user/{CUSTOMER}"),
    ),
    "v1.1, a status alone (tweet_mode=extended)": (
        {
            "id": int(POST),
            "id_str": POST,
            "full_text": "kein Netz",
            "user": {"id": int(CUSTOMER), "screen_name": "erika"},
            "is_quote_status": False,
            "place": {"id": "1"},
            "coordinates": None,
        },
        told(**POSTED, author={"id": CUSTOMER, "handle": "erika"}),
    ),
}


def body_of(tree: Any) -> bytes:
    """Return a delivery; of a list one object a line, as streams and results come."""
    trees = tree if isinstance(tree, list) else [tree]
    return b"\n".join(json.dumps(each, ensure_ascii=False).encode() for each in trees)


def subset(wanted: Any, found: Any) -> bool:
    """Return whether what is wanted is found; None is wanted where nothing may be."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(subset(value, found.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return all(map(subset, wanted, found))
    return bool(wanted == found)


@pytest.mark.parametrize("form", SAID)
def test_a_published_form_says_what_it_says(form: str) -> None:
    """N in, n out: each an event with author, kind, conversation, references and text."""
    tree, wanted = SAID[form]
    found = map_delivery(NETWORK, body_of(tree), {})
    assert [each["fate"] for each in found] == ["delivered"] * len(wanted), found
    for want, each in zip(wanted, found, strict=True):
        assert subset(want, each["event"]), each["event"]


REFUSED: dict[str, Any] = {
    "x-api/fundamentals/response-codes-and-errors, a problem instead of data": {
        "title": "Unauthorized",
        "errors": [{"message": "no"}],
    },
    "x-api/posts/filtered-stream, operational disconnect": {
        "errors": [
            {"title": "operational-disconnect", "disconnect_type": "UpstreamOperationalDisconnect"}
        ]
    },
    "a post above the bound of one text": line(post(note_tweet={"text": "x" * 100_001})),
    "a post whose chain has no id": line(post(edit_history_tweet_ids=["abc"])),
    "a time that is none": line(post(created_at="gestern")),
    "a message whose id is none": line({"id": "x", "event_type": "MessageCreate", "text": "da"}),
    "a message whose id is beyond all ids": line(
        {"id": 10**40, "sender_id": CUSTOMER, "event_type": "MessageCreate"}
    ),
    "a deletion without an id": event("post.delete", {"author_id": CUSTOMER}),
    "a compliance event without its subject": line(
        {"delete": {"event_at": "2022-12-23T12:34:56Z"}}
    ),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_an_event_is_a_dead_letter_with_its_reason(form: str) -> None:
    (found,) = map_delivery(NETWORK, body_of(REFUSED[form]), {})
    assert found["fate"] == "dead_lettered"
    assert found["reason"]
    assert found["sentence"]


@pytest.mark.parametrize("edits", range(1, 6))
@pytest.mark.parametrize("seed", range(4))
def test_a_chain_of_edits_in_any_order_is_one_thing_that_ends_with_its_last(
    edits: int, seed: int
) -> None:
    """`x-api/fundamentals/edit-posts`: up to five edits; each is told by stream, webhook and lookup."""
    ids = [str(int(POST) + 1_000_000_000 * at) for at in range(edits + 1)]
    versions = [
        post(
            ids[at],
            text=f"Fassung {at}",
            edit_history_tweet_ids=ids[: at + 1],
            conversation_id=POST,
        )
        for at in range(edits + 1)
    ]
    chance = random.Random(seed)
    chance.shuffle(versions)
    newest: dict[str, tuple[int, str]] = {}
    for version in versions:
        forms = [line(version), line([version]), event("post.create", version)]
        told_by = [map_delivery(NETWORK, body_of(form), {})[0]["event"] for form in forms]
        assert len({(each["event_id"], each["text"]) for each in told_by}) == 1
        one = told_by[0]
        assert one["change"] == ("created" if version["id"] == POST else "updated")
        assert (one["threading"], one.get("conversation_id")) == ("root", None)
        newest[one["object_id"]] = max(
            newest.get(one["object_id"], (-1, "")), (one["revision"], one["text"])
        )
    assert list(newest) == [OBJECT + POST], f"seed {seed}"
    assert newest[OBJECT + POST][1] == f"Fassung {edits}"
    gone = map_delivery(NETWORK, body_of(event("post.delete", {"id": POST})), {})[0]["event"]
    assert gone["revision"] > newest[OBJECT + POST][0]


def test_a_chain_that_came_in_another_order_is_the_same_chain() -> None:
    """Also where it stands beside a post that quotes its last version."""
    reversed_ = post(LATER, edit_history_tweet_ids=[LATER, POST])
    (found,) = map_delivery(NETWORK, body_of(line(reversed_)), {})
    assert found["event"]["object_id"] == OBJECT + POST
    assert found["event"]["change"] == "updated"
    quoting = post(ROOT, referenced_tweets=[{"type": "quoted", "id": LATER}])
    (found,) = map_delivery(NETWORK, body_of(line(quoting, includes={"tweets": [reversed_]})), {})
    assert found["event"]["quotes"] == OBJECT + POST


def test_an_array_of_deliveries_is_cut_like_each_of_them() -> None:
    """As recordings are kept: lines, pages, older webhooks and what is none, in one array."""
    status = {"id_str": POST, "text": "da", "user": {"id_str": CUSTOMER}}
    deliveries = [
        line(post()),
        line([post(LATER), post(ROOT)], includes={"users": [{"id": CUSTOMER, "username": "e"}]}),
        {"for_user_id": BRAND, "tweet_create_events": [status, status]},
        event("post.delete", {"id": POST}),
        status,
        line("x"),
        7,
        [post()],
    ]
    found = map_delivery(NETWORK, json.dumps(deliveries).encode(), {})
    assert [each["fate"] for each in found] == ["delivered"] * 7 + ["dead_lettered"] * 3
    assert [each["event"]["kind"] for each in found[:7]] == ["post"] * 7
    assert [each["event"]["author"].get("handle") for each in found[1:3]] == ["e", "e"]


def test_a_deletion_of_a_chain_is_of_the_chain_where_it_is_told() -> None:
    """Else it names one id, and X tells one for each of a chain."""
    payload = {"id": LATER, "edit_history_tweet_ids": [POST, LATER]}
    body = body_of(event("post.delete", payload))
    (piece,) = NETWORK.explode(Delivery(body))
    assert NETWORK.identify(piece.native, piece.context).object_id == OBJECT + POST


BROKEN: list[Any] = [
    None,
    0,
    -1,
    2**63,
    2**70,
    10**40,
    1.5,
    True,
    "",
    "x",
    "\x00",
    "\ud800",
    "9" * 25,
]
BROKEN += [[], {}, [[]], [None], "2022-13-01T00:00:00Z"]


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Return where something stands in a tree: what holds it, and its name there."""
    names = (
        list(tree) if isinstance(tree, dict) else range(len(tree) if isinstance(tree, list) else 0)
    )
    return [found for name in names for found in [(tree, name), *places(tree[name])]]


@pytest.mark.parametrize("seed", range(5))
def test_a_form_with_broken_parts_is_an_event_or_a_dead_letter(seed: int) -> None:
    """One to three parts of a form are gone or nonsense: a reason, never another error."""
    chance = random.Random(seed)
    forms = [tree for tree, _ in SAID.values()]
    for _ in range(400):
        tree = copy.deepcopy(chance.choice(forms))
        for _ in range(chance.randint(1, 3)):
            holder, name = chance.choice(places(tree) or [([None], 0)])
            if chance.random() < 0.2:
                del holder[name]
            else:
                holder[name] = copy.deepcopy(chance.choice(BROKEN))
        for each in map_delivery(NETWORK, json.dumps(tree).encode(), {}):
            assert each["fate"] == "delivered" or each["sentence"], f"seed {seed}"
