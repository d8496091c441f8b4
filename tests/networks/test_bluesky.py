"""Bluesky: real Jetstream frames and the protocol's own interoperability files."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs

from klingel.domain.identity import content_hash
from klingel.domain.media import is_to_fetch
from klingel.errors import ErrorType, InvalidMessage
from klingel_networks.bluesky import NETWORK
from klingel_networks.bluesky.syntax import (
    TID,
    at_datetime,
    is_at_uri,
    is_did,
    is_handle,
    is_language,
    record_uri,
    tid_microseconds,
)
from klingel_networks.contract import Delivery, NativeObject, Refused
from klingel_networks.mapped import map_delivery, raw_event

DID = "did:plc:" + "a" * 24
OTHER = "did:plc:" + "b" * 24
POST = "app.bsky.feed.post"
ROOT = f"at://{OTHER}/{POST}/3mpt7u2vlgs2c"
PARENT = f"at://{DID}/{POST}/3mpt7u2vlgs2d"
OWN = f"at://{DID}/{POST}/3mptbyp7lu223"
REV = "3mptbypnxeq2i"


def frame(collection: str, record: Any = None, operation: str = "create", /, **more: Any) -> bytes:
    """Return a frame of the first wire; `more` overrides the commit's fields."""
    commit: dict[str, Any] = {
        "rev": REV,
        "operation": operation,
        "collection": collection,
        "rkey": "3mptbyp7lu223",
    }
    if record is not None:
        commit["record"] = record
    told = {"did": DID, "time_us": 1783175888130414, "kind": "commit", "commit": commit | more}
    return json.dumps(told, ensure_ascii=False).encode()


def post(text: str = "Hallo", **more: Any) -> dict[str, Any]:
    """Return a post record."""
    return {"$type": POST, "createdAt": "2026-07-04T14:38:07.112Z", "text": text} | more


def mapped(body: bytes):
    """Return identity and draft of a frame that must map."""
    (piece,) = NETWORK.explode(Delivery(body))
    assert isinstance(piece, NativeObject), piece
    identity = NETWORK.identify(piece.native, piece.context)
    return identity, NETWORK.to_social_event(raw_event("bluesky", piece, identity))


def refused(body: bytes) -> InvalidMessage:
    """Return the reason of a frame that must not map, from whichever step gives it."""
    try:
        (piece,) = NETWORK.explode(Delivery(body))
    except InvalidMessage as error:
        return error
    if isinstance(piece, Refused):
        return piece.error
    identity = NETWORK.identify(piece.native, piece.context)
    with pytest.raises(InvalidMessage) as caught:
        NETWORK.to_social_event(raw_event("bluesky", piece, identity))
    return caught.value


def expected_of(told: dict[str, Any]) -> dict[str, Any]:
    """Say in other words than the mapping what a recorded commit means."""
    commit = told["commit"]
    record = commit.get("record", {})
    uri = f"bluesky:network:at://{told['did']}/{commit['collection']}/{commit['rkey']}"
    digits = "234567abcdefghijklmnopqrstuvwxyz"
    rev_ms = (
        int("".join(f"{digits.index(digit):05b}" for digit in commit["rev"]), 2) // 1024 // 1000
    )
    said: dict[str, Any] = {
        "object_id": uri,
        "revision": 0 if commit["operation"] == "create" else rev_ms,
        "kind": "unknown",
        "change": commit["operation"] + "d" if commit["operation"] != "delete" else "deleted",
        "author": told["did"],
        "text": None,
        "published_at": None,
        "conversation_id": None,
        "in_reply_to": None,
        "in_reply_to_author": None,
        "reposts": None,
        "langs": (),
        "hashtags": (),
        "links": (),
        "threading": "root",
    }
    if commit["collection"] not in {POST, "app.bsky.feed.like", "app.bsky.feed.repost"}:
        return said
    said["published_at"] = datetime.strptime(record["createdAt"], "%Y-%m-%dT%H:%M:%S.%f%z")
    if commit["collection"].endswith("like"):
        subject = record["subject"]["uri"]
        said |= {
            "kind": "reaction",
            "object_id": f"bluesky:network:{subject}/reaction/{told['did']}/like",
            "in_reply_to": f"bluesky:network:{subject}",
            "in_reply_to_author": subject.split("/")[2],
            "threading": "parent_only",
        }
    elif commit["collection"].endswith("repost"):
        said |= {"kind": "repost", "reposts": "bluesky:network:" + record["subject"]["uri"]}
    else:
        said |= {"kind": "post", "text": record["text"], "langs": tuple(record["langs"])}
        if "reply" in record:
            reply = record["reply"]
            said |= {
                "kind": "reply",
                "threading": "network",
                "conversation_id": "bluesky:network:" + reply["root"]["uri"],
                "in_reply_to": "bluesky:network:" + reply["parent"]["uri"],
                "in_reply_to_author": reply["parent"]["uri"].split("/")[2],
            }
        features = [each for facet in record.get("facets", []) for each in facet["features"]]
        said["hashtags"] = tuple(each["tag"].lower() for each in features if "tag" in each)
        said["links"] = tuple(each["uri"] for each in features if "uri" in each)
    return said


