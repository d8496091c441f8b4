"""Feeds: entries and their fields, hostile documents, the conformance suite."""

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.errors import InvalidMessage
from klingel_networks.conformance import NetworkConformance, Sample
from klingel_networks.contract import Delivery, NativeObject, Refused
from klingel_networks.feed import NETWORK
from klingel_networks.feed.mapping import NOTICED, SAME_AS, VANISHED, name_of
from klingel_networks.feed.memory import KNOWN_MAX, NO_LINK, Known, Memory, Seen, compare
from klingel_networks.mapped import map_delivery, raw_event

HERE = {"source": "blog", "url": "https://blog.example/feed"}


def rss(*items: str, root: str = '<rss version="2.0">') -> bytes:
    """Return a feed of items."""
    inner = "".join(f"<item>{item}</item>" for item in items)
    return f"{root}<channel><title>Blog</title>{inner}</channel></rss>".encode()


ATOM = """<?xml version="1.0"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:thr="http://purl.org/syndication/thread/1.0"
 xml:lang="de"><title>Blog</title>
<entry><id>urn:1</id><title>Störung</title><published>2026-07-04T14:38:07Z</published>
<updated>2026-07-04T15:00:00Z</updated><link href="/1"/><author><name>Anna</name></author>
<category term="Netz"/><content type="html">&lt;p&gt;Kein &lt;b&gt;Netz&lt;/b&gt;.&lt;/p&gt;</content></entry>
<entry><id>urn:2</id><title>Antwort</title><thr:in-reply-to ref="urn:1"/><summary>doch</summary>
<published>2026-07-04T15:38:07Z</published></entry></feed>""".encode()
JSON_FEED = json.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "Blog",
        "items": [
            {
                "id": "1",
                "url": "https://blog.example/1",
                "content_html": "<p>Kein Netz</p>",
                "date_published": "2026-07-04T14:38:07Z",
                "authors": [{"name": "Anna"}],
                "attachments": [{"url": "https://blog.example/a.mp3", "mime_type": "audio/mpeg"}],
            },
            {"title": 7},
        ],
    }
).encode()
ONE = rss("<guid>1</guid><title>Störung</title>")


