"""X: every recorded payload, and the published forms of what is not among the recordings."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from klingel.domain.identity import DELETED_WITHOUT_REVISION, content_hash
from klingel.errors import ErrorType
from klingel_networks.contract import Delivery, NativeObject, Refused
from klingel_networks.mapped import map_delivery, raw_event
from klingel_networks.x import NETWORK

ARCHIVES = (
    "x_v2_twarc_csv",
    "x_v2_python_twitter",
    "x_v2_twittered",
    "x_tweepy_cassette_bodies",
)
BRAND, CUSTOMER = "1111111111111111111", "2222222222222222222"
FIRST, SECOND, THIRD = "1567233844205453313", "1567233994734948354", "1567234094734948354"


def packed(tree: Any) -> bytes:
    """Return a tree as JSON."""
    return json.dumps(tree, ensure_ascii=False).encode()


def mapped_all(body: bytes, context: dict[str, str] | None = None):
    """Return identity and draft of every object of a delivery; all must map."""
    found = []
    for piece in NETWORK.explode(Delivery(body, context or {})):
        assert isinstance(piece, NativeObject), piece
        identity = NETWORK.identify(piece.native, piece.context)
        draft = NETWORK.to_social_event(raw_event("x", piece, identity))
        assert (identity.kind, identity.change) == (draft.kind, draft.change)
        found.append((identity, draft))
    return found


def mapped(tree: Any, context: dict[str, str] | None = None):
    """Return identity and draft of a delivery of one object."""
    (one,) = mapped_all(packed(tree), context)
    return one


def deliveries(name: str, content: bytes) -> list[bytes]:
    """Return the deliveries of a file: one a line where its name says so."""
    return [line for line in content.splitlines() if line] if name.endswith(".jsonl") else [content]


def counted(body: bytes) -> tuple[int, int]:
    """Count the objects of a delivery and those that are none, in another way than the mapping."""
    try:
        trees = [json.loads(body)]
    except ValueError:
        lines = [line for line in body.decode("utf-8", "replace").split("\n") if line.strip()]
        trees = []
        for line in lines:
            try:
                trees.append(json.loads(line))
            except ValueError:
                trees.append(None)
        trees = trees or [None]
    objects = broken = 0
    for tree in trees:
        if isinstance(tree, list):
            objects += len(tree)
        elif tree is None or (set(tree) & {"errors"} and "data" not in tree):
            broken += 1
        else:
            inner = next((tree[key] for key in ("data", "statuses", "events") if key in tree), tree)
            objects += len(inner) if isinstance(inner, list) else 1
    return objects, broken


@pytest.mark.parametrize("archive", ARCHIVES)
def test_every_object_of_every_recording_is_an_event_or_a_dead_letter(payloads, archive):
    """N in, n out, against a count of the test's own; no crash, every refusal with its reason."""
    files = payloads(archive)
    assert files
    for name, content in files.items():
        for body in deliveries(name, content):
            told = map_delivery(NETWORK, body, {})
            fates = Counter(each["fate"] for each in told)
            assert (fates["delivered"], fates["dead_lettered"]) == counted(body), name
            assert all(each["sentence"] for each in told if each["fate"] == "dead_lettered")


def test_recorded_objects_are_of_the_kinds_that_their_references_name(payloads):
    """Counts of kinds, from `referenced_tweets` of the recordings themselves."""
    wanted: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for name, content in payloads("x_v2_twarc_csv").items():
        for body in deliveries(name, content):
            try:
                tree = json.loads(body)
            except ValueError:
                continue
            data = tree["data"] if isinstance(tree["data"], list) else [tree["data"]]
            for each in data:
                types = {reference["type"] for reference in each.get("referenced_tweets", [])}
                order = ("retweeted", "replied_to", "quoted")
                names = ("repost", "reply", "quote")
                kind = next((n for t, n in zip(order, names, strict=True) if t in types), "post")
                wanted[kind if "text" in each else "unknown"] += 1
            told += Counter(draft.kind for _, draft in mapped_all(body))
    assert told == wanted
    assert told["repost"] > 100


