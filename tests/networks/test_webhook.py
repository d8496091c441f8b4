"""The generic event: strict reading, identity, conversations, hostile text, and the contact form."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.domain.identity import DELETED_WITHOUT_REVISION
from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.contract import Delivery, NativeObject, Refused
from klingel_networks.generic import GenericEvent, parse_generic, read_generic
from klingel_networks.mapped import raw_event
from klingel_networks.webhook import NETWORK
from klingel_networks.webhook.form import email_hash, form_event

CRM = {"source": "crm"}
FORM = {"source": "site", "via": "form"}
KEY = b"0123456789abcdef"
NOW = datetime(2026, 7, 4, 14, 38, 8, tzinfo=UTC)


def event(**more: Any) -> dict[str, Any]:
    """Return a generic event of its required fields, changed by `more`."""
    return {
        "id": "1",
        "network": "forum",
        "author": {"id": "a"},
        "text": "Hallo",
        "published_at": "2026-07-04T14:38:08Z",
    } | more


def body(told: Any) -> bytes:
    """Return JSON bytes."""
    return json.dumps(told, ensure_ascii=False).encode()


def mapped(told: Any, context: dict[str, str] = CRM):
    """Return identity and draft of an event that must map."""
    (piece,) = NETWORK.explode(Delivery(told if isinstance(told, bytes) else body(told), context))
    assert isinstance(piece, NativeObject), piece
    identity = NETWORK.identify(piece.native, piece.context)
    return identity, NETWORK.to_social_event(raw_event("webhook", piece, identity))


def refused(told: Any) -> InvalidMessage:
    """Return the reason of an event that must not pass."""
    with pytest.raises(InvalidMessage) as caught:
        parse_generic(told if isinstance(told, bytes) else body(told))
    return caught.value


def test_every_field_reaches_the_draft():
    """A complete event, said in klingel's words."""
    identity, draft = mapped(
        event(
            id="4711",
            author={"id": "u", "handle": "erika", "name": "Erika M.", "followers": 42},
            kind="comment",
            change="updated",
            revision=3,
            conversation_id="4700",
            in_reply_to="4709",
            lang="de-AT",
            visibility="followers",
            direction="third_party",
            url="https://forum.example/4711",
            media=[{"kind": "image", "id": "m", "url": "https://forum.example/m", "alt": "Router"}],
            metrics={"likes": 3},
            target="marke",
        )
    )
    assert identity == ("webhook:crm:4711", 3, "comment", "updated")
    assert draft.mapping == "webhook/2"
    assert (draft.kind, draft.change) == ("comment", "updated")
    assert (draft.author.id, draft.author.handle) == ("crm:u", "erika")
    assert draft.author.name == "Erika M."
    assert draft.author.followers == 42
    assert draft.text == "Hallo"
    assert draft.published_at == NOW
    assert draft.conversation_id == "webhook:crm:4700"
    assert draft.in_reply_to == "webhook:crm:4709"
    assert draft.threading == "network"
    assert draft.langs == ("de-AT",)
    assert (draft.visibility, draft.direction) == ("followers", "third_party")
    assert draft.url == "https://forum.example/4711"
    assert [(each.kind, each.id, each.url, each.alt) for each in draft.media] == [
        ("image", "m", "https://forum.example/m", "Router")
    ]
    assert draft.metrics == {"likes": 3}
    assert (draft.target, draft.label) == ("crm:marke", "forum")


@pytest.mark.parametrize(
    ("more", "kind", "threading", "conversation"),
    [
        ({}, "post", "root", None),
        ({"in_reply_to": "0"}, "reply", "parent_only", None),
        ({"conversation_id": "c"}, "post", "network", "webhook:crm:c"),
        ({"conversation_id": "c", "in_reply_to": "0"}, "reply", "network", "webhook:crm:c"),
    ],
)
def test_conversations_follow_what_the_source_names(more, kind, threading, conversation):
    """Conversation named, only the parent named, neither."""
    _, draft = mapped(event(**more))
    assert (draft.kind, draft.threading, draft.conversation_id) == (kind, threading, conversation)


def test_revisions_default_by_change():
    """0 for a creation, 2^42-1 for a deletion; what is given is taken; an update must give it."""
    assert mapped(event())[0].revision == 0
    assert mapped(event(revision=9))[0].revision == 9
    gone, draft = mapped({"id": "1", "network": "forum", "change": "deleted"})
    assert (gone.revision, gone.change) == (DELETED_WITHOUT_REVISION, "deleted")
    assert (draft.text, draft.author, draft.published_at) == (None, None, None)
    assert mapped({"id": "1", "network": "f", "change": "deleted", "revision": 5})[0].revision == 5
    assert refused(event(change="updated")).path == "revision"
    assert refused(event(revision=DELETED_WITHOUT_REVISION)).path == "revision"