COMMENT = b"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:thr="http://purl.org/syndication/thread/1.0">
<entry><id>2</id><thr:in-reply-to ref="1"/><title>doch</title></entry></feed>"""


class TestFeed(NetworkConformance):
    """The suite that every network passes."""

    network = "feed"
    samples = (
        Sample(
            ONE,
            HERE,
            again=(
                Delivery(rss("<guid>1</guid><title>Störung</title><link>/x</link>"), HERE),
                Delivery(ONE, {"source": "blog"}),
            ),
            edited=(
                Delivery(
                    rss("<guid>1</guid><title>Behoben</title>"), HERE | {NOTICED: "1783175900"}
                ),
            ),
        ),
        Sample(COMMENT, HERE),
        Sample(b'{"version":"https://jsonfeed.org/version/1.1","items":[{"id":"1"}]}', HERE),
    )


def mapped(body: bytes, **context: str):
    """Return identity and draft of each entry."""
    found = []
    for piece in NETWORK.explode(Delivery(body, HERE | context)):
        assert isinstance(piece, NativeObject), piece
        identity = NETWORK.identify(piece.native, piece.context)
        found.append((identity, NETWORK.to_social_event(raw_event("feed", piece, identity))))
    return found


def test_an_entry_says_who_when_and_what():
    """Cut out of its feed, with the language and the base of the document around it."""
    (first, draft), (second, answer) = mapped(ATOM)
    assert draft.text == "Störung\n\nKein Netz."
    assert (draft.author.name, draft.url) == ("Anna", "https://blog.example/1")
    assert draft.hashtags == ("netz",)
    assert draft.published_at == datetime(2026, 7, 4, 14, 38, 7, tzinfo=UTC)
    assert (first.change, draft.changed_at) == ("updated", datetime(2026, 7, 4, 15, tzinfo=UTC))
    assert (second.kind, answer.in_reply_to) == ("comment", first.object_id)


@pytest.mark.parametrize(
    ("body", "langs"),
    [
        (
            (
                b'<rss version="2.0"><channel><language>de-DE</language>'
                b"<item><guid>1</guid><title>a</title></item>"
                b"<item><guid>2</guid><title>b</title></item></channel></rss>"
            ),
            [("de-DE",), ("de-DE",)],
        ),
        (
            (
                b'<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="de"><entry><id>1</id>'
                b'<title>a</title><content xml:lang="en">the words</content></entry></feed>'
            ),
            [("en",)],
        ),
    ],
    ids=["feed", "words"],
)
def test_the_language_is_that_of_the_words_or_the_feeds(body: bytes, langs):
    """Told by the entry or by the feed around it, also once the entry is cut out."""
    assert [draft.langs for _, draft in mapped(body)] == langs


def test_a_plain_title_of_atom_keeps_its_characters():
    """By its type, which RSS does not know."""
    title = "<title%s>Das &lt;b&gt;-Tag</title>"
    feed = '<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>1</id>%s</entry></feed>'
    for kind, text in (("", "Das <b>-Tag"), (' type="html"', "Das -Tag")):
        ((_, draft),) = mapped((feed % (title % kind)).encode())
        assert draft.text == text


def test_an_entry_of_json_feed():
    """The same words from another format."""
    pieces = NETWORK.explode(Delivery(JSON_FEED, HERE))
    assert isinstance(pieces[1], Refused)
    identity = NETWORK.identify(pieces[0].native, pieces[0].context)
    draft = NETWORK.to_social_event(raw_event("feed", pieces[0], identity))
    assert (draft.text, draft.author.name) == ("Kein Netz", "Anna")
    assert [each.kind for each in draft.media] == ["audio"]


def test_the_bytes_of_an_entry_are_its_own():
    """Whatever stands around it; UTF-16 and broken markup keep the whole document."""
    pieces = NETWORK.explode(Delivery(ATOM, HERE))
    assert [piece.native.count(b"<entry>") for piece in pieces] == [1, 1]
    wide = ONE.decode().encode("utf-16")
    (piece,) = NETWORK.explode(Delivery(wide, HERE))
    assert NETWORK.identify(piece.native, piece.context) == mapped(ONE)[0][0]
    broken = ONE.replace(b"</channel>", b"")
    (piece,) = NETWORK.explode(Delivery(broken, HERE))
    assert NETWORK.identify(piece.native, piece.context) == mapped(ONE)[0][0]


def test_a_change_that_tells_no_time_has_the_time_at_which_it_was_noticed():
    """And an entry whose id changed has the id by which it is known."""
    ((first, _),) = mapped(ONE)
    key = first.object_id.rpartition(":")[2]
    ((renamed, draft),) = mapped(
        rss("<guid>9</guid><title>Behoben</title>"), **{NOTICED: "1783175900000", SAME_AS: key}
    )
    assert (renamed.object_id, renamed.revision) == (first.object_id, 1783175900000)
    assert (draft.change, draft.changed_at.year) == ("updated", 2026)


def test_a_push_and_a_poll_name_an_entry_alike():
    """By the feed's address, which the subscription proves."""
    topic = "https://blog.example/feed"
    pushed = {"subscription": "a" * 40, "topic": topic, "content_type": "application/rss+xml"}
    polled = {"source": name_of(topic), "url": topic}
    ids = []
    for context in (pushed, polled):
        (piece,) = NETWORK.explode(Delivery(ONE, context))
        ids.append(NETWORK.identify(piece.native, piece.context).object_id)
    assert ids[0] == ids[1]
    assert ids[0].startswith("feed:blog.example-")


def test_a_vanished_entry_is_a_deletion():
    """It is final, and meets its entry."""
    ((first, _),) = mapped(ONE)
    key = first.object_id.rpartition(":")[2]
    ((gone, draft),) = mapped(b'{"vanished":"x"}', **{VANISHED: key})
    assert (gone.object_id, gone.change) == (first.object_id, "deleted")
    assert draft.text is None