def test_recorded_posts_say_what_stands_in_the_file(payloads):
    """Text, author, references, metrics of every post of the v2 recordings, read another way."""
    seen = 0
    for name, content in payloads("x_v2_twarc_csv").items():
        if name.endswith(("lists.jsonl", "users.jsonl")):
            continue
        for body in deliveries(name, content):
            try:
                tree = json.loads(body)
            except ValueError:
                continue
            data = tree["data"] if isinstance(tree["data"], list) else [tree["data"]]
            users = {user["id"]: user for user in tree["includes"]["users"]}
            for native, (identity, draft) in zip(data, mapped_all(body), strict=True):
                seen += 1
                user = users[native["author_id"]]
                assert identity.object_id == f"x:network:{native['id']}"
                assert identity.revision == 0
                assert draft.text == native["text"]
                assert (draft.author.id, draft.author.handle) == (user["id"], user["username"])
                assert draft.author.followers == user["public_metrics"]["followers_count"]
                assert draft.metrics["retweets"] == native["public_metrics"]["retweet_count"]
                assert draft.published_at == datetime.fromisoformat(native["created_at"])
                refers = {each["type"]: each["id"] for each in native.get("referenced_tweets", [])}
                for type_, target in (
                    ("retweeted", draft.reposts),
                    ("replied_to", draft.in_reply_to),
                    ("quoted", draft.quotes),
                ):
                    assert target == (f"x:network:{refers[type_]}" if type_ in refers else None)
                if native["conversation_id"] == native["id"]:
                    assert (draft.threading, draft.conversation_id) == ("root", None)
                else:
                    thread = f"x:network:{native['conversation_id']}"
                    assert (draft.threading, draft.conversation_id) == ("network", thread)
    assert seen == 310


def test_a_broken_line_of_a_stream_is_refused_and_the_others_pass(payloads):
    """A file of stream lines, the last one cut in the middle: whole, as one body, too."""
    (content,) = (
        content
        for name, content in payloads("x_v2_twarc_csv").items()
        if name.endswith("streaming_output_with_error.jsonl")
    )
    pieces = NETWORK.explode(Delivery(content))
    assert [type(piece) for piece in pieces] == [NativeObject] * 7 + [Refused]
    assert pieces[-1].error.error_type is ErrorType.MALFORMED_JSON
    assert all(piece.native in content for piece in pieces)


def test_a_page_and_a_line_give_the_same_post():
    """Includes beside one object, or picked from a page's, or the whole in a webhook: one draft."""
    tweet = {
        "id": SECOND,
        "text": "schau",
        "author_id": CUSTOMER,
        "conversation_id": FIRST,
        "referenced_tweets": [{"type": "replied_to", "id": SECOND[:-1] + "0"}],
        "attachments": {"media_keys": ["3_1", "13_2"]},
        "created_at": "2022-09-06T19:31:16.000Z",
    }
    includes = {
        "users": [{"id": CUSTOMER, "username": "erika", "name": "Erika", "verified": True}],
        "tweets": [
            {"id": SECOND[:-1] + "0", "author_id": BRAND, "edit_history_tweet_ids": [FIRST]},
            {"id": "5", "author_id": BRAND},
        ],
        "media": [
            {"media_key": "3_1", "type": "photo", "url": "https://pbs.twimg.com/a.jpg"},
            {
                "media_key": "13_2",
                "type": "video",
                "alt_text": "Router",
                "variants": [
                    {"content_type": "application/x-mpegURL", "url": "https://v/x.m3u8"},
                    {"bit_rate": 256000, "url": "https://v/low.mp4"},
                    {"bit_rate": 832000, "url": "https://v/high.mp4"},
                ],
            },
        ],
    }
    line = mapped({"data": tweet, "includes": includes})
    (page,) = mapped_all(packed({"data": [tweet], "includes": includes, "meta": {}}))
    webhook = mapped(
        {
            "data": {
                "event_uuid": "1",
                "event_type": "post.reply.create",
                "filter": {"user_id": BRAND},
                "payload": tweet,
                "includes": includes,
            }
        }
    )
    assert line == page == webhook
    _, draft = line
    assert draft.in_reply_to == f"x:network:{FIRST}", "a reply to a later version joins the chain"
    assert (draft.author.handle, draft.author.verified) == ("erika", True)
    assert [(each.kind, each.id, each.url, each.alt) for each in draft.media] == [
        ("image", "3_1", "https://pbs.twimg.com/a.jpg", None),
        ("video", "13_2", "https://v/high.mp4", "Router"),
    ]