def test_an_edit_or_a_deletion_tells_when_it_happened():
    """Of a creation it says nothing; without it, nothing is guessed; an absurd time is refused."""
    later = "2026-07-04T15:00:00+02:00"
    gone = mapped({"id": "1", "network": "forum", "change": "deleted", "changed_at": later})[1]
    edited = mapped(event(change="updated", revision=2, changed_at=later))[1]
    assert gone.changed_at == edited.changed_at == datetime(2026, 7, 4, 13, tzinfo=UTC)
    assert mapped(event(changed_at=later))[1].changed_at is None
    assert mapped(event(change="updated", revision=2))[1].changed_at is None
    assert refused(event(changed_at="2026-07-04T15:00:00")).path == "changed_at"


def test_the_source_comes_from_the_context_alone():
    """The event's network is a label: two sources never share an object id."""
    assert mapped(event(network="crm2"), {"source": "a"})[0].object_id == "webhook:a:1"
    assert mapped(event(source="b"), {"source": "a"})[0].object_id == "webhook:a:1"
    for source in ("", "a:b", "a b", "\n", "é"):
        with pytest.raises(InvalidMessage):
            NETWORK.identify(body(event()), {"source": source})
    with pytest.raises(InvalidMessage):
        NETWORK.identify(body(event()), {})


def test_accounts_belong_to_the_authenticated_source():
    """Anna of two shops is two people, and no source speaks for another's brand."""
    told = event(author={"id": "anna"}, target="brand")
    _, one = mapped(told, {"source": "shop"})
    _, other = mapped(told, {"source": "shop2"})
    assert (one.author.id, one.target) == ("shop:anna", "shop:brand")
    assert (other.author.id, other.target) == ("shop2:anna", "shop2:brand")
    # what a sender claims to be cannot reach into another source, nor into a form of its name
    _, form = mapped(event(author={"id": "email:1"}), {"source": "shop", "via": "form"})
    assert form.author.id == "form/shop:email:1"
    for claimed in ("shop:anna", "form/shop:email:1", "hop:anna"):
        _, forged = mapped(event(author={"id": claimed}), {"source": "s"})
        assert forged.author.id not in {one.author.id, form.author.id}


def test_a_batch_judges_every_element_alone():
    """An array gives as many pieces as it has elements, in order, cut from its bytes."""
    told = b" [ " + body(event()) + b' , {"id":"2","id":"3"}, 7, ' + body(event(id="4")) + b"]\n"
    pieces = NETWORK.explode(Delivery(told, CRM))
    assert [type(piece) for piece in pieces] == [NativeObject, Refused, Refused, NativeObject]
    assert [bytes(piece.native) for piece in pieces[:3]] == [
        body(event()),
        b'{"id":"2","id":"3"}',
        b"7",
    ]
    assert pieces[1].error.error_type is ErrorType.DUPLICATE_KEYS
    assert pieces[2].error.error_type is ErrorType.WRONG_TYPE


