"""Mastodon as its documentation writes it, through `klingel map`; each fixture names its page.

Pages of docs.joinmastodon.org: /methods/streaming/ (events and frames), /methods/grouped_notifications/
(groups, `expand_accounts=partial_avatars`), /entities/Notification/, /entities/Status/,
/entities/Conversation/, /entities/Quote/. Ids of other servers with the same interface: GoToSocial's
are ULIDs (docs.gotosocial.org, API), Pleroma's are flake ids (docs-develop.pleroma.social).
"""

import json
from typing import Any

import pytest

GONE = 2**42 - 1
ULID = "01HZX3V5M2Q8B7RJ4T9YKCDN6F"
BEYOND = 2**53 + 1
ANNA = {"id": "2", "username": "anna", "acct": "anna@elsewhere.example", "display_name": "Anna"}
PARTIAL = {
    "id": "3",
    "acct": "bert@elsewhere.example",
    "url": "https://elsewhere.example/@bert",
    "avatar": "https://elsewhere.example/a.png",
    "avatar_static": "https://elsewhere.example/a.png",
    "locked": False,
    "bot": False,
}


def status(own_id: Any = "110", **more: Any) -> dict[str, Any]:
    """Return a status of /entities/Status/, with the fields of the pages' own example."""
    return {
        "id": own_id,
        "created_at": "2026-07-04T14:38:07.112Z",
        "in_reply_to_id": None,
        "in_reply_to_account_id": None,
        "sensitive": False,
        "spoiler_text": "",
        "visibility": "public",
        "language": "de",
        "uri": f"https://elsewhere.example/users/anna/statuses/{own_id}",
        "url": f"https://elsewhere.example/@anna/{own_id}",
        "edited_at": None,
        "content": "<p>kein Netz</p>",
        "filtered": [],
        "reblog": None,
        "account": ANNA,
        "media_attachments": [],
        "mentions": [{"id": "1", "username": "n", "url": "https://x.example/@n", "acct": "n"}],
        "tags": [],
        "emojis": [],
        "card": None,
        "poll": None,
    } | more


def notice(kind: str, **more: Any) -> dict[str, Any]:
    """Return a notification of /entities/Notification/."""
    return {
        "id": "34",
        "type": kind,
        "created_at": "2026-07-04T14:40:00.000Z",
        "group_key": f"ungrouped-34-{kind}",
        "account": ANNA,
    } | more


def frame(event: str, payload: Any = None, *, stream: Any = ("user",)) -> dict[str, Any]:
    """Return a frame of a websocket: the payload is JSON in a string, or absent."""
    told = {"stream": list(stream), "event": event}
    if payload is None:
        return told
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return told | {"payload": text}


def groups(*given: dict[str, Any], **beside: Any) -> dict[str, Any]:
    """Return GroupedNotificationsResults of /methods/grouped_notifications/."""
    return {"accounts": [ANNA], "statuses": [status()], "notification_groups": list(given)} | beside


def group(kind: str, *accounts: str, **more: Any) -> dict[str, Any]:
    """Return a NotificationGroup."""
    return {
        "group_key": f"{kind}-110-479000",
        "notifications_count": len(accounts),
        "type": kind,
        "most_recent_notification_id": 196014,
        "page_min_id": "196013",
        "page_max_id": "196014",
        "latest_page_notification_at": "2026-07-04T15:00:00.743Z",
        "sample_account_ids": list(accounts),
        "status_id": "110",
    } | more


def events(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert {each["fate"] for each in found} <= {"delivered"}, found
    return [each["event"] for each in found]


def test_an_account_that_is_shown_in_part_is_an_object_too(told):
    """Its handle is all there is of it; the whole account wins where both are there."""
    body = groups(group("favourite", "2", "3"), partial_accounts=[PARTIAL])
    found = events(told("mastodon", body))
    assert [each["object_id"] for each in found] == [
        "mastodon:mastodon:110/reaction/2/favourite",
        "mastodon:mastodon:110/reaction/3/favourite",
    ]
    assert [each["author"]["handle"] for each in found] == [ANNA["acct"], PARTIAL["acct"]]
    both = groups(group("reblog", "2"), partial_accounts=[{"id": "2", "acct": "anna"}])
    assert [each["author"].get("name") for each in events(told("mastodon", both))] == ["Anna"]


def test_an_account_that_is_not_shown_at_all_is_known_by_its_id(told):
    found = events(told("mastodon", groups(group("reblog", "2", "9"))))
    assert [each["author"]["id"] for each in found] == ["mastodon:2", "mastodon:9"]
    assert {each["reposts"] for each in found} == {"mastodon:mastodon:110"}
    assert {each["kind"] for each in found} == {"repost"}


def test_a_broken_account_or_status_stops_no_other(told):
    body = groups(
        group("favourite", "2", "3"),
        group("mention", "2"),
        group("follow", "2", status_id=None),
        accounts=[ANNA, {"id": ["x"]}, "nobody"],
        statuses=[status(), {"created_at": 5}],
        partial_accounts=[PARTIAL],
    )
    found = told("mastodon", body)
    fates = [each["fate"] for each in found]
    assert fates == ["dead_lettered"] * 3 + ["delivered"] * 4
    assert all(each["reason"] and each["sentence"] for each in found[:3])
    assert [each["event"]["kind"] for each in found[3:]] == [
        "reaction",
        "reaction",
        "post",
        "unknown",
    ]


@pytest.mark.parametrize("name", ["accounts", "partial_accounts", "statuses"])
def test_what_stands_beside_the_groups_and_is_no_list_takes_none_of_them_along(told, name):
    body = groups(group("favourite", "2"), group("mention", "2")) | {name: 5}
    first, *others = told("mastodon", body)
    assert (first["fate"], first["reason"]) == ("dead_lettered", "wrong_type")
    kind = "unknown" if name == "statuses" else "post"
    assert [each["kind"] for each in events(others)] == ["reaction", kind]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("admin.sign_up", {}),
        ("admin.report", {"report": {"id": "1"}}),
        ("severed_relationships", {"event": {"id": "5", "type": "domain_block"}}),
        ("moderation_warning", {"moderation_warning": {"id": "6"}}),
        ("follow_request", {}),
        ("annual_report", {"annual_report": {"year": "2026"}}),
    ],
)
def test_what_is_nobodys_word_is_unknown_grouped_or_not(told, kind: str, more: dict[str, Any]):
    grouped = groups(group(kind, "2", **more) | {"status_id": None})
    single = notice(kind, **more)
    for body in (grouped, single):
        (found,) = events(told("mastodon", body))
        assert found["kind"] == "unknown"


