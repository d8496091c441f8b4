"""Mastodon: recorded answers of the interface, frames of the stream, and the conformance suite."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from klingel.errors import InvalidMessage
from klingel_networks.conformance import NetworkConformance, Sample
from klingel_networks.contract import Delivery, NativeObject
from klingel_networks.mapped import map_delivery, raw_event
from klingel_networks.mastodon import NETWORK

HERE = {"source": "social.example"}
DELETED = 2**42 - 1
BRAND = {"id": "1", "acct": "nordlicht", "display_name": "Nordlicht", "followers_count": 4}
ANNA = {"id": "2", "acct": "anna@elsewhere.example", "display_name": "Anna"}


def packed(tree: Any) -> bytes:
    """Return a tree as an instance sends it."""
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()


def status(own_id: str = "110", content: str = "<p>kein Netz</p>", **more: Any) -> dict[str, Any]:
    """Return a status, changed by `more`; https://docs.joinmastodon.org/entities/Status/."""
    return {
        "id": own_id,
        "created_at": "2026-07-04T14:38:07.112Z",
        "in_reply_to_id": None,
        "in_reply_to_account_id": None,
        "spoiler_text": "",
        "visibility": "public",
        "language": "de",
        "url": f"https://elsewhere.example/@anna/{own_id}",
        "content": content,
        "reblog": None,
        "quote": None,
        "edited_at": None,
        "account": ANNA,
        "mentions": [{"id": "1", "acct": "nordlicht"}],
        "tags": [{"name": "Netz"}],
        "media_attachments": [],
        "replies_count": 0,
    } | more


def notification(kind: str, **more: Any) -> dict[str, Any]:
    """Return a notification; https://docs.joinmastodon.org/entities/Notification/."""
    return {
        "id": "34",
        "type": kind,
        "created_at": "2026-07-04T14:40:00.000Z",
        "group_key": f"{kind}-110",
        "account": ANNA,
    } | more


BOOST = status("111", "", reblog=status("110"))
REPLY = status(
    "112",
    in_reply_to_id="110",
    in_reply_to_account_id="1",
    media_attachments=[
        {"id": "7", "type": "image", "url": "https://cdn.example/7.png", "description": "Router"}
    ],
)
QUOTE = status(
    "113",
    '<p class="quote-inline">RE: <a href="https://social.example/@x/9"><span>social</span></a></p>'
    '<p>so <a href="https://example.com/a?b=1&amp;c=2">nicht</a></p>',
    quote={"state": "accepted", "quoted_status": {"id": "9"}},
)
GROUPS = {
    "accounts": [BRAND, ANNA],
    "statuses": [status("110"), status("120")],
    "notification_groups": [
        {
            "group_key": "favourite-110",
            "type": "favourite",
            "sample_account_ids": ["1", "2"],
            "status_id": "110",
            "latest_page_notification_at": "2026-07-04T15:00:00Z",
        },
        {"group_key": "ungrouped-9", "type": "mention", "status_id": "120"},
        {"group_key": "ungrouped-10", "type": "follow", "sample_account_ids": ["2"]},
    ],
}


class TestMastodon(NetworkConformance):
    """The suite that every network passes."""

    network = "mastodon"
    samples = (
        Sample(
            packed(status()),
            HERE,
            again=(
                Delivery(packed(notification("mention", status=status())), HERE),
                Delivery(packed(status()), HERE | {"event": "update", "root": "100"}),
            ),
            edited=(
                Delivery(packed(status(edited_at="2026-07-04T14:39:00.000Z")), HERE),
                Delivery(b'"110"', HERE | {"event": "delete"}),
            ),
        ),
        Sample(
            packed(REPLY),
            HERE,
            edited=(Delivery(packed(REPLY | {"edited_at": "2026-07-04T14:39:00Z"}), HERE),),
        ),
        Sample(packed(QUOTE), HERE),
        Sample(packed(status(visibility="direct")), HERE),
        Sample(packed(BOOST), HERE),
        Sample(packed(GROUPS), HERE, objects=4),
        Sample(packed([status(), {"code": "de", "name": "Deutsch"}]), HERE, objects=2, refused=1),
    )


def mapped(tree: Any, **context: str):
    """Return identity and draft of a body that holds one object."""
    (piece,) = NETWORK.explode(Delivery(packed(tree), HERE | context))
    assert isinstance(piece, NativeObject), piece
    identity = NETWORK.identify(piece.native, piece.context)
    return identity, NETWORK.to_social_event(raw_event("mastodon", piece, identity))


def test_a_status_says_who_where_and_what():
    """Author, mentions and ids are the instance's own; the handle is whole."""
    identity, draft = mapped(status(content="<p>kein <b>Netz</b> &amp; kein<br>Rückruf</p>"))
    assert identity.object_id == "mastodon:social.example:110"
    assert (draft.kind, draft.change, draft.threading) == ("post", "created", "root")
    assert draft.author.id == "social.example:2"
    assert draft.author.handle == "anna@elsewhere.example"
    assert draft.mentions == ("social.example:1",)
    assert draft.text == "kein Netz & kein\nRückruf"
    assert draft.hashtags == ("netz",)
    assert draft.published_at == datetime(2026, 7, 4, 14, 38, 7, 112000, tzinfo=UTC)
    assert mapped(status(account=BRAND))[1].author.handle == "nordlicht@social.example"


