"""X's older webhooks, and the many ways in which ids, times and names of its events are written.

The forms are those of "Account Activity data objects", of "Compliance Data Objects" (v2 and v1.1) and of
`x-api/activity/event-payloads`; accounts and texts are made up.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.identity import DELETED_WITHOUT_REVISION, content_hash
from klingel_networks.bounds import READ_ERRORS
from klingel_networks.contract import Delivery, NativeObject, Refused
from klingel_networks.mapped import map_delivery, raw_event
from klingel_networks.x import NETWORK
from klingel_networks.x.names import family_of, is_end, plain
from klingel_networks.x.reading import with_text_ids

BRAND, CUSTOMER = "1111111111111111111", "2222222222222222222"
FIRST, SECOND = "1567233844205453313", "1567233994734948354"
AT = 1522082006140
USER = {"id": int(CUSTOMER), "id_str": CUSTOMER, "screen_name": "erika", "name": "Erika"}
OWN = {"id": int(BRAND), "id_str": BRAND, "screen_name": "nordlicht", "name": "Nordlicht"}


def mapped_all(tree: Any, context: dict[str, str] | None = None):
    """Return identity and draft of every object; all must map, and n in is n out."""
    found = []
    for piece in NETWORK.explode(Delivery(json.dumps(tree).encode(), context or {})):
        assert isinstance(piece, NativeObject), piece
        identity = NETWORK.identify(piece.native, piece.context)
        draft = NETWORK.to_social_event(raw_event("x", piece, identity))
        assert (identity.kind, identity.change) == (draft.kind, draft.change)
        found.append((identity, draft))
    return found


def mapped(tree: Any, context: dict[str, str] | None = None):
    """Return identity and draft of the one object of a delivery."""
    (one,) = mapped_all(tree, context)
    return one


def status(post_id: str = FIRST, **more: Any) -> dict[str, Any]:
    """Return a post of v1.1."""
    return {
        "created_at": "Mon Mar 26 16:33:26 +0000 2018",
        "id": int(post_id),
        "id_str": post_id,
        "text": "@nordlicht kein Netz",
        "user": USER,
        "entities": {"user_mentions": [{"id_str": BRAND, "screen_name": "nordlicht"}]},
    } | more


def activity(name: str, *members: Any, **more: Any) -> dict[str, Any]:
    """Return a webhook's body with one list."""
    return {"for_user_id": BRAND, name: list(members)} | more


# --- posts ---------------------------------------------------------------------------------------


def test_each_post_of_a_list_is_an_object_through_the_account_it_is_for():
    """tweet_create_events: a post, a reply, a quote, a repost, two lists in one body."""
    reply = status("21", in_reply_to_status_id_str="20", in_reply_to_user_id_str=BRAND)
    quote = status(
        "22", quoted_status_id_str="20", quoted_status={"id_str": "20", "user": {"id_str": BRAND}}
    )
    repost = status(
        "23",
        retweeted_status=status("20", quoted_status_id_str="19"),
        quoted_status_id_str="19",
        quoted_status=status("19"),
    )
    body = activity("tweet_create_events", status(), reply, quote, repost, user_has_blocked="false")
    body["tweet_delete_events"] = [
        {"status": {"id": "20", "user_id": BRAND}, "timestamp_ms": str(AT)}
    ]
    pieces = NETWORK.explode(Delivery(json.dumps(body).encode()))
    assert [piece.context["channel"] for piece in pieces] == [BRAND] * 5
    told = mapped_all(body)
    assert [identity.kind for identity, _ in told] == ["post", "reply", "quote", "repost", "post"]
    assert [identity.change for identity, _ in told] == ["created"] * 4 + ["deleted"]
    (_, post), (_, answer), (_, quoting), (_, sharing), (gone, _) = told
    assert (post.author.id, post.author.handle, post.mentions) == (CUSTOMER, "erika", (BRAND,))
    assert post.published_at == datetime(2018, 3, 26, 16, 33, 26, tzinfo=UTC)
    assert (answer.in_reply_to, answer.in_reply_to_author) == ("x:network:20", BRAND)
    assert (quoting.quotes, quoting.quoted_author) == ("x:network:20", BRAND)
    assert (sharing.reposts, sharing.quotes, sharing.quoted_author) == ("x:network:20", None, None)
    assert gone == ("x:network:20", DELETED_WITHOUT_REVISION, "post", "deleted")