def test_an_edit_is_the_same_thing_at_the_time_of_its_id():
    """`x-api/fundamentals/edit-posts`: three versions, from any of them the same chain."""
    history = [FIRST, SECOND, THIRD]
    versions = [
        mapped({"data": {"id": each, "text": str(at), "edit_history_tweet_ids": history[: at + 1]}})
        for at, each in enumerate(history)
    ]
    assert {identity.object_id for identity, _ in versions} == {f"x:network:{FIRST}"}
    revisions = [identity.revision for identity, _ in versions]
    assert revisions == sorted(set(revisions))
    assert [identity.change for identity, _ in versions] == ["created", "updated", "updated"]
    # Read again after two edits, the first version still is the first.
    again, _ = mapped({"data": {"id": FIRST, "text": "0", "edit_history_tweet_ids": history}})
    assert again == versions[0][0]
    # X's own example gives this edit's time: 2022-09-06T19:31:16.801Z.
    assert abs(revisions[1] - 1662492676801) < 1000
    identity, draft = versions[1]
    assert draft.published_at == datetime.fromtimestamp(
        ((int(FIRST) >> 22) + 1288834974657) // 1000, UTC
    ).replace(microsecond=((int(FIRST) >> 22) + 1288834974657) % 1000 * 1000)
    assert int(draft.changed_at.timestamp() * 1000) == identity.revision


def test_the_news_of_an_edit_has_the_identity_of_the_edit():
    """Source: `Compliance Data Objects`, tweet_edit."""
    news, draft = mapped(
        {
            "data": {
                "tweet_edit": {
                    "tweet": {"id": SECOND},
                    "initial_tweet_id": FIRST,
                    "edit_tweet_ids": [FIRST, SECOND],
                    "event_at": "2022-09-06T19:31:16.801Z",
                }
            }
        }
    )
    edit, _ = mapped(
        {"data": {"id": SECOND, "text": "neu", "edit_history_tweet_ids": [FIRST, SECOND]}}
    )
    assert news == edit
    assert draft.text is None


DELETIONS = {
    "activity webhook (x-api/activity/event-payloads, post.delete)": {
        "data": {
            "event_uuid": "-2781149976877970683",
            "filter": {"user_id": BRAND},
            "event_type": "post.delete",
            "tag": "post-deletes",
            "payload": {"id": FIRST, "author_id": BRAND},
            "includes": {"users": [{"data": {"id": BRAND, "username": "nordlicht"}}]},
        }
    },
    "compliance stream (Compliance Data Objects, delete)": {
        "data": {
            "delete": {
                "tweet": {"id": FIRST, "author_id": BRAND},
                "event_at": "2022-12-23T12:34:56.789Z",
            }
        }
    },
    "compliance stream, a quoted post": {
        "data": {
            "delete": {
                "tweet": {"id": FIRST, "author_id": BRAND},
                "quote_tweet_id": SECOND,
                "event_at": "2022-12-23T12:34:56.789Z",
            }
        }
    },
    "compliance stream (drop)": {
        "data": {
            "drop": {
                "tweet": {"id": FIRST, "author_id": BRAND},
                "event_at": "2022-12-23T12:34:56.789Z",
            }
        }
    },
    "compliance stream (withheld everywhere)": {
        "data": {
            "withheld": {
                "tweet": {"id": FIRST, "author_id": BRAND},
                "withheld_in_countries": ["XY"],
                "event_at": "2022-12-23T12:34:56.789Z",
            }
        }
    },
    "compliance job (x-api/compliance/batch-compliance/quickstart)": {
        "id": FIRST,
        "action": "delete",
        "created_at": "2024-01-10T12:00:00.000Z",
        "redacted_at": "2024-01-12T08:30:00.000Z",
        "reason": "suspended",
    },
    "compliance job, before times were kept (…/integrate)": {
        "id": FIRST,
        "action": "delete",
        "redacted_at": None,
        "reason": "deleted",
    },
}


@pytest.mark.parametrize("form", DELETIONS)
def test_a_deletion_is_the_same_on_every_path(form):
    """It is final: one identity, above every edit."""
    identity, draft = mapped(DELETIONS[form])
    assert identity == (f"x:network:{FIRST}", DELETED_WITHOUT_REVISION, "post", "deleted")
    assert draft.text is None


@pytest.mark.parametrize("event_type", ["spaces.delete", "list.delete", "undelete", "user.delete"])
def test_the_end_of_something_else_deletes_no_post(event_type):
    event = {"event_uuid": "7", "event_type": event_type, "payload": {"id": FIRST}}
    identity, _ = mapped({"data": event})
    assert (identity.kind, identity.change) != ("post", "deleted")
    assert identity.object_id != f"x:network:{FIRST}"