@pytest.mark.parametrize(
    ("told", "error_type", "path"),
    [
        (b"", ErrorType.MALFORMED_JSON, ""),
        (b"{", ErrorType.MALFORMED_JSON, ""),
        (b"\xff\xfe", ErrorType.MALFORMED_JSON, ""),
        (b"\xef\xbb\xbf{}", ErrorType.MALFORMED_JSON, ""),
        (b'{"id": NaN}', ErrorType.MALFORMED_JSON, ""),
        (b'{"id": Infinity}', ErrorType.MALFORMED_JSON, ""),
        (b"{} {}", ErrorType.MALFORMED_JSON, ""),
        (b"null", ErrorType.WRONG_TYPE, ""),
        (b"[]", ErrorType.WRONG_TYPE, ""),
        (b"{}", ErrorType.MISSING_FIELD, "id"),
        (b'{"id": "a", "id": "b"}', ErrorType.DUPLICATE_KEYS, ""),
        (b'{"author": {"id": "a", "id": "b"}}', ErrorType.DUPLICATE_KEYS, "author"),
        (b'{"media": [{}, {"url": 1, "url": 2}]}', ErrorType.DUPLICATE_KEYS, "media[1]"),
        (b'{"erika@example.org": {"x": 1, "x": 2}}', ErrorType.DUPLICATE_KEYS, "(unknown field)"),
        (b'{"a":' * 100_000, ErrorType.TOO_DEEP, ""),
        (b'{"x":' + b"[" * 64 + b"]" * 64 + b"}", ErrorType.TOO_DEEP, ""),
        (b'{"text": "a\\u0000b"}', ErrorType.INVALID_TEXT, "text"),
        (b'{"text": "\\ud800"}', ErrorType.INVALID_TEXT, "text"),
        (b'{"text": "\\uDC00x"}', ErrorType.INVALID_TEXT, "text"),
        (b'{"author": {"name": "\\udbff\\u0041"}}', ErrorType.INVALID_TEXT, "author.name"),
        (b'{"\\ud800": 1}', ErrorType.INVALID_TEXT, "(unknown field)"),
        (b'{"text": "\xed\xa0\x80"}', ErrorType.MALFORMED_JSON, ""),
        (b'{"id": ' + b"1" * 5000 + b"}", ErrorType.INVALID_FIELD, ""),
        (event(id=1), ErrorType.WRONG_TYPE, "id"),
        (event(id=None), ErrorType.WRONG_TYPE, "id"),
        (event(id=""), ErrorType.INVALID_FIELD, "id"),
        (event(id="a\n"), ErrorType.INVALID_FIELD, "id"),
        (event(id="a\x1fb"), ErrorType.INVALID_FIELD, "id"),
        (event(id="a\x85b"), ErrorType.INVALID_FIELD, "id"),
        (event(id="é" * 513), ErrorType.TOO_LARGE, "id"),
        (event(id="é" * 385), ErrorType.TOO_LARGE, "id"),
        (event(in_reply_to="🦋" * 193), ErrorType.TOO_LARGE, "in_reply_to"),
        (event(author=None), ErrorType.MISSING_FIELD, "author.id"),
        (event(author={}), ErrorType.MISSING_FIELD, "author.id"),
        (event(author="erika"), ErrorType.WRONG_TYPE, "author"),
        (event(author={"id": "a", "followers": -1}), ErrorType.INVALID_FIELD, "author.followers"),
        (
            event(author={"id": "a", "followers": 2**53}),
            ErrorType.INVALID_FIELD,
            "author.followers",
        ),
        (event(author={"id": "a", "followers": 1.5}), ErrorType.WRONG_TYPE, "author.followers"),
        (event(text=None), ErrorType.MISSING_FIELD, "text"),
        (event(text=["a"]), ErrorType.WRONG_TYPE, "text"),
        (event(text="a" * 100_001), ErrorType.TOO_LARGE, "text"),
        (event(published_at=None), ErrorType.MISSING_FIELD, "published_at"),
        (event(published_at=1783175888), ErrorType.WRONG_TYPE, "published_at"),
        (event(published_at="0001-01-01T00:00:00Z"), ErrorType.TIME_OUT_OF_RANGE, "published_at"),
        (event(published_at="9999-12-31T23:59:59Z"), ErrorType.TIME_OUT_OF_RANGE, "published_at"),
        (
            event(published_at="1970-01-01T00:00:00+00:01"),
            ErrorType.TIME_OUT_OF_RANGE,
            "published_at",
        ),
        (event(published_at="2200-01-01T00:00:00Z"), ErrorType.TIME_OUT_OF_RANGE, "published_at"),
        (event(published_at="2026-07-04T14:38:08"), ErrorType.INVALID_FIELD, "published_at"),
        (event(published_at="2026-07-04 14:38:08Z"), ErrorType.INVALID_FIELD, "published_at"),
        (event(published_at="2026-07-04T14:38:08+0200"), ErrorType.INVALID_FIELD, "published_at"),
        (event(published_at="2026-02-29T00:00:00Z"), ErrorType.INVALID_FIELD, "published_at"),
        (event(published_at="٢٠٢٦-07-04T14:38:08Z"), ErrorType.INVALID_FIELD, "published_at"),
        (event(published_at="2026-07-04"), ErrorType.INVALID_FIELD, "published_at"),
        (event(kind="tweet"), ErrorType.INVALID_FIELD, "kind"),
        (event(change="completed"), ErrorType.INVALID_FIELD, "change"),
        (event(revision=-1), ErrorType.INVALID_FIELD, "revision"),
        (event(revision=2**42), ErrorType.INVALID_FIELD, "revision"),
        (event(revision=10**400), ErrorType.INVALID_FIELD, "revision"),
        (event(revision="3"), ErrorType.WRONG_TYPE, "revision"),
        (event(lang="de DE"), ErrorType.INVALID_FIELD, "lang"),
        (event(visibility="secret"), ErrorType.INVALID_FIELD, "visibility"),
        (event(direction="up"), ErrorType.INVALID_FIELD, "direction"),
        (event(url="javascript:alert(1)"), ErrorType.INVALID_FIELD, "url"),
        (event(media=[{"kind": "gif"}]), ErrorType.INVALID_FIELD, "media[0].kind"),
        (event(media=[{"kind": "image"}] * 101), ErrorType.TOO_LARGE, "media"),
        (event(metrics={"Likes": 1}), ErrorType.INVALID_FIELD, "metrics"),
        (event(metrics={"likes": -1}), ErrorType.INVALID_FIELD, "metrics[...]"),
        (event(network=""), ErrorType.INVALID_FIELD, "network"),
        (event(network="n" * 61), ErrorType.TOO_LARGE, "network"),
    ],
)
def test_what_is_refused_says_what_and_where(told, error_type, path):
    """One sentence with the path, of the right type; the content never shows."""
    error = refused(told)
    assert (error.error_type, error.path) == (error_type, path)
    assert str(error)
    assert "erika" not in str(error)
    assert path in str(error)