def test_a_frame_is_the_status_that_its_payload_holds(told):
    """/methods/streaming/: the same event id as from a timeline, whatever stream it came by."""
    (plain,) = events(told("mastodon", status()))
    for stream in (("user",), ("hashtag", "netz"), ("public", "local")):
        (found,) = events(told("mastodon", frame("update", status(), stream=stream)))
        assert found == plain
    old = {"event": "update", "payload": json.dumps(status())}  # before streams were named
    assert events(told("mastodon", old)) == [plain]
    assert events(told("mastodon", frame("update") | {"payload": status()})) == [plain]


def test_an_edit_and_a_deletion_reach_the_status_of_the_frame_before(told):
    edited = status(edited_at="2026-07-04T14:39:00.123Z", content="<p>wieder Netz</p>")
    lines = [frame("update", status()), frame("status.update", edited), frame("delete", "110")]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    first, second, third = events(told("mastodon", body, name="frames.jsonl"))
    assert first["object_id"] == second["object_id"] == third["object_id"]
    assert [each["change"] for each in (first, second, third)] == ["created", "updated", "deleted"]
    assert second["revision"] == 1_783_175_940_123
    assert second["changed_at"].startswith("2026-07-04T14:39:00.123")
    assert third["revision"] == GONE
    assert "text" not in third


def test_frames_of_an_array_are_as_many_objects_and_a_broken_one_stops_no_other(told):
    body = [
        frame("update", status()),
        frame("update", "{broken"),
        frame("update", status("111")) | {"event": 5},
        frame("update", status("112") | {"created_at": "yesterday"}),
        frame("notification", notice("favourite", status=status())),
    ]
    found = told("mastodon", body)
    assert [each["fate"] for each in found] == [
        "delivered",
        "dead_lettered",
        "dead_lettered",
        "dead_lettered",
        "delivered",
    ]
    assert found[1]["reason"] == "malformed_json"
    assert found[2]["reason"] == "wrong_type"


@pytest.mark.parametrize("kind", ["mention", "status", "update", "poll", "quote"])
def test_a_notification_of_a_frame_is_the_status_that_it_is_about(told, kind: str):
    (found,) = events(told("mastodon", frame("notification", notice(kind, status=status()))))
    assert (found["object_id"], found["text"]) == ("mastodon:mastodon:110", "kein Netz")


def test_favourites_and_boosts_of_a_frame_are_those_of_a_group(told):
    for kind, made in (("favourite", "reaction"), ("reblog", "repost")):
        (alone,) = events(
            told("mastodon", frame("notification", notice(kind, status=status(account=PARTIAL))))
        )
        (grouped,) = events(told("mastodon", groups(group(kind, "2"))))
        assert (alone["event_id"], alone["kind"]) == (grouped["event_id"], made)
        assert alone["published_at"] == "2026-07-04T14:40:00Z"


def test_a_conversation_of_a_frame_is_its_last_message(told):
    talk = {
        "id": "5",
        "unread": True,
        "accounts": [ANNA],
        "last_status": status(visibility="direct"),
    }
    (found,) = events(told("mastodon", frame("conversation", talk, stream=["direct"])))
    assert (found["kind"], found["visibility"]) == ("direct_message", "private")
    (empty,) = events(told("mastodon", frame("conversation", talk | {"last_status": None})))
    assert (empty["kind"], empty["object_id"]) == ("unknown", "mastodon:mastodon:conversation/5")