def test_a_post_that_was_cut_is_read_whole():
    """`extended_tweet` has the text, and marks and files of its own."""
    cut = status(
        truncated=True,
        text="Anfang…",
        extended_tweet={
            "full_text": "Anfang und Ende #Störung",
            "entities": {
                "hashtags": [{"text": "Störung"}],
                "urls": [{"expanded_url": "https://nordlicht.example/a"}],
            },
            "extended_entities": {"media": [{"id_str": "5", "type": "photo"}]},
        },
    )
    _, draft = mapped(activity("tweet_create_events", cut))
    assert draft.text == "Anfang und Ende #Störung"
    assert (draft.hashtags, draft.links) == (("störung",), ("https://nordlicht.example/a",))
    assert [medium.id for medium in draft.media] == ["5"]


def test_an_edit_of_v1_is_the_edit_of_v2():
    """`edit-tweets`: edit_history; the same chain, the same revision."""
    history = {"initial_tweet_id": FIRST, "edit_tweet_ids": [FIRST, SECOND]}
    old, draft = mapped(
        activity("tweet_create_events", status(SECOND, created_at=None, edit_history=history))
    )
    new, _ = mapped(
        {"data": {"id": SECOND, "text": "x", "edit_history_tweet_ids": [FIRST, SECOND]}}
    )
    assert old == new
    assert draft.change == "updated"
    assert int(draft.changed_at.timestamp() * 1000) == old.revision
    first, _ = mapped(activity("tweet_create_events", status(FIRST, edit_history=history)))
    assert (first.object_id, first.revision) == (old.object_id, 0)


def test_members_of_v2s_shape_are_posts_too():
    identity, draft = mapped(
        activity("tweet_create_events", {"id": FIRST, "text": "da", "author_id": CUSTOMER})
    )
    assert (identity.kind, draft.author.id) == ("post", CUSTOMER)


# --- messages ------------------------------------------------------------------------------------


def message(sender: str = CUSTOMER, to: str = BRAND, **more: Any) -> dict[str, Any]:
    """Return a direct message."""
    return {
        "type": "message_create",
        "id": "954491830116155396",
        "created_timestamp": "1516403560557",
        "message_create": {
            "target": {"recipient_id": to},
            "sender_id": sender,
            "message_data": {"text": "Hallo", "entities": {"urls": []}},
        },
    } | more


ACCOUNTS = {
    CUSTOMER: {"id": CUSTOMER, "name": "Erika", "screen_name": "erika", "followers_count": 22},
    BRAND: {"id": BRAND, "name": "Nordlicht", "screen_name": "nordlicht"},
}


@pytest.mark.parametrize(
    "accounts",
    [
        {"users": ACCOUNTS},
        {"apps": {"13090192": {"id": "13090192", "name": "App"}, "users": {}} | ACCOUNTS},
        {"users": {CUSTOMER: {"data": {"id": CUSTOMER, "username": "erika"}}}},
        {"users": {CUSTOMER: ACCOUNTS[CUSTOMER] | {"id": int(CUSTOMER)}, "x": 7}},
    ],
    ids=["map", "as the documentation's example", "v2", "integers"],
)
def test_who_writes_is_named_by_the_map_of_accounts(accounts):
    identity, draft = mapped(activity("direct_message_events", message(), **accounts))
    assert identity.object_id == "x:network:dm/954491830116155396"
    assert (draft.author.id, draft.author.handle) == (CUSTOMER, "erika")
    assert (draft.target, draft.visibility, draft.direction) == (BRAND, "private", None)
    assert draft.conversation_id == f"x:network:dm/{BRAND}-{CUSTOMER}"
    assert draft.published_at == datetime(2018, 1, 19, 23, 12, 40, 557000, tzinfo=UTC)


def test_a_messages_integers_are_exact():
    numbers = message(id=954491830116155397, created_timestamp=1516403560557)
    numbers["message_create"]["sender_id"] = int(CUSTOMER)
    numbers["message_create"]["target"]["recipient_id"] = int(BRAND)
    body = activity("direct_message_events", numbers) | {"for_user_id": int(BRAND)}
    identity, draft = mapped(body)
    wanted, same = mapped(activity("direct_message_events", message(id="954491830116155397")))
    assert (identity, draft) == (wanted, same)