def test_what_a_compliance_job_does_not_delete_stays():
    """`rehydrate`, `scrub_geo`, and results about accounts."""
    for line, context, object_id in (
        ({"id": FIRST, "action": "rehydrate"}, {}, f"x:network:{FIRST}/compliance"),
        ({"id": FIRST, "action": "scrub_geo"}, {}, f"x:network:{FIRST}/compliance"),
        (
            {"id": FIRST, "action": "delete", "reason": "scrub_geo"},
            {},
            f"x:network:{FIRST}/compliance",
        ),
        (
            {"id": CUSTOMER, "action": "delete", "reason": "suspended"},
            {"job": "users"},
            f"x:network:user/{CUSTOMER}/compliance",
        ),
    ):
        identity, _ = mapped(line, context)
        assert (identity.object_id, identity.kind) == (object_id, "unknown")
    (told,) = map_delivery(NETWORK, packed({"id": "not_a_valid_id", "error": "invalid_id"}), {})
    assert told["fate"] == "delivered"
    assert told["event"]["kind"] == "unknown"


@pytest.mark.parametrize(
    "name",
    [
        "user_delete",
        "user_undelete",
        "user_protect",
        "user_unprotect",
        "user_suspend",
        "user_unsuspend",
        "user_withheld",
        "user_profile_modification",
        "scrub_geo",
    ],
)
def test_what_compliance_tells_of_accounts_is_kept_with_its_time(name):
    """Source: `Compliance Data Objects`, user events: they toggle, so the network's time orders them."""
    told = {"user": {"id": CUSTOMER}, "event_at": "2022-12-23T12:34:56.789Z"}
    identity, draft = mapped({"data": {name: told}})
    assert identity.object_id == f"x:network:user/{CUSTOMER}/{name}"
    assert identity.revision == 1671798896789
    assert (draft.kind, draft.author.id) == ("unknown", CUSTOMER)
    assert draft.erases == (name == "user_delete")


@pytest.mark.parametrize(
    ("line", "erases"),
    [
        ({"action": "delete", "reason": "deleted"}, True),
        ({"action": "delete", "reason": "suspended"}, False),
        ({"action": "scrub_geo"}, False),
    ],
)
def test_an_account_that_a_job_finds_deleted_is_to_be_erased(line, erases):
    _, draft = mapped({"id": CUSTOMER, **line}, {"job": "users"})
    assert (draft.author.id, draft.erases) == (CUSTOMER, erases)
    _, of_a_post = mapped({"id": CUSTOMER, **line}, {})
    assert not of_a_post.erases


def test_a_post_withheld_elsewhere_stays_and_is_told():
    """The text is hidden where it may not be shown; elsewhere it is read."""
    tweet = {"id": FIRST, "text": "geheim", "withheld": {"country_codes": ["DE", "FR"]}}
    _, home = mapped({"data": tweet})
    _, abroad = mapped({"data": tweet}, {"country": "NL"})
    _, everywhere = mapped(
        {"data": tweet | {"withheld": {"copyright": True, "country_codes": ["XY"]}}},
        {"country": "NL"},
    )
    assert (home.text, abroad.text, everywhere.text) == (None, "geheim", None)
    assert home.metrics == abroad.metrics == {"withheld_countries": 2}
    identity, draft = mapped(
        {
            "data": {
                "withheld": {
                    "tweet": {"id": FIRST, "author_id": CUSTOMER},
                    "withheld_in_countries": ["TR"],
                    "event_at": "2022-12-23T12:34:56.789Z",
                }
            }
        }
    )
    assert identity.object_id == f"x:network:{FIRST}/withheld"
    assert draft.change == "updated"