def test_a_warning_stands_before_what_it_hides():
    """Both are words of the author."""
    assert mapped(status(spoiler_text="Störung"))[1].text == "Störung\n\nkein Netz"
    assert mapped(status(content="", spoiler_text="Störung"))[1].text == "Störung"


def test_visibility_is_kept_and_what_is_unknown_is_private():
    """Unlisted, followers, private; a word that we do not know is shown to nobody by mistake."""
    shown = {
        name: mapped(status(visibility=name))[1].visibility
        for name in ("public", "unlisted", "private", "direct", "limited")
    }
    assert shown == {
        "public": "public",
        "unlisted": "unlisted",
        "private": "followers",
        "direct": "private",
        "limited": "private",
    }


def test_the_root_of_a_thread_comes_from_the_context_call():
    """Without it only the parent is known."""
    assert mapped(REPLY)[1].threading == "parent_only"
    _, draft = mapped(REPLY, root="100")
    assert (draft.threading, draft.conversation_id) == ("network", "mastodon:social.example:100")
    assert draft.in_reply_to == "mastodon:social.example:110"
    assert draft.in_reply_to_author == "social.example:1"
    assert [(m.kind, m.alt) for m in draft.media] == [("image", "Router")]


def test_a_quote_is_told_apart_from_its_text():
    """The line that stands for the quoted status is no word of the author."""
    _, draft = mapped(QUOTE)
    assert (draft.kind, draft.quotes) == ("quote", "mastodon:social.example:9")
    assert draft.text == "so nicht"
    assert draft.links == ("https://example.com/a?b=1&c=2",)


def test_a_boost_is_the_same_from_a_timeline_and_from_a_notification():
    """It is named by what was boosted and by whom."""
    told = notification("reblog", status=status("110"))
    assert mapped(BOOST)[0] == mapped(told)[0]
    assert mapped(BOOST)[0].object_id == "mastodon:social.example:110/reblog/2"
    assert mapped(BOOST)[1].reposts == "mastodon:social.example:110"
    grouped = {**GROUPS["notification_groups"][0], "type": "reblog", "sample_account_ids": ["2"]}
    assert mapped(GROUPS | {"notification_groups": [grouped]})[0] == mapped(BOOST)[0]


def test_a_favourite_reaches_its_status():
    """As a reaction of the account."""
    identity, draft = mapped(notification("favourite", status=status("110")))
    assert identity.object_id == "mastodon:social.example:110/reaction/2/favourite"
    assert (draft.kind, draft.in_reply_to) == ("reaction", "mastodon:social.example:110")


@pytest.mark.parametrize("body", [b'"110"', b"110"])
def test_a_deletion_tells_the_id_alone(body: bytes):
    """It is final, and meets the status under the same id."""
    (piece,) = NETWORK.explode(Delivery(body, HERE | {"event": "delete"}))
    identity = NETWORK.identify(piece.native, piece.context)
    assert (identity.object_id, identity.revision) == ("mastodon:social.example:110", DELETED)
    gone = {name: value for name, value in status().items() if name != "content"}
    assert mapped(gone | {"text": "kein Netz"})[0][:2] == identity[:2]


@pytest.mark.parametrize("source", ["", "a:b", "social example"])
def test_an_instance_is_a_host(source: str):
    """Two instances never share an id."""
    with pytest.raises(InvalidMessage):
        NETWORK.explode(Delivery(packed(status()), {"source": source}))


def count(tree: Any) -> tuple[int, int]:  # noqa: PLR0911 - a shape a line
    """Walk an answer: how many objects there are, and how many of them are statuses."""
    if isinstance(tree, list):
        return tuple(map(sum, zip(*map(count, tree), strict=True))) if tree else (0, 0)
    if not isinstance(tree, dict):
        return 1, 0
    if "notification_groups" in tree:
        statuses = {each["id"] for each in tree["statuses"]}
        objects = of_status = 0
        for group in tree["notification_groups"]:
            by = len(set(group["sample_account_ids"]))
            many = group["type"] in {"favourite", "reblog"} and group.get("status_id")
            objects += max(1, by) if many else 1
            of_status += group["type"] == "mention" and group.get("status_id") in statuses
        return objects, of_status
    if "hashtags" in tree:
        statuses = len(tree["statuses"])
        return statuses + len(tree["accounts"]) + len(tree["hashtags"]), statuses
    if "last_status" in tree:
        return 1, int(tree["last_status"] is not None)
    if "spoiler_text" in tree and "account" in tree and "visibility" in tree:
        return 1, int(tree["reblog"] is None)
    return 1, int(tree.get("type") == "mention" and tree.get("status") is not None)


def test_every_recorded_answer_ends_as_events_or_refusals(payloads):
    """309 answers of Mastodon.py's tests: n objects in, n out; every status is an event."""
    files = payloads("mastodon_responses")
    assert len(files) == 309
    fates: Counter[str] = Counter()
    for name, body in files.items():
        told = map_delivery(NETWORK, body, HERE)
        objects, statuses = count(json.loads(body))
        assert len(told) == objects, name
        of_status = {"post", "reply", "quote", "direct_message"}
        kinds = Counter(each.get("event", {}).get("kind") for each in told)
        assert sum(kinds[kind] for kind in of_status) == statuses, name
        assert all(each.get("sentence") or each["fate"] == "delivered" for each in told)
        fates.update(each["fate"] for each in told)
    assert fates["delivered"] > 400