def test_what_the_account_writes_itself_goes_out():
    """By the account that the delivery is for: of the older webhooks, and of activity events."""
    old = mapped(activity("direct_message_events", message(BRAND, CUSTOMER)))
    new = mapped(
        {
            "data": {
                "event_uuid": "1",
                "event_type": "dm.sent",
                "filter": {"user_id": BRAND},
                "payload": {"direct_message_events": [message(BRAND, CUSTOMER)]},
            }
        }
    )
    assert old[1].direction == new[1].direction == "outbound"
    assert old[0] == new[0]
    assert old[1].target == CUSTOMER


@pytest.mark.parametrize(
    ("name", "member"),
    [
        (
            "direct_message_indicate_typing_events",
            {"created_timestamp": "1518127183443", "sender_id": CUSTOMER},
        ),
        (
            "direct_message_mark_read_events",
            {
                "created_timestamp": 1518452444662,
                "sender_id": int(CUSTOMER),
                "last_read_event_id": "963085315333238788",
            },
        ),
    ],
)
def test_who_types_or_has_read_says_nothing(name, member):
    """Nobody's word is of kind unknown, as everywhere."""
    body = activity(name, member | {"target": {"recipient_id": BRAND}}, users=ACCOUNTS)
    identity, draft = mapped(body)
    assert (identity.kind, draft.visibility, draft.text) == ("unknown", "private", None)
    assert (draft.author.id, draft.target) == (CUSTOMER, BRAND)
    assert mapped(body)[0] == identity


# --- deeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stamp", [AT, str(AT)])
def test_a_like_is_the_reaction_that_activity_events_tell(stamp):
    """favorite_events; its time is an integer in the documentation, a string in like.create."""
    identity, draft = mapped(
        activity(
            "favorite_events",
            {
                "id": "a7ba59eab0bfcba386f7acedac279542",
                "created_at": "Mon Mar 26 16:33:26 +0000 2018",
                "timestamp_ms": stamp,
                "favorited_status": status(user=OWN),
                "user": USER,
            },
        )
    )
    assert identity == (f"x:network:{FIRST}/reaction/{CUSTOMER}/like", AT, "reaction", "created")
    assert (draft.author.handle, draft.in_reply_to_author) == ("erika", BRAND)
    event = {
        "event_uuid": "1",
        "event_type": "like.create",
        "filter": {"user_id": CUSTOMER, "direction": "outbound"},
        "payload": {
            "timestamp_ms": str(AT),
            "liked_tweet_id": FIRST,
            "liked_tweet_author_id": BRAND,
        },
    }
    other, again = mapped({"data": event})
    assert other == identity
    assert content_hash(again) == content_hash(draft)
    ended, _ = mapped(
        {
            "delete": {
                "favorite": {
                    "tweet_id": int(FIRST),
                    "tweet_id_str": FIRST,
                    "user_id": int(CUSTOMER),
                    "user_id_str": CUSTOMER,
                },
                "timestamp_ms": str(AT + 5),
            }
        }
    )
    assert ended == (identity.object_id, AT + 5, "reaction", "deleted")


@pytest.mark.parametrize("name", ["follow", "block", "mute"])
def test_who_follows_blocks_or_mutes_says_nothing(name):
    deed = {
        "type": name,
        "created_timestamp": "1517588749178",
        "source": USER,
        "target": OWN,
    }
    undone = deed | {"type": f"un{name}", "created_timestamp": "1517588749999"}
    (one, draft), (other, _) = mapped_all(activity(f"{name}_events", deed, undone))
    assert (one.kind, draft.author.id, draft.target) == ("unknown", CUSTOMER, BRAND)
    assert one.object_id != other.object_id


def test_what_is_in_no_list_and_what_no_list_should_hold_is_kept():
    """N in, n out: a revocation, an unknown list, a member that is no object, lists without one."""
    revoke = {"revoke": {"date_time": "2018-05-24T09:48:12+00:00", "source": {"user_id": BRAND}}}
    assert mapped({"user_event": revoke})[0].kind == "unknown"
    assert mapped(activity("new_thing_events", {"a": 1}))[0].kind == "unknown"
    body = activity("tweet_create_events", status(), 7, None) | {"follow_events": None}
    fine, number, nothing = NETWORK.explode(Delivery(json.dumps(body).encode()))
    assert isinstance(fine, NativeObject)
    assert isinstance(number, Refused)
    assert isinstance(nothing, Refused)
    for empty in (activity("tweet_create_events"), {"for_user_id": BRAND}):
        assert mapped(empty)[0].kind == "unknown"
    for broken in (activity("favorite_events", {"user": USER}), {"tweet_create_events": "x"}):
        (told,) = map_delivery(NETWORK, json.dumps(broken).encode(), {})
        assert told["fate"] == "dead_lettered"
        assert told["sentence"]