def test_every_recorded_frame_maps_to_the_event_it_means(payloads):
    """60 production frames: kind, author, text, facets, root, parent, language, revision."""
    (recording,) = payloads("bluesky_jetstream_sample").values()
    lines = recording.splitlines()
    kinds: dict[str, int] = {}
    for line in lines:
        identity, draft = mapped(line)
        wanted = expected_of(json.loads(line))
        told = {
            "object_id": identity.object_id,
            "revision": identity.revision,
            "author": draft.author.id,
        } | {
            name: getattr(draft, name)
            for name in wanted
            if hasattr(draft, name) and name != "author"
        }
        assert told == wanted
        assert (identity.kind, identity.change) == (draft.kind, draft.change)
        assert draft.visibility == "public"
        assert draft.target is None
        kinds[draft.kind] = kinds.get(draft.kind, 0) + 1
    assert kinds == {"reaction": 39, "repost": 7, "unknown": 6, "post": 4, "reply": 4}


def test_recorded_posts_read_as_written_down_by_hand(payloads):
    """Four of the recorded frames, expectations typed from the file."""
    (recording,) = payloads("bluesky_jetstream_sample").values()
    by_key = {json.loads(line)["commit"]["rkey"]: line for line in recording.splitlines()}

    _, card = mapped(by_key["3mptbyoeyc22k"])
    assert card.text == "www.youtube.com/watch?v=V5lD..."
    assert card.links == ("https://www.youtube.com/watch?v=V5lDo-jw8mA",)
    assert [(medium.kind, medium.url) for medium in card.media] == [
        ("link", "https://www.youtube.com/watch?v=V5lDo-jw8mA")
    ]
    assert card.media[0].alt == "What does America's 250th anniversary mean to Native Americans?"
    assert card.langs == ("en",)
    assert (
        card.url == "https://bsky.app/profile/did:plc:dclwtltrt2ggsryagfzk7dp4/post/3mptbyoeyc22k"
    )

    _, tags = mapped(by_key["3mptbypfywk2v"])
    assert tags.hashtags == ("howtotellaitoshutup", "indierebellion")
    assert tags.langs == ("de",)
    assert tags.published_at == datetime(2026, 7, 4, 14, 38, 7, 323000, tzinfo=UTC)

    identity, reply = mapped(by_key["3mptbyoumc22i"])
    thread = "bluesky:network:at://did:plc:u4lmvw4wwzaql3z5kcf3r7h4/app.bsky.feed.post/"
    assert identity.object_id == thread + "3mptbyoumc22i"
    assert reply.conversation_id == thread + "3mptbyospqk2i"
    assert reply.in_reply_to == thread + "3mptbyou7ls2i"
    assert reply.in_reply_to_author == "did:plc:u4lmvw4wwzaql3z5kcf3r7h4"

    identity, unfollow = mapped(by_key["3m3q3ut7jsm2m"])
    assert (identity.kind, identity.change) == ("unknown", "deleted")
    assert identity.revision == 1783175887062
    assert unfollow.changed_at == datetime(2026, 7, 4, 14, 38, 7, 62477, tzinfo=UTC)