def test_sentences_are_clear():
    """Three of them as a sender reads them."""
    assert str(refused(event(author={"id": 5}))) == "author.id: expected `string`, got `integer`"
    assert str(refused(event(visibility="x"))) == (
        "visibility: must be one of public, unlisted, followers, private"
    )
    assert str(refused(b'{"id": "a" "b"}')) == (
        "the body is not valid JSON: Expecting ',' delimiter at line 1, column 12"
    )


def test_what_is_odd_but_valid_passes():
    """A null is absent, unknown fields are ignored, odd times within 1970..2199 are accepted."""
    told = event(kind=None, media=None, url=None, more={"x": [1]}, text="")
    assert mapped(told)[1].kind == "post"
    for moment in (
        "1970-01-01T00:00:00Z",
        "2199-12-31T23:59:59.999999999Z",
        "1999-12-31t23:59:59z",
    ):
        assert mapped(event(published_at=moment))[1].published_at.tzinfo is UTC
    assert mapped(event(id="é" * 384, text="a" * 100_000))
    assert mapped(event(id="a" * 512))
    escaped = b'{"id":"1","network":"n","author":{"id":"a"},"text":"\\ud83e\\udd8b \\\\u0000",'
    assert mapped(escaped + b'"published_at":"2026-07-04T14:38:08Z"}')[1].text == "🦋 \\u0000"
    assert mapped(b'{"x":' + b"[" * 63 + b"]" * 63 + b"," + body(event())[1:])


def test_deliveries_that_cannot_be_read_at_all_are_refused_as_a_whole():
    """Not JSON, an empty batch, too many objects."""
    for told, error_type in (
        (b"[{}", ErrorType.MALFORMED_JSON),
        (b"nonsense", ErrorType.MALFORMED_JSON),
        (b"[]", ErrorType.MISSING_FIELD),
        (b"[" + b",".join([b"1"] * 1001) + b"]", ErrorType.TOO_LARGE),
        (b"[" * 100_000, ErrorType.TOO_DEEP),
    ):
        with pytest.raises(InvalidMessage) as caught:
            NETWORK.explode(Delivery(told, CRM))
        assert caught.value.error_type is error_type


def test_the_depth_check_stays_linear_on_hostile_quotes():
    """A megabyte of escaped quotes with an open end is decided without a second look."""
    hostile = b'{"a":"' + b'\\"' * 500_000 + b"[" * 100 + b"\\"
    with pytest.raises(InvalidMessage):
        NETWORK.explode(Delivery(hostile, CRM))


@pytest.mark.exhaustive
def test_all_text_sets_pass_unaltered(texts):
    """Every real and hostile text comes out as it went in."""
    count = 0
    for name, text in texts():
        said = text[:100_000]
        draft = mapped(event(text=said))[1] if "\x00" not in said else None
        assert draft is None or draft.text == said, name
        count += 1
    assert count > 100_000


def test_naughty_strings_pass_unaltered_in_text_name_and_handle(payloads):
    """The big list of naughty strings, escaped or not, in every field of free text."""
    (listed,) = (
        content
        for name, content in payloads("text_conformance").items()
        if name.endswith("blns.json")
    )
    strings = json.loads(listed)
    assert len(strings) > 500
    for naughty in strings:
        told = event(
            text=naughty, author={"id": "a", "name": naughty[:640], "handle": naughty[:256]}
        )
        for ascii_only in (True, False):
            native = json.dumps(told, ensure_ascii=ascii_only).encode()
            _, draft = mapped(native)
            assert draft.text == naughty
            assert draft.author.name == naughty[:640]
            assert draft.author.handle == naughty[:256]