def test_direct_messages_of_an_activity_event_come_one_by_one():
    """`x-api/activity/event-payloads`, dm.received; the API v2 gives the same identities."""
    users = {
        CUSTOMER: {"data": {"id": CUSTOMER, "username": "OtherUser", "name": "Other"}},
        BRAND: {"data": {"id": BRAND, "username": "ExampleUser"}},
    }
    events = [
        {
            "type": "message_create",
            "id": message_id,
            "created_timestamp": "1784928224372",
            "message_create": {
                "target": {"recipient_id": BRAND},
                "sender_id": CUSTOMER,
                "message_data": {
                    "text": text,
                    "entities": {
                        "hashtags": [],
                        "urls": [{"expanded_url": "https://example.com/rechnung"}],
                    },
                    "attachment": {
                        "type": "media",
                        "media": {
                            "id_str": "5",
                            "type": "photo",
                            "media_url_https": "https://ton.twitter.com/dm/5.jpg",
                        },
                    },
                },
            },
        }
        for message_id, text in (("2080765901528535096", "hello!"), ("2080765901528535097", "da?"))
    ]
    body = packed(
        {
            "data": {
                "event_uuid": "-6850472171600526495",
                "filter": {"user_id": BRAND},
                "event_type": "dm.received",
                "tag": "dm-inbound",
                "payload": {"direct_message_events": events, "users": users},
            }
        }
    )
    pieces = NETWORK.explode(Delivery(body))
    assert [piece.context["channel"] for piece in pieces] == [BRAND, BRAND]
    (identity, draft), (other, _) = mapped_all(body)
    assert identity.object_id == "x:network:dm/2080765901528535096"
    assert other.object_id == "x:network:dm/2080765901528535097"
    assert (draft.kind, draft.visibility, draft.text) == ("direct_message", "private", "hello!")
    assert (draft.author.id, draft.author.handle) == (CUSTOMER, "OtherUser")
    assert draft.target == BRAND
    assert draft.conversation_id == f"x:network:dm/{BRAND}-{CUSTOMER}"
    assert draft.links == ("https://example.com/rechnung",)
    assert [medium.url for medium in draft.media] == ["https://ton.twitter.com/dm/5.jpg"]
    assert draft.published_at == datetime(2026, 7, 24, 21, 23, 44, 372000, tzinfo=UTC)

    v2, again = mapped(
        {
            "data": {
                "id": "2080765901528535096",
                "event_type": "MessageCreate",
                "text": "hello!",
                "sender_id": CUSTOMER,
                "dm_conversation_id": f"{BRAND}-{CUSTOMER}",
            }
        }
    )
    assert v2 == identity
    assert (again.conversation_id, again.target) == (draft.conversation_id, BRAND)


def test_a_sealed_message_is_heard_without_its_text():
    """`x-api/activity/event-payloads`, chat.received: encrypted, only who and when."""
    identity, draft = mapped(
        {
            "data": {
                "event_uuid": "8511582263942905822",
                "filter": {"user_id": BRAND},
                "event_type": "chat.received",
                "payload": {
                    "id": "e4f4d3fc-8bbf-4928-92eb-e5058d6bb6f6",
                    "created_at_msec": "1784841183370",
                    "sender_id": CUSTOMER,
                    "conversation_id": f"{CUSTOMER}:{BRAND}",
                    "encoded_event": "CwABAAAAEzIwODA0MDA4MjUyMjcxMDAxNjALAAIA",
                },
            }
        }
    )
    assert identity.object_id == "x:network:chat/e4f4d3fc-8bbf-4928-92eb-e5058d6bb6f6"
    assert (draft.kind, draft.text, draft.author.id) == ("direct_message", None, CUSTOMER)
    assert draft.conversation_id == f"x:network:dm/{BRAND}-{CUSTOMER}"
    assert draft.target == BRAND


def test_a_like_is_a_reaction_of_whoever_liked():
    """`x-api/activity/event-payloads`, like.create, of both directions."""
    payload = {
        "id": "87719f50ee17bdfa06a3089098a2b9ed",
        "timestamp_ms": "1784927565236",
        "liked_tweet_author_id": "3333333333333333333",
        "liked_tweet_id": "2079814480427442556",
    }
    event = {"event_uuid": "-3402274206530057851", "event_type": "like.create"}
    outbound, draft = mapped(
        {
            "data": event
            | {"filter": {"user_id": BRAND, "direction": "outbound"}, "payload": payload}
        }
    )
    assert outbound.object_id == f"x:network:2079814480427442556/reaction/{BRAND}/like"
    assert (draft.in_reply_to_author, draft.threading) == ("3333333333333333333", "parent_only")
    inbound = {"filter": {"user_id": BRAND, "direction": "inbound"}} | {
        "payload": payload | {"liked_tweet_author_id": BRAND}
    }
    users = {"includes": {"users": [{"id": BRAND}, {"id": CUSTOMER, "username": "erika"}]}}
    identity, draft = mapped({"data": event | inbound | users})
    assert identity.object_id == f"x:network:2079814480427442556/reaction/{CUSTOMER}/like"
    assert draft.author.handle == "erika"
    nobody, _ = mapped({"data": event | inbound})
    assert nobody == ("x:network:event/-3402274206530057851", 0, "unknown", "created")