def test_files_of_other_formats_are_refused_with_a_reason(payloads):
    """Relay sequences and syntax lists are no Jetstream frames: each says so, none crashes."""
    files = payloads("bluesky_misc")
    assert len(files) == 11
    for name, content in files.items():
        error = refused(content)
        assert str(error), name
        if name.endswith(".json"):
            assert error.error_type is ErrorType.MISSING_FIELD
            for message in json.loads(content)["messages"]:
                inner = json.dumps(message).encode()
                assert refused(inner).error_type is ErrorType.MISSING_FIELD
                assert str(refused(json.dumps(message["frame"]["body"]).encode()))
        else:
            assert error.error_type is ErrorType.MALFORMED_JSON


def lines_of(files: dict[str, bytes], name: str) -> list[str]:
    """Return the cases of an interoperability file."""
    (content,) = (each for path, each in files.items() if path.endswith(name))
    cases = [line for line in content.decode().split("\n") if line and not line.startswith("#")]
    assert cases
    return cases


def _accepts(parse: Any, value: str) -> bool:
    try:
        parse(value, "it")
    except InvalidMessage:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "valid", "accepts"),
    [
        ("aturi_syntax_invalid.txt", False, is_at_uri),
        ("datetime_parse_invalid.txt", False, lambda value: _accepts(at_datetime, value)),
        ("datetime_syntax_invalid.txt", False, lambda value: _accepts(at_datetime, value)),
        ("handle_syntax_valid.txt", True, is_handle),
        ("language_syntax_valid.txt", True, is_language),
        (
            "recordkey_syntax_invalid.txt",
            False,
            lambda value: _accepts(record_uri, f"at://{DID}/{POST}/{value}"),
        ),
        ("tid_syntax_valid.txt", True, lambda value: _accepts(tid_microseconds, value)),
    ],
)
def test_parsers_agree_with_the_interoperability_files(payloads, name, valid, accepts):
    """Every valid case is read, every invalid one refused."""
    wrong = [case for case in lines_of(payloads("bluesky_misc"), name) if accepts(case) != valid]
    assert wrong == []


@pytest.mark.parametrize(
    "value",
    [
        "",
        "3jzfcijpj2z2",
        "3jzfcijpj2z2aa",
        "3jzfcijpj2z2A",
        "k222222222222",
        "3jzfcijpj2z21",
        "3jzfcijpj2z2a\n",
    ],
)
def test_what_is_no_tid_is_refused(value):
    """Wrong length, wrong digits, a set high bit, a trailing line feed."""
    assert TID.fullmatch(value) is None
    with pytest.raises(InvalidMessage):
        tid_microseconds(value, "rev")


def test_a_tid_is_read_as_53_bits_of_microseconds():
    """A recorded rev lies in the second before the instance saw it."""
    microseconds = tid_microseconds("3mptbypluud2a", "rev")
    assert 0 < 1783175888085434 - microseconds < 2_000_000


@pytest.mark.parametrize(
    "value", ["did:plc:abc", "did:web:example.com", "did:web:localhost%3A1234", "did:m:v:"[:-1]]
)
def test_dids_are_recognised(value):
    """DIDs of both methods, percent-encoded ports too."""
    assert is_did(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "did:",
        "did:plc:",
        "DID:plc:a",
        "did:PLC:a",
        "did:plc:a/b",
        "did:plc:a b",
        "did:plc:" + "a" * 600,
    ],
)
def test_what_is_no_did_is_refused(value):
    """A frame without a DID has no author."""
    assert not is_did(value)
    assert refused(frame(POST, post()).replace(DID.encode(), value.encode())).path == "did"