def test_a_body_of_every_list_is_as_many_objects_as_it_holds():
    body = {
        "for_user_id": BRAND,
        "users": ACCOUNTS,
        "tweet_create_events": [status(), status(SECOND)],
        "favorite_events": [{"favorited_status": status(), "user": USER, "timestamp_ms": AT}],
        "tweet_delete_events": [{"status": {"id": FIRST, "user_id": BRAND}}],
        "direct_message_events": [message()],
        "follow_events": [{"type": "follow", "source": USER, "target": OWN}],
        "user_event": {"revoke": {}},
    }
    assert [identity.kind for identity, _ in mapped_all(body)] == [
        "post",
        "post",
        "reaction",
        "post",
        "direct_message",
        "unknown",
        "unknown",
    ]


# --- compliance ----------------------------------------------------------------------------------

STATUS = {"id": 601430178305220600, "id_str": "601430178305220608"}
STATUS |= {"user_id": 3198576760, "user_id_str": "3198576760"}
V1 = {"timestamp_ms": "1432228155593"}
V2 = {"event_at": "2022-12-23T12:34:56.789Z"}
GONE_POSTS = {
    "v1.1 delete": {"delete": {"status": STATUS} | V1},
    "v1.1 delete, time beside it": {"delete": {"status": STATUS}} | V1,
    "v1.1 delete, no time": {"delete": {"status": STATUS}},
    "v1.1 delete, integers alone": {"delete": {"status": {"id": 601430178305220608}} | V1},
    "v1.1 drop": {"drop": {"status": STATUS} | V1},
    "v1.1 status_withheld": {
        "status_withheld": {"status": STATUS, "withheld_in_countries": ["XY"]} | V1
    },
    "v1.1 status_withheld of the streams": {
        "status_withheld": {
            "id": 601430178305220608,
            "user_id": 3198576760,
            "withheld_in_countries": ["de", "ar"],
        }
    },
    "v2 delete, no data": {"delete": {"tweet": {"id": "601430178305220608"}} | V2},
    "v2 delete of a post": {"data": {"delete": {"post": {"id": "601430178305220608"}} | V2}},
    "v2 drop": {"data": {"drop": {"tweet": {"id": "601430178305220608"}} | V2}},
    "v2 withhold": {
        "data": {
            "withhold": {"tweet": {"id": "601430178305220608"}, "withheld_in_countries": ["DE"]}
            | V2
        }
    },
}


@pytest.mark.parametrize("form", GONE_POSTS)
def test_a_post_that_compliance_takes_away_is_deleted_in_every_form(form):
    """The rounded integer beside a string is not believed; one alone is exact."""
    identity, draft = mapped(GONE_POSTS[form])
    assert identity == (
        "x:network:601430178305220608",
        DELETED_WITHOUT_REVISION,
        "post",
        "deleted",
    )
    assert draft.text is None


USER_EVENTS = {
    "user_delete": {"id": 771136850} | V1,
    "user_undelete": {"id": 771136850} | V1,
    "user_protect": {"id": 771136850} | V1,
    "user_unprotect": {"id": "771136850"} | V1,
    "user_suspend": {"id": 771136850, "timestamp_ms": 1432228155593},
    "user_unsuspend": {"user": {"id": "771136850"}} | {"event_at": "2015-05-21T17:09:15.593Z"},
    "user_withheld": {
        "user": {"id": 771136850, "id_str": "771136850"},
        "withheld_in_countries": ["XY"],
        "timestampMs": "2015-05-21T17:09:15.593+00:00",
    },
    "scrub_geo": {"user_id": 771136850, "user_id_str": "771136850", "up_to_status_id": 4} | V1,
    "user_scrub_geo": {"user": {"id": "771136850"}, "up_to_tweet_id": "4"} | V1,
}