@pytest.mark.parametrize(
    "event_type",
    ["follow.follow", "profile.update.bio", "oauth.revoke", "spaces.start", "something.new"],
)
def test_activity_without_a_word_of_ours_is_kept(event_type):
    """I2: an unknown event, whatever its payload looks like, is of kind unknown."""
    for payload in ({"before": "a", "after": "b"}, {"id": 7, "text": {}}, [1], "x", None):
        data = {
            "event_uuid": "-7953119945885597316",
            "filter": {"user_id": BRAND},
            "event_type": event_type,
            "payload": payload,
        }
        identity, draft = mapped({"data": data})
        assert identity.object_id == "x:network:event/-7953119945885597316"
        assert (draft.kind, draft.target) == ("unknown", BRAND)


def test_a_post_that_was_asked_for_and_is_gone_is_deleted():
    """An error by `ids` beside data, of a lookup; one about an include says nothing of a post."""
    problem = {
        "resource_id": FIRST,
        "resource_type": "tweet",
        "parameter": "ids",
        "type": "https://api.x.com/2/problems/resource-not-found",
    }
    include = problem | {"parameter": "referenced_tweets.id"}
    body = packed({"data": [{"id": SECOND, "text": "da"}], "errors": [problem, include]})
    told = mapped_all(body, {"asked": "posts"})
    assert [identity.change for identity, _ in told] == ["created", "deleted"]
    assert [identity.object_id for identity, _ in told][1] == f"x:network:{FIRST}"
    assert len(mapped_all(body)) == 1


def test_long_posts_are_read_whole():
    """`note_tweet` holds what `text` cuts, with entities of its own."""
    _, draft = mapped(
        {
            "data": {
                "id": FIRST,
                "text": "Anfang…",
                "note_tweet": {
                    "text": "Anfang und Ende #Störung",
                    "entities": {"hashtags": [{"tag": "Störung"}]},
                },
            }
        }
    )
    assert draft.text == "Anfang und Ende #Störung"
    assert draft.hashtags == ("störung",)


def test_includes_that_cannot_be_read_cost_the_name_and_not_the_text():
    """One wrong type beside the post must not lose the post."""
    _, draft = mapped(
        {
            "data": {"id": FIRST, "text": "da", "author_id": CUSTOMER},
            "includes": {"users": [{"id": 7}], "media": "x"},
        }
    )
    assert (draft.text, draft.author.id, draft.author.handle) == ("da", CUSTOMER, None)


def test_metrics_and_profile_do_not_make_another_post():
    """A re-fetch differs in counts, names and addresses: the content is the same."""
    tweet = {"id": FIRST, "text": "da", "author_id": CUSTOMER}
    _, early = mapped({"data": tweet | {"public_metrics": {"like_count": 0}}})
    _, late = mapped(
        {
            "data": tweet | {"public_metrics": {"like_count": 9}},
            "includes": {"users": [{"id": CUSTOMER, "username": "erika"}]},
        }
    )
    assert content_hash(early) == content_hash(late)


def test_a_page_with_one_object_too_deep_loses_only_that():
    """Each object of a page is judged alone; a line that is too deep is refused whole."""
    deep = '{"id":"1","text":"x","a":' + "[" * 70 + "]" * 70 + "}"
    page = f'{{"data":[{{"id":"2","text":"da"}},{deep}]}}'.encode()
    fine, refused = NETWORK.explode(Delivery(page))
    assert isinstance(fine, NativeObject)
    assert refused.error.error_type is ErrorType.TOO_DEEP
    for body in (f'{{"data":{deep}}}'.encode(), b"[" * 100_000, b'{"data":' * 100_000):
        (told,) = map_delivery(NETWORK, body, {})
        assert told["fate"] == "dead_lettered"


def test_a_page_with_one_object_that_is_no_utf8_loses_only_that():
    """Each object is read by itself; a line that is no UTF-8 is refused whole."""
    broken = b'{"id":"1","text":"x","a":"\xff"}'
    page = b'{"data":[{"id":"2","text":"da"},' + broken + b"]}"
    fine, refused = NETWORK.explode(Delivery(page))
    assert isinstance(fine, NativeObject)
    assert refused.error.error_type is ErrorType.MALFORMED_JSON
    (told,) = map_delivery(NETWORK, b'{"data":' + broken + b"}", {})
    assert told["reason"] == "malformed_json"