def test_both_wires_tell_the_same_event():
    """The flat second wire in its envelope, or bare, is the nested first wire in other words."""
    first = frame(POST, post(reply={"root": {"uri": ROOT}, "parent": {"uri": PARENT}}))
    commit = json.loads(first)["commit"]
    payload = {
        "$type": "network.bsky.jetstream.subscribeEvents#commit",
        "seq": 42,
        "did": DID,
        "time": "2026-07-04T14:38:08.085434Z",
    } | commit
    enveloped = json.dumps({"$type": "message", "payload": payload}).encode()
    assert mapped(enveloped) == mapped(json.dumps(payload).encode()) == mapped(first)


def test_edits_and_deletions_carry_the_commits_time():
    """Creation 0; update and deletion the ms of the rev; all of one object."""
    created, _ = mapped(frame(POST, post()))
    updated, edit = mapped(frame(POST, post("neu"), "update"))
    deleted, gone = mapped(frame(POST, operation="delete"))
    assert created.object_id == updated.object_id == deleted.object_id == f"bluesky:network:{OWN}"
    assert [each.revision for each in (created, updated, deleted)] == [
        0,
        1783175887582,
        1783175887582,
    ]
    assert edit.changed_at == gone.changed_at
    assert int(gone.changed_at.timestamp() * 1000) == deleted.revision
    assert (gone.kind, gone.change, gone.text) == ("post", "deleted", None)
    assert gone.author.id == DID


@pytest.mark.parametrize("operation", ["update", "delete"])
def test_an_edit_without_a_time_is_refused(operation):
    """Without a rev no order can be told; a rev beyond 2109 fits no revision."""
    assert refused(frame(POST, post(), operation, rev=None)).path == "rev"
    assert refused(frame(POST, post(), operation, rev="3mptb")).path == "rev"
    late = refused(frame(POST, post(), operation, rev="7777777777777"))
    assert late.error_type is ErrorType.TIME_OUT_OF_RANGE


def test_a_like_is_a_reaction_to_its_subject():
    """Its object id is built from target, actor and emoji; liking again is the same object."""
    record = {"subject": {"uri": ROOT}, "createdAt": "2026-07-04T14:38:07Z"}
    like, draft = mapped(frame("app.bsky.feed.like", record))
    assert like.object_id == f"bluesky:network:{ROOT}/reaction/{DID}/like"
    assert (draft.kind, draft.in_reply_to) == ("reaction", f"bluesky:network:{ROOT}")
    again, _ = mapped(frame("app.bsky.feed.like", record, rkey="3mptbyp7lu224"))
    assert again == like
    unlike, _ = mapped(frame("app.bsky.feed.like", operation="delete"))
    assert unlike.object_id == f"bluesky:network:at://{DID}/app.bsky.feed.like/3mptbyp7lu223"
    assert (unlike.kind, unlike.change) == ("reaction", "deleted")


QUOTED = {"uri": ROOT, "cid": "bafyrei"}
IMAGES = {
    "images": [
        {"alt": "Störung", "image": {"ref": {"$link": "bafkrei1"}}},
        {"image": {"cid": "bafkrei2"}},
    ]
}


def test_quotes_and_media_are_read_from_every_embed():
    """record, recordWithMedia, images (today's and legacy blobs), video, external."""
    _, quote = mapped(frame(POST, post(embed={"record": QUOTED})))
    assert (quote.kind, quote.quotes) == ("quote", f"bluesky:network:{ROOT}")
    _, both = mapped(frame(POST, post(embed={"record": {"record": QUOTED}, "media": IMAGES})))
    assert (both.kind, both.quotes) == ("quote", f"bluesky:network:{ROOT}")
    assert [(medium.kind, medium.id, medium.alt) for medium in both.media] == [
        ("image", "bafkrei1", "Störung"),
        ("image", "bafkrei2", None),
    ]
    _, video = mapped(
        frame(POST, post(embed={"video": {"ref": {"$link": "bafkrei3"}}, "alt": "x"}))
    )
    assert [(medium.kind, medium.id) for medium in video.media] == [("video", "bafkrei3")]
    assert video.kind == "post"
    reply = {"root": {"uri": ROOT}, "parent": {"uri": PARENT}}
    _, answer = mapped(frame(POST, post(embed={"record": QUOTED}, reply=reply)))
    assert (answer.kind, answer.quotes) == ("reply", f"bluesky:network:{ROOT}")