@pytest.mark.parametrize("name", USER_EVENTS)
@pytest.mark.parametrize("wrapped", [True, False])
def test_what_compliance_tells_of_an_account_is_one_thing_in_every_form(name, wrapped):
    told = {name: USER_EVENTS[name]}
    identity, draft = mapped({"data": told} if wrapped else told)
    ours = name.removeprefix("user_") if name == "user_scrub_geo" else name
    assert identity.object_id == f"x:network:user/771136850/{ours}"
    assert (identity.revision, identity.kind) == (1432228155593, "unknown")
    assert (draft.author.id, draft.erases) == ("771136850", name == "user_delete")


def test_what_compliance_tells_of_a_post_that_stays():
    """undrop, and a post withheld where nobody reads here."""
    for told, name in (
        ({"undrop": {"status": STATUS} | V1}, "undrop"),
        ({"undrop": {"tweet": {"id": STATUS["id_str"]}} | V2}, "undrop"),
        (
            {"status_withheld": {"status": STATUS, "withheld_in_countries": ["TR"]} | V1},
            "withheld",
        ),
    ):
        identity, draft = mapped(told)
        assert identity.object_id == f"x:network:601430178305220608/{name}"
        assert (identity.kind, draft.change) == ("unknown", "updated")


def test_the_news_of_an_edit_is_the_edit_in_both_forms():
    told = {"initial_tweet_id": FIRST, "edit_tweet_ids": [FIRST, SECOND]}
    old, _ = mapped({"tweet_edit": {"id": SECOND} | told | V1})
    new, _ = mapped({"data": {"tweet_edit": {"tweet": {"id": SECOND}} | told | V2}})
    post, _ = mapped(
        {"data": {"id": SECOND, "text": "x", "edit_history_tweet_ids": [FIRST, SECOND]}}
    )
    assert old == new == post


# --- activity events -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        {"id": FIRST, "author_id": BRAND},
        {"id": int(FIRST), "author_id": int(BRAND)},
        {"post_id": FIRST},
        {"tweet_id": FIRST, "id": "87719f50ee17bdfa06a3089098a2b9ed"},
        {"tweet": {"id": FIRST, "author_id": BRAND}},
        {"post": {"id": int(FIRST)}},
        {"status": {"id": int(FIRST), "id_str": FIRST, "user_id_str": BRAND}},
        {"id": SECOND, "text": "war da", "edit_history_tweet_ids": [FIRST, SECOND]},
    ],
)
@pytest.mark.parametrize("name", ["post.delete", "PostDelete", "tweet.delete", "post_delete"])
def test_a_deletion_is_read_in_every_form(name, payload):
    event = {"event_uuid": "7", "event_type": name, "payload": payload}
    identity, draft = mapped({"data": event | {"filter": {"user_id": BRAND}}})
    assert identity == (f"x:network:{FIRST}", DELETED_WITHOUT_REVISION, "post", "deleted")
    assert draft.author.id == BRAND, "who subscribed deleted the post"


@pytest.mark.parametrize(
    "name", ["dm.received", "DmReceived", "dm_received", "DMReceived", "DirectMessageReceived"]
)
def test_messages_are_cut_whatever_their_event_is_called(name):
    event = {"event_uuid": 8, "event_type": name, "filter": {"user_id": int(BRAND)}}
    payload = {"direct_message_events": [message(), message(id="8")], "users": ACCOUNTS}
    told = mapped_all({"data": event | {"payload": payload}})
    assert [identity.kind for identity, _ in told] == ["direct_message"] * 2
    assert told[0][1].author.handle == "erika"
    (one,) = mapped_all({"data": event | {"payload": message()}})
    assert one[0].object_id == "x:network:dm/954491830116155396"
    v2 = {
        "id": "9",
        "text": "da",
        "sender_id": CUSTOMER,
        "dm_conversation_id": f"{BRAND}-{CUSTOMER}",
    }
    identity, draft = mapped({"data": event | {"payload": v2}})
    assert (identity.object_id, draft.target) == ("x:network:dm/9", BRAND)
    both = mapped_all({"data": event | {"payload": {"dm_events": [v2, v2 | {"id": "10"}]}}})
    assert [each.object_id for each, _ in both] == ["x:network:dm/9", "x:network:dm/10"]


@pytest.mark.parametrize(
    "name",
    ["dm.read", "dm.indicate_typing", "DmIndicateTyping", "ProfileBioUpdate", "chat.read", "", "…"],
)
def test_an_event_without_a_word_is_of_kind_unknown(name):
    event = {"event_uuid": "-7", "event_type": name, "payload": {"id": 7, "sender_id": CUSTOMER}}
    identity, _ = mapped({"data": event})
    assert (identity.object_id, identity.kind) == ("x:network:event/-7", "unknown")