@given(text=st.text())
@settings(derandomize=True, max_examples=200, deadline=None, database=None)
def test_any_text_comes_out_as_it_went_in_or_is_refused(text):
    """Only NUL is refused; hypothesis texts hold no lone surrogates."""
    if "\x00" in text:
        assert refused(event(text=text)).error_type is ErrorType.INVALID_TEXT
    else:
        assert mapped(event(text=text))[1].text == text


def test_the_lenient_reader_refuses_what_would_break_the_topic():
    """Behind the edge NUL and lone surrogates still find no way into a social event."""
    for told in (b"\\u0000", b"\\ud800"):
        with pytest.raises(InvalidMessage):
            read_generic(body(event(text="@")).replace(b"@", told))


def test_a_form_becomes_a_generic_event():
    """Private e-mail with label form; the address is hashed in the id, readable in the handle."""
    fields = {
        "name": "Erika Müller",
        "email": "Erika@Example.org",
        "subject": "Rechnung",
        "message": "Zeile 1\nZeile 2",
        "page": "https://marke.example/kontakt",
        "csrf": "ignored",
    }
    native = form_event(fields, idempotency_key="k-1", key=KEY, received_at=NOW)
    identity, draft = mapped(native, FORM)
    assert identity == ("form:site:k-1", 0, "email", "created")
    assert draft.text == "Rechnung\n\nZeile 1\nZeile 2"
    assert (draft.visibility, draft.direction, draft.label) == ("private", "inbound", "form")
    assert draft.author.id.endswith(":" + email_hash("erika@example.org ", KEY))
    assert "erika" not in draft.author.id.lower()
    assert (draft.author.handle, draft.author.name) == ("Erika@Example.org", "Erika Müller")
    assert draft.url == "https://marke.example/kontakt"
    assert draft.published_at == NOW
    assert form_event(fields, idempotency_key="k-1", key=KEY, received_at=NOW) == native
    assert email_hash("erika@example.org", KEY) != email_hash("erika@example.org", KEY[::-1])
    assert isinstance(parse_generic(native), GenericEvent)


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"email": ""}, "email"),
        ({"email": "erika"}, "email"),
        ({"email": "a@b@c"}, "email"),
        ({"email": "a\n@b.de"}, "email"),
        ({"email": "a" * 300 + "@b.de"}, "email"),
        ({"message": " \n "}, "message"),
        ({"message": "a\x00"}, "message"),
        ({"message": "\ud800"}, "message"),
        ({"message": "a" * 100_001}, "message"),
        ({"subject": "a\r\nBcc: x"}, "subject"),
        ({"name": "a" * 641}, "name"),
        ({"page": "javascript:alert(1)"}, "page"),
    ],
)
def test_a_form_that_cannot_be_taken_names_the_field(more, path):
    """One clear sentence, naming the field, without its content."""
    fields = {"email": "erika@example.org", "message": "Hilfe"} | more
    with pytest.raises(InvalidMessage) as caught:
        form_event(fields, idempotency_key="k", key=KEY, received_at=NOW)
    assert caught.value.path == path
    assert path in str(caught.value)
    assert "erika" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "a\n", "k" * 513, "\ud800"])
def test_a_form_needs_a_key_that_can_be_an_id(key):
    """Empty, with control characters, too long, not encodable: refused by its own name."""
    fields = {"email": "erika@example.org", "message": "Hilfe"}
    with pytest.raises(InvalidMessage) as caught:
        form_event(fields, idempotency_key=key, key=KEY, received_at=NOW)
    assert caught.value.path == "idempotency_key"
    with pytest.raises(ValueError, match="aware"):
        form_event(fields, idempotency_key="k", key=KEY, received_at=NOW.replace(tzinfo=None))


def test_one_invalid_object_is_refused_not_lost():
    """K4 for a delivery of one: readable but invalid is one refused object."""
    for told in (b'{"id":1}', b'{"id":"a","id":"b"}', b'{"text":"\\u0000"}', b"7"):
        (piece,) = NETWORK.explode(Delivery(b" " + told + b"\n", CRM))
        assert isinstance(piece, Refused)
        assert piece.native == told


def test_a_short_key_hashes_no_address():
    """A guessable key is a mistake of ours, found at once."""
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        email_hash("a@b.de", b"short")