@pytest.mark.parametrize(
    "given",
    [
        frame("filters_changed"),
        frame("announcement", {"id": "1", "content": "<p>test</p>", "all_day": True}),
        frame("announcement.reaction", {"name": "🤔", "count": 1, "announcement_id": "1"}),
        frame("announcement.delete", "1"),
        frame("notifications_merged", "1"),
        frame("notifications_merged", {}),
        frame("encrypted_message", {"id": "9"}),
        frame("novelty", {"x": 1}),
    ],
)
def test_events_that_are_no_status_are_of_kind_unknown(told, given: dict[str, Any]):
    (found,) = events(told("mastodon", given))
    assert found["kind"] == "unknown"
    assert f"event/{given['event']}/" in found["object_id"]


@pytest.mark.parametrize("own_id", ["110", ULID, "AXwZuTVLqs8S0B5NMX", "0123", str(BEYOND)])
def test_a_deletion_reaches_ids_of_every_server_by_every_way(told, own_id: str):
    """Their ids stand bare in the text of the stream: only numbers are JSON."""
    (made,) = events(told("mastodon", frame("update", status(own_id))))
    (framed,) = events(told("mastodon", frame("delete", own_id)))
    (streamed,) = events(told("mastodon", f"event: delete\ndata: {own_id}\n\n".encode()))
    assert made["object_id"] == framed["object_id"] == streamed["object_id"]
    assert (framed["change"], streamed["revision"]) == ("deleted", GONE)


def test_text_of_the_stream_is_as_many_objects_as_events(told):
    """/methods/streaming/#http: comments keep the connection open and are none."""
    body = (
        ":)\n"
        ":thump\n"
        f"event: update\ndata: {json.dumps(status())}\n\n"
        "event: filters_changed\ndata: undefined\n\n"
        ":thump\n\n"
        "event: update\r\ndata: {broken\r\n\r\n"
        f"event: notification\ndata: {json.dumps(notice('mention', status=status('111')))}\n\n"
        "event: delete\ndata: 110"
    ).encode()
    found = told("mastodon", body, name="stream.txt")
    assert [each["fate"] for each in found] == [
        "delivered",
        "delivered",
        "dead_lettered",
        "delivered",
        "delivered",
    ]
    assert [each.get("event", {}).get("object_id") for each in found[::3]] == [
        "mastodon:mastodon:110",
        "mastodon:mastodon:111",
    ]
    assert found[1]["event"]["kind"] == "unknown"
    assert found[4]["event"]["change"] == "deleted"


def test_ids_that_come_as_numbers_are_those_of_strings_and_exact(told):
    """Servers of the older form; a double would make of the id its neighbour."""
    named = status(
        str(BEYOND),
        in_reply_to_id=str(BEYOND - 1),
        in_reply_to_account_id="7",
        media_attachments=[{"id": "8", "type": "image", "url": "https://x.example/8.png"}],
    )
    numbered = status(
        BEYOND,
        uri=named["uri"],
        url=named["url"],
        account=ANNA | {"id": 2},
        in_reply_to_id=BEYOND - 1,
        in_reply_to_account_id=7,
        mentions=[{"id": 1, "acct": "n"}],
        media_attachments=[{"id": 8, "type": "image", "url": "https://x.example/8.png"}],
    )
    (first,), (second,) = events(told("mastodon", named)), events(told("mastodon", numbered))
    assert first == second
    assert first["object_id"].endswith(f":{BEYOND}")
    assert first["in_reply_to"].endswith(f":{BEYOND - 1}")
    counted = groups(group("favourite", status_id=110) | {"sample_account_ids": [2]})
    assert events(told("mastodon", counted)) == events(
        told("mastodon", groups(group("favourite", "2")))
    )


@pytest.mark.parametrize(
    ("state", "quoted"),
    [
        ({"state": "accepted", "quoted_status": {"id": "9"}}, "mastodon:mastodon:9"),
        ({"state": "accepted", "quoted_status_id": "9"}, "mastodon:mastodon:9"),
        ({"state": "pending", "quoted_status": None}, None),
        ({"state": "revoked", "quoted_status": None}, None),
        ({"state": "deleted", "quoted_status_id": None}, None),
    ],
)
def test_a_quote_names_what_it_quotes_where_that_is_shown(told, state, quoted):
    """/entities/Quote/ and /entities/ShallowQuote/."""
    (found,) = events(told("mastodon", frame("update", status(quote=state))))
    assert found.get("quotes") == quoted
    assert found["kind"] == ("quote" if quoted else "post")


def test_media_are_fetched_from_their_address_and_keep_their_kind(told):
    given = [
        {"id": str(at), "type": kind, "url": f"https://x.example/{at}", "description": "Router"}
        for at, kind in enumerate(["image", "gifv", "video", "audio", "unknown"])
    ]
    given.append({"id": "9", "type": "image", "url": None, "remote_url": "https://far.example/9"})
    (found,) = events(told("mastodon", frame("update", status(media_attachments=given))))
    kinds = [(each["kind"], each["url"], each["status"]) for each in found["media"]]
    assert [kind for kind, _, _ in kinds] == ["image", "video", "video", "audio", "file", "image"]
    assert kinds[5][1:] == ("https://far.example/9", "remote")