@pytest.mark.parametrize(
    "name", ["PostCreate", "post.create", "post_mention_create", "TweetCreate"]
)
@pytest.mark.parametrize("wrapped", [None, "data", "post"])
def test_a_post_is_a_post_whatever_its_event_is_called(name, wrapped):
    post: dict[str, Any] = {"id": FIRST, "text": "da", "author_id": CUSTOMER}
    payload = {wrapped: post} if wrapped else post
    identity, draft = mapped({"data": {"event_type": name, "payload": payload}})
    assert (identity.object_id, draft.author.id) == (f"x:network:{FIRST}", CUSTOMER)
    _, old = mapped({"data": {"event_type": name, "payload": status()}})
    assert (old.author.handle, old.text) == ("erika", "@nordlicht kein Netz")


def test_names_are_compared_without_case_and_signs():
    assert plain("dm.indicate_typing") == plain("DmIndicateTyping") == "dmindicatetyping"
    assert {family_of(each) for each in ("like.create", "LikeCreate", "likecreate")} == {"like"}
    assert {family_of(each) for each in ("likely.new", "postal.x", "")} == {"likely", "postal", ""}
    assert [each for each in ("like.delete", "LikeDelete", "spaces.delete") if is_end(each)] == [
        "like.delete",
        "LikeDelete",
    ]


# --- integers ------------------------------------------------------------------------------------


def test_integers_are_read_digit_by_digit():
    """2^53 and above, in every place of a post, of an event, of a like."""
    post = {
        "id": int(FIRST),
        "text": "da",
        "author_id": int(CUSTOMER),
        "conversation_id": int(SECOND),
        "in_reply_to_user_id": int(BRAND),
        "edit_history_tweet_ids": [int(FIRST)],
        "referenced_tweets": [{"type": "replied_to", "id": int(SECOND)}],
    }
    exact = json.loads(with_text_ids(json.dumps(post).encode()))
    includes = {"users": [{"id": int(CUSTOMER), "username": "erika"}]}
    texts = {"users": [{"id": CUSTOMER, "username": "erika"}]}
    wanted = mapped({"data": exact, "includes": texts})
    assert wanted[0].object_id == f"x:network:{FIRST}"
    assert wanted[1].author.handle == "erika"
    assert mapped({"data": post, "includes": includes}) == wanted
    assert mapped({"data": [post], "includes": includes}) == wanted
    assert mapped(post)[0] == wanted[0]
    event = {
        "event_uuid": 2**63 - 1,
        "event_type": "post.create",
        "filter": {"user_id": int(BRAND)},
    }
    assert mapped({"data": event | {"payload": post, "includes": includes}}) == wanted
    assert mapped({"data": {"event_uuid": -(2**60), "event_type": "x", "payload": {}}})[0] == (
        f"x:network:event/-{2**60}",
        0,
        "unknown",
        "created",
    )


@pytest.mark.parametrize("value", [True, 1.5, {}, [], "x" * 20, "-1", 10**30])
def test_what_is_no_id_is_refused_with_its_reason(value):
    post = {"id": value, "text": "da", "referenced_tweets": [{"type": "quoted", "id": value}]}
    for body in ({"data": post}, {"data": {"event_type": "post.delete", "payload": {"id": value}}}):
        (told,) = map_delivery(NETWORK, json.dumps(body).encode(), {})
        assert told["fate"] == "dead_lettered" or told["event"]["kind"] == "unknown"


KEYS = ["for_user_id", "tweet_create_events", "favorite_events", "direct_message_events", "users"]
KEYS += ["user_event", "status", "user", "id", "id_str", "text", "data", "event_type", "payload"]
KEYS += ["delete", "withheld", "message_create", "timestamp_ms", "edit_history"]


@given(
    st.recursive(
        st.none()
        | st.integers()
        | st.floats()
        | st.text(max_size=9)
        | st.sampled_from([FIRST, AT]),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
        ),
        max_leaves=14,
    )
)
def test_whatever_comes_is_an_event_or_a_dead_letter_with_its_reason(value):
    for told in map_delivery(NETWORK, json.dumps(value).encode(), {}):
        assert told["fate"] == "delivered" or told["sentence"]
    try:
        again = with_text_ids(json.dumps(value).encode())
    except READ_ERRORS:
        return
    assert with_text_ids(again) == again