def test_images_and_videos_have_public_addresses():
    """Images at the CDN, which knows every account; videos at the entryway, by account and blob."""
    images = {"images": [{"image": {"ref": {"$link": "bafkrei1"}}}]}
    _, draft = mapped(frame(POST, post(embed=images)))
    (image,) = draft.media
    assert image.url == f"https://cdn.bsky.app/img/feed_fullsize/plain/{DID}/bafkrei1@jpeg"
    assert is_to_fetch(image, by_id=False)
    _, draft = mapped(frame(POST, post(embed={"video": {"ref": {"$link": "bafkrei3"}}})))
    (video,) = draft.media
    assert video.url == (
        f"https://bsky.social/xrpc/com.atproto.sync.getBlob?did={DID}&cid=bafkrei3"
    )
    assert is_to_fetch(video, by_id=False)


@pytest.mark.parametrize("cid", ["", "bafk/../x", "bafk?x=1", "bafk@png", "bäfk", "b" * 513])
def test_what_is_no_blobs_id_makes_no_address(cid):
    """Nobody leads the worker elsewhere by what they call a blob."""
    images = {"images": [{"image": {"ref": {"$link": cid}}}]}
    _, draft = mapped(frame(POST, post(embed=images)))
    (image,) = draft.media
    assert image.url is None
    assert not is_to_fetch(image, by_id=False)


def test_an_address_changes_nothing_of_what_was_said():
    """A post is the same with and without it: read again, it is neither new nor changed."""
    _, draft = mapped(frame(POST, post(embed=IMAGES)))
    before = [structs.replace(medium, url=None) for medium in draft.media]
    assert [medium.url is None for medium in draft.media] == [False, False]
    assert content_hash(structs.replace(draft, media=tuple(before))) == content_hash(draft)


def test_an_embedded_feed_is_no_quote():
    """Feeds, lists and starter packs are embedded like posts; the kind stays post."""
    feed = f"at://{OTHER}/app.bsky.feed.generator/whats-hot"
    _, draft = mapped(frame(POST, post(embed={"record": {"uri": feed}})))
    assert (draft.kind, draft.quotes) == ("post", f"bluesky:network:{feed}")


def facet(text: str, part: str, **feature: str) -> dict[str, Any]:
    """Return a facet over `part` of `text`, counted in bytes."""
    start = text.encode().index(part.encode())
    kind = {"did": "mention", "uri": "link", "tag": "tag"}[next(iter(feature))]
    return {
        "index": {"byteStart": start, "byteEnd": start + len(part.encode())},
        "features": [{"$type": f"app.bsky.richtext.facet#{kind}"} | feature],
    }


def test_facets_count_bytes_of_utf8():
    """Behind emoji and umlauts, and up to the very end of the text, facets are still found."""
    text = "🦋 Grüße an @marke: läuft nicht #Störung siehe example.org/ä"
    facets = [
        facet(text, "@marke", did=OTHER),
        facet(text, "#Störung", tag="Störung"),
        facet(text, "example.org/ä", uri="https://example.org/ä"),
    ]
    _, draft = mapped(frame(POST, post(text, facets=facets, tags=["ÄRGER", "störung"])))
    assert draft.text == text
    assert draft.mentions == (OTHER,)
    assert draft.hashtags == ("ärger", "störung")
    assert draft.links == ("https://example.org/ä",)