BOMB = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol" * 10}">' for n in range(10))


@pytest.mark.parametrize(
    "body",
    [
        f"<!DOCTYPE x [{BOMB}]><rss><channel><item><title>&l9;</title></item></channel></rss>",
        "<rss><channel>" + "<a>" * 200_000,
        "<rss><channel><item><title>" + "<" * 500_000,
        "<rss><channel><item "
        + " ".join(f'a{n}="x"' for n in range(50_000))
        + "/></channel></rss>",
        "/etc/passwd",
        "http://localhost/",
        "{}",
        '{"version":"x"}',
        "\x00" * 1000,
    ],
    ids=["entities", "depth", "tags", "attributes", "path", "address", "json", "version", "nul"],
)
def test_hostile_documents_are_refused_in_bounded_time(body: str):
    """Or read as what little they say; nothing is opened that they name."""
    try:
        pieces = NETWORK.explode(Delivery(body.encode(), HERE))
    except InvalidMessage:
        return
    assert len(pieces) <= 1


def test_an_outer_entity_stays_closed():
    """A file of this machine is nobody's entry."""
    told = (
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        + rss("<guid>1</guid><title>&a;</title>").decode()
    )
    ((_, draft),) = mapped(told.encode())
    assert "root" not in draft.text


# --- feedparser's files: what they state is in test_feed_expectations -----------------------------


def test_the_number_of_entries_is_that_of_the_document(payloads):
    """Counted by tags, where a document is well-formed and no entry stands in a comment."""
    counted = 0
    for name, body in payloads("feeds_feedparser").items():
        if "wellformed/atom10" not in name and "wellformed/rss" not in name:
            continue
        bare = re.sub(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>", b"", body, flags=re.DOTALL)
        tags = len(re.findall(rb"<(?:entry|item)[\s>]", bare))
        told = map_delivery(NETWORK, body, {"source": "feed"})
        if any("no feed" in each.get("sentence", "") for each in told):
            assert not tags, name
        else:
            assert len(told) == tags, name
            counted += 1
    assert counted > 200


# --- what is remembered ------------------------------------------------------------------------


def known(key: int, content: int = 0, link: int | None = None) -> Known:
    """Return an entry as it was told."""
    linked = NO_LINK if link is None else f"{link:08x}"
    return Known(f"{key:016x}", f"{content:08x}", linked)


def seen(at: int, key: int, content: int = 0, link: int | None = None) -> Seen:
    """Return an entry as it is told."""
    return Seen(at, *known(key, content, link))


def test_what_is_new_changed_renamed_and_gone():
    """Out of the midst is gone; off the end is nothing."""
    before = [known(1, link=1), known(2, link=2), known(3), known(4), known(5)]
    now = [seen(0, 9), seen(1, 7, link=1), seen(2, 8, content=1, link=2), seen(3, 4, content=1)]
    news = compare(before, now)
    assert news.new == [0]
    assert news.changed == [(2, f"{2:016x}"), (3, f"{4:016x}")]
    assert news.vanished == [f"{3:016x}"]


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=30, unique_by=lambda p: p[0]
    )
)
def test_a_feed_that_says_the_same_tells_nothing(entries: list[tuple[int, int]]):
    """Whatever it says; and its memory survives the cursor."""
    now = [seen(at, key, content) for at, (key, content) in enumerate(entries)]
    first = compare([], now)
    assert len(first.new) == len(now)
    memory = Memory("e", "m", first.known)
    assert Memory.decode(memory.encode()) == memory
    again = compare(memory.known, now)
    assert (again.new, again.changed, again.vanished) == ([], [], [])


def test_the_cursor_of_a_long_feed_fits():
    """4,096 characters hold the validators and the newest entries."""
    full = Memory('"' + "e" * 198 + '"', "m" * 200, tuple(known(n, n, n) for n in range(500)))
    assert len(full.encode()) <= 4096
    assert len(Memory.decode(full.encode()).known) == KNOWN_MAX