@pytest.mark.parametrize(
    "index", [(1, 4), (0, 3), (0, 0), (4, 0), (-4, 4), (0, 5), (0, 10**30), (5, 9)]
)
def test_a_facet_that_marks_no_stretch_of_the_text_is_ignored(index):
    """Within a character, empty, backwards, negative, beyond the end: the post stands without it."""
    start, end = index
    features = [{"$type": "app.bsky.richtext.facet#mention", "did": OTHER}]
    facets = [{"index": {"byteStart": start, "byteEnd": end}, "features": features}]
    body = frame(POST, post("🦋", facets=facets))
    assert mapped(body)[1].mentions == ()


def test_features_that_are_no_web_link_or_did_are_left_out():
    """A script address, a handle in place of a DID, an unknown feature."""
    text = "hier"
    facets = [
        facet(text, "hier", uri="javascript:alert(1)"),
        facet(text, "hier", did="marke.test"),
        {"index": {"byteStart": 0, "byteEnd": 4}, "features": [{"$type": "x.y.z#new", "tag": "a"}]},
    ]
    _, draft = mapped(frame(POST, post(text, facets=facets)))
    assert (draft.links, draft.mentions, draft.hashtags) == ((), (), ())


@pytest.mark.parametrize(
    ("record", "error_type", "path"),
    [
        (post(createdAt="0001-01-01T00:00:00Z"), ErrorType.TIME_OUT_OF_RANGE, "record.createdAt"),
        (post(createdAt="9999-12-31T23:59:59Z"), ErrorType.TIME_OUT_OF_RANGE, "record.createdAt"),
        (post(createdAt="2026-07-04T14:38:07"), ErrorType.INVALID_FIELD, "record.createdAt"),
        (post(createdAt=7), ErrorType.WRONG_TYPE, "record.createdAt"),
        (post(text=None), ErrorType.WRONG_TYPE, "record.text"),
        (post(text="a\x00b"), ErrorType.INVALID_TEXT, "record.text"),
        (post(text="a" * 100_001), ErrorType.TOO_LARGE, "record.text"),
        (
            post(reply={"root": {"uri": "x"}, "parent": {"uri": ROOT}}),
            ErrorType.INVALID_FIELD,
            "record.reply.root.uri",
        ),
        (post(reply={"parent": {"uri": ROOT}}), ErrorType.MISSING_FIELD, "record.reply.root"),
        (
            post(embed={"record": {"uri": "at://x"}}),
            ErrorType.INVALID_FIELD,
            "record.embed.record.uri",
        ),
        (None, ErrorType.MISSING_FIELD, "record"),
        ([], ErrorType.WRONG_TYPE, "record"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_with_path_and_type(record, error_type, path):
    """What is wrong, and where."""
    error = refused(frame(POST, record))
    assert (error.error_type, error.path) == (error_type, path)


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        (b"", ErrorType.MALFORMED_JSON),
        (b"{", ErrorType.MALFORMED_JSON),
        (b'{"kind": "commit", "x": "\xff"}', ErrorType.MALFORMED_JSON),
        (b'{"kind": "commit", "x": "\\ud800"}', ErrorType.MALFORMED_JSON),
        (b"[]", ErrorType.WRONG_TYPE),
        (b"{}", ErrorType.MISSING_FIELD),
        (b'{"kind": "commit"}', ErrorType.MISSING_FIELD),
        (b'{"kind": "sneeze", "did": "did:plc:a"}', ErrorType.INVALID_FIELD),
        (b'{"$type": "error", "error": "ConsumerTooSlow"}', ErrorType.INVALID_FIELD),
        (
            b'{"$type": "message", "payload": {"$type": "#info", "name": "OutdatedCursor"}}',
            ErrorType.INVALID_FIELD,
        ),
        (b'{"a":' * 100_000, ErrorType.TOO_DEEP),
        (b"[" * 100_000, ErrorType.TOO_DEEP),
    ],
)
def test_what_is_no_frame_is_refused_with_a_reason(body, error_type):
    """Malformed, of another shape, a notice, nested 100,000 deep: never nothing, never a crash."""
    assert refused(body).error_type is error_type


@pytest.mark.parametrize("field", ["operation", "collection", "rkey"])
def test_a_commit_that_names_no_record_is_refused(field):
    """Operation, collection and record key must be there and be what they claim."""
    assert refused(frame(POST, post(), **{field: None})).path == field
    assert refused(frame(POST, post(), **{field: "/ /"})).path == field


def test_an_object_id_never_outgrows_its_bound():
    """A record key of 512 characters under a long DID is refused, not cut."""
    body = frame(POST, post(), rkey="k" * 512).replace(DID.encode(), b"did:web:" + b"d" * 450)
    assert refused(body).error_type is ErrorType.TOO_LARGE


def test_identity_and_account_events_are_objects_of_their_own():
    """Kind unknown, ids that no record can have, revisions from the relay's own time."""
    ids = set()
    for shape in ("identity", "account", "sync"):
        told = {
            "did": DID,
            "time_us": 1783175888130414,
            "kind": shape,
            shape: {"did": DID, "handle": "erika.test", "time": "2026-07-04T14:38:07.112Z"},
        }
        identity, draft = mapped(json.dumps(told).encode())
        assert (identity.kind, identity.change, identity.revision) == (
            "unknown",
            "updated",
            1783175887112,
        )
        assert draft.author.id == DID
        ids.add(identity.object_id)
        told[shape].pop("time")
        assert mapped(json.dumps(told).encode())[0].revision == 1783175888130
    assert ids == {f"bluesky:network:{DID}/{shape}" for shape in ("identity", "account", "sync")}
    assert not any(re.search("at://", each) for each in ids)


def test_the_map_helper_tells_fate_and_reason():
    """One plain dict an object: the event, or why not."""
    (told,) = map_delivery(NETWORK, frame(POST, post("Grüße")), {})
    assert told["fate"] == "delivered"
    assert told["event"]["text"] == "Grüße"
    assert told["event"]["event_id"] == f"bluesky:network:{OWN}@0"
    assert json.loads(json.dumps(told)) == told
    (told,) = map_delivery(NETWORK, b"{}", {})
    assert (told["fate"], told["reason"], told["path"]) == (
        "dead_lettered",
        "missing_field",
        "kind",
    )


def test_a_notification_is_the_object_of_the_stream_with_its_author_named():
    """Thread root, parent, text and revision are those of the frame; only the names are more."""
    record = post(
        "Und jetzt?",
        reply={"root": {"uri": ROOT, "cid": "c"}, "parent": {"uri": PARENT, "cid": "c"}},
    )
    identity, draft = mapped(frame(POST, record))
    told = {
        "uri": f"at://{DID}/{POST}/3mptbyp7lu223",
        "author": {"did": DID, "handle": "erika.test", "displayName": "Erika"},
        "reason": "reply",
        "record": record,
        "indexedAt": "2026-07-04T14:38:09Z",
    }
    context = {"via": "notification", "channel": OTHER}
    (piece,) = NETWORK.explode(Delivery(json.dumps(told).encode(), context))
    assert NETWORK.identify(piece.native, piece.context) == identity
    noticed = NETWORK.to_social_event(raw_event("bluesky", piece, identity))
    assert draft.conversation_id == f"bluesky:network:{ROOT}"
    assert draft.in_reply_to == f"bluesky:network:{PARENT}"
    assert (noticed.author.handle, noticed.author.name) == ("erika.test", "Erika")
    assert structs.replace(noticed, author=draft.author) == draft


def test_a_notification_under_another_name_is_refused():
    """Whose record it is says its address; another author is a contradiction."""
    told = {
        "uri": f"at://{DID}/{POST}/3mptbyp7lu223",
        "author": {"did": OTHER},
        "reason": "mention",
        "record": post(),
        "indexedAt": "2026-07-04T14:38:09Z",
    }
    context = {"via": "notification", "channel": OTHER}
    (said,) = map_delivery(NETWORK, json.dumps(told).encode(), context)
    assert (said["fate"], said["path"]) == ("dead_lettered", "author.did")
