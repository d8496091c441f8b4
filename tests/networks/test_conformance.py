"""Every network passes the conformance suite; a network that lies does not."""

import hashlib
import json
from dataclasses import replace
from importlib.resources import files
from typing import Any, NamedTuple

import pytest

from klingel.domain.draft import SocialDraft
from klingel.errors import ConfigurationError, ErrorType, InvalidMessage
from klingel_networks.conformance import NetworkConformance, Sample
from klingel_networks.contract import (
    Delivery,
    Endpoint,
    Family,
    Identity,
    NativeObject,
    Network,
    Refused,
)
from klingel_networks.registry import NetworkRegistry, installed

CRM = {"source": "crm"}
KINDS = (
    "post",
    "reply",
    "repost",
    "quote",
    "comment",
    "direct_message",
    "email",
    "review",
    "reaction",
    "story",
    "chat",
    "unknown",
)


def generic(**more: Any) -> dict[str, Any]:
    """Return a complete generic event, changed by `more`."""
    return {
        "id": "4711",
        "network": "forum",
        "author": {"id": "u-17", "handle": "erika", "name": "Erika M.", "followers": 42},
        "text": "Seit gestern kein Netz 😡 — was ist da los?\n\tGrüße",
        "published_at": "2026-07-04T14:38:08.5+02:00",
        "conversation_id": "4700",
        "in_reply_to": "4709",
        "lang": "de",
        "visibility": "public",
        "direction": "inbound",
        "url": "https://forum.example/4711",
        "media": [
            {"kind": "image", "id": "m1", "url": "https://forum.example/m1", "alt": "Router"}
        ],
        "metrics": {"likes": 3},
        "target": "brand-account",
    } | more


def least(**more: Any) -> dict[str, Any]:
    """Return a generic event of nothing but its required fields, changed by `more`."""
    return {
        "id": "1",
        "network": "n",
        "author": {"id": "a"},
        "text": "",
        "published_at": "2026-07-04T14:38:08Z",
    } | more


def body(event: Any) -> bytes:
    """Return JSON bytes."""
    return json.dumps(event, ensure_ascii=False).encode()


GENERIC_SAMPLES = (
    Sample(
        body(generic()),
        CRM,
        again=(Delivery(body(generic(metrics={"likes": 9})), CRM | {"request": "2"}),),
        edited=(
            Delivery(body(generic(change="updated", revision=1, text="nun geht es")), CRM),
            Delivery(body({"id": "4711", "network": "forum", "change": "deleted"}), CRM),
        ),
    ),
    Sample(body([least(id=kind, kind=kind) for kind in KINDS]), CRM, objects=len(KINDS)),
    Sample(body([least(), least(id=7), least(id="b", text=None)]), CRM, 3, refused=2),
    Sample(body(least()), CRM),
)

DID = "did:plc:" + "a" * 24
TARGET = "did:plc:" + "b" * 24
ROOT = f"at://{TARGET}/app.bsky.feed.post/3mpt7u2vlgs2c"


def frame(
    collection: str, record: Any, operation: str = "create", rev: str = "3mptbypnxeq2i"
) -> bytes:
    """Return a frame of the first wire."""
    commit = {"rev": rev, "operation": operation, "collection": collection, "rkey": "3mptbyp7lu223"}
    if record is not None:
        commit |= {"record": {"$type": collection} | record, "cid": "bafyrei"}
    return body({"did": DID, "time_us": 1783175888130414, "kind": "commit", "commit": commit})


def second_wire(first: bytes) -> Delivery:
    """Return the same commit as the second wire sends it, seen by another instance, later."""
    told = json.loads(first)
    payload = {
        "$type": "network.bsky.jetstream.subscribeEvents#commit",
        "seq": 99,
        "did": told["did"],
        "time": "2026-07-05T00:00:00.000001Z",
    } | told["commit"]
    return Delivery(body({"$type": "message", "payload": payload}), {"seq": "99"})


def post(**more: Any) -> dict[str, Any]:
    """Return a post record."""
    return {
        "createdAt": "2026-07-04T14:38:07.112Z",
        "langs": ["de"],
        "text": "Hallo @marke 🦋",
    } | more


REF = {"uri": ROOT, "cid": "bafyrei"}
POST = frame("app.bsky.feed.post", post())
REPLY = frame("app.bsky.feed.post", post(reply={"root": REF, "parent": REF}))
QUOTE = frame("app.bsky.feed.post", post(embed={"$type": "app.bsky.embed.record", "record": REF}))
LIKE = frame("app.bsky.feed.like", {"subject": REF, "createdAt": "2026-07-04T14:38:07Z"})
REPOST = frame("app.bsky.feed.repost", {"subject": REF, "createdAt": "2026-07-04T14:38:07Z"})
FOLLOW = frame("app.bsky.graph.follow", {"subject": TARGET})
IDENTITY = body(
    {
        "did": DID,
        "time_us": 1783175888130414,
        "kind": "identity",
        "identity": {
            "did": DID,
            "handle": "erika.test",
            "seq": 5,
            "time": "2026-07-04T14:38:07.112Z",
        },
    }
)
TOLD = {"via": "notification", "channel": TARGET}
CHAT = {"via": "chat", "channel": TARGET}


def notified(first: bytes, reason: str) -> Delivery:
    """Return the same record as the account's notifications tell of it."""
    told = json.loads(first)
    commit = told["commit"]
    notification = {
        "uri": f"at://{told['did']}/{commit['collection']}/{commit['rkey']}",
        "cid": "bafyrei",
        "author": {"did": told["did"], "handle": "erika.test", "displayName": "Erika"},
        "reason": reason,
        "record": commit["record"],
        "isRead": False,
        "indexedAt": "2026-07-04T14:38:09.000Z",
    }
    return Delivery(body(notification), TOLD)


def logged(shape: str, **more: Any) -> bytes:
    """Return an entry of the log of direct messages."""
    return body(
        {
            "$type": f"chat.bsky.convo.defs#log{shape}",
            "rev": "2222223gg456s",
            "convoId": "3kt4jgm5nc32q",
        }
        | more
    )


SAID = {
    "$type": "chat.bsky.convo.defs#messageView",
    "id": "3kt4jgm5nc32r",
    "rev": "2222223gg456s",
    "text": "Wo bleibt der Techniker? 🦋",
    "sender": {"did": DID},
    "sentAt": "2026-07-04T14:38:07.112Z",
}
GONE = {name: SAID[name] for name in ("id", "rev", "sender", "sentAt")} | {
    "$type": "chat.bsky.convo.defs#deletedMessageView"
}
PUT = {"value": "❤️", "sender": {"did": DID}, "createdAt": "2026-07-04T14:39:07.112Z"}
REACTED = logged("AddReaction", message=SAID, reaction=PUT)
BLUESKY_SAMPLES = (
    Sample(
        logged("CreateMessage", message=SAID, relatedProfiles=[{"did": DID, "handle": "e.test"}]),
        CHAT,
        again=(Delivery(body(SAID), CHAT | {"convo": "3kt4jgm5nc32q", "other": DID}),),
        edited=(Delivery(logged("DeleteMessage", message=GONE), CHAT),),
    ),
    Sample(
        REACTED,
        CHAT,
        edited=(Delivery(logged("RemoveReaction", message=SAID, reaction=PUT), CHAT),),
    ),
    Sample(
        b'{"cursor":"2222223gg456t","logs":['
        + b",".join(
            (REACTED, logged("ReadConvo"), logged("AddReaction", message=SAID, reaction={}), b"1")
        )
        + b"]}",
        CHAT,
        objects=4,
        refused=2,
    ),
    Sample(
        POST,
        again=(second_wire(POST),),
        edited=(
            Delivery(frame("app.bsky.feed.post", post(text="neu"), "update")),
            Delivery(frame("app.bsky.feed.post", None, "delete")),
        ),
    ),
    Sample(REPLY, again=(second_wire(REPLY), notified(REPLY, "reply"))),
    Sample(QUOTE, again=(second_wire(QUOTE), notified(QUOTE, "quote"))),
    Sample(LIKE, {"seq": "5"}, again=(second_wire(LIKE), notified(LIKE, "like"))),
    Sample(REPOST, again=(second_wire(REPOST),)),
    Sample(FOLLOW, again=(second_wire(FOLLOW),)),
    Sample(IDENTITY),
    Sample(body({"did": DID, "kind": "account", "time_us": 1}), refused=1),
)


class TestWebhook(NetworkConformance):
    """The generic webhook."""

    network = "webhook"
    samples = GENERIC_SAMPLES


class TestForm(NetworkConformance):
    """What the contact form sends through the webhook's mapping."""

    network = "webhook"
    samples = tuple(
        replace(each, context={"source": "site", "via": "form"}, again=(), edited=())
        for each in GENERIC_SAMPLES
    )


class TestReplay(NetworkConformance):
    """Recorded generic events."""

    network = "replay"
    samples = GENERIC_SAMPLES


class TestReplayOfBluesky(NetworkConformance):
    """Native deliveries of Bluesky through replay, generic events beside them."""

    network = "replay"
    samples = (
        *(
            replace(each, context=dict(each.context) | {"network": "bluesky"}, again=(), edited=())
            for each in BLUESKY_SAMPLES
        ),
        *GENERIC_SAMPLES,
    )


class TestBluesky(NetworkConformance):
    """Jetstream frames of both wires."""

    network = "bluesky"
    samples = BLUESKY_SAMPLES


class _Lying(NetworkConformance):
    """The suite over a network that is broken in one way."""

    network = "webhook"
    samples = GENERIC_SAMPLES
    broken: Network

    @property
    def pure(self) -> Network:
        return self.broken


def _lying(**half: Any) -> _Lying:
    suite = _Lying()
    suite.broken = replace(installed().network("webhook"), **half)
    return suite


def _counting(native: bytes, context: Any, seen: list[int] = []) -> Identity:  # noqa: B006 - the fault under test: identity that depends on how often it is asked
    seen.append(1)
    identity = installed().network("webhook").identify(native, context)
    return identity._replace(revision=len(seen))


def _raising(_: Delivery) -> Any:
    raise LookupError


@pytest.mark.parametrize(
    ("half", "check"),
    [
        (
            {"explode": lambda delivery: installed().network("webhook").explode(delivery)[:1]},
            "test_n_objects_in_are_n_out",
        ),
        ({"identify": _counting}, "test_identity_and_mapping_are_the_same_every_time"),
        (
            {"explode": _raising},
            "test_garbage_is_refused_and_nothing_else",
        ),
        (
            {"explode": _raising},
            "test_damaged_bytes_are_refused_or_mapped",
        ),
    ],
)
def test_the_suite_catches_a_network_that_breaks_the_contract(half, check):
    """A lost object, an unstable identity, a foreign exception: the suite fails on each."""
    with pytest.raises((AssertionError, LookupError)):
        getattr(_lying(**half), check)()


def test_the_suite_catches_a_refusal_that_repeats_the_text():
    """A sentence that echoes what was sent fails the suite."""

    def explode(delivery: Delivery) -> Any:
        raise InvalidMessage(ErrorType.INVALID_FIELD, f"odd: {delivery.body[:400]!r}")

    with pytest.raises(AssertionError):
        _lying(explode=explode).test_no_refusal_repeats_what_was_sent()


MAIL = (
    b"Message-ID: <1@shop.example>\r\nFrom: Erika <erika@mail.example>\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nMein Paket fehlt.\r\n"
)


def _header(native: bytes, name: bytes) -> str:
    for line in native.split(b"\r\n\r\n")[0].split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("ascii", "replace")[:200]
    raise InvalidMessage(ErrorType.MALFORMED, "the mail has no such header", path=name.decode())


def _mail_identity(native: bytes, _: Any) -> Identity:
    named = hashlib.sha256(_header(native, b"message-id").encode()).hexdigest()
    return Identity(f"mail:inbox:{named}", 0, "email", "created")


MAILS = Network(
    name="webhook",
    explode=lambda delivery: [NativeObject(delivery.body, delivery.context)],
    identify=_mail_identity,
    to_social_event=lambda raw: SocialDraft(
        mapping="mail/1",
        kind="email",
        change="created",
        text=bytes(raw.native).partition(b"\r\n\r\n")[2].decode("utf-8", "replace"),
        url=None,
    ),
    native="bytes",
)
CHECKS = (
    "test_the_native_bytes_are_those_received",
    "test_what_is_mapped_fits_the_topics",
    "test_every_place_can_hold_anything",
    "test_no_refusal_repeats_what_was_sent",
    "test_mutated_values_are_refused_or_mapped",
    "test_damaged_bytes_are_refused_or_mapped",
)


class _Mails(_Lying):
    """The suite over bodies that are no JSON."""

    samples = (Sample(MAIL, {"mailbox": "m"}),)


@pytest.mark.parametrize("check", CHECKS)
def test_bodies_that_are_no_json_are_damaged_too(check):
    """A mapping of mails that holds passes; its originals travel by reference."""
    suite = _Mails()
    suite.broken = MAILS
    getattr(suite, check)()


def test_a_mapping_of_mails_that_stumbles_or_echoes_is_caught():
    """What falls over a damaged header, or repeats it, fails the suite."""

    def stumbling(native: bytes, context: Any) -> Identity:
        if not native.startswith(b"Message-ID: <"):
            raise LookupError
        return _mail_identity(native, context)

    def echoing(native: bytes, context: Any) -> Identity:
        if b"erika" not in native:
            raise InvalidMessage(ErrorType.MALFORMED, f"odd: {native[:200]!r}")
        return _mail_identity(native, context)

    suite = _Mails()
    suite.broken = replace(MAILS, identify=stumbling)
    with pytest.raises(LookupError):
        suite.test_every_place_can_hold_anything()
    suite.broken = replace(MAILS, identify=echoing)
    with pytest.raises(AssertionError):
        suite.test_no_refusal_repeats_what_was_sent()


def test_a_family_of_one_is_its_network():
    """Each piece comes with the member's name, refused ones too."""
    family = Family.of(installed().network("webhook"), Endpoint("meta", "meta"))
    pieces = family.explode(GENERIC_SAMPLES[2].delivery)
    assert [(name, type(piece)) for name, piece in pieces] == [
        ("webhook", NativeObject),
        ("webhook", Refused),
        ("webhook", Refused),
    ]


def test_every_family_has_its_members_and_every_member_its_family():
    """An installed family loads; the manifests of its members name it, and no other one."""
    registry = installed()
    member_of = {
        member: name for name in registry.family_names for member in registry.family(name).networks
    }
    assert member_of == {
        name: registry.manifest(name).family
        for name in registry.names
        if registry.manifest(name).family is not None
    }


def test_a_family_that_is_none_is_refused_with_a_sentence():
    """Unknown names, foreign objects, members that are not installed."""

    class Point(NamedTuple):
        found: object

        def load(self) -> object:
            return self.found

    ring = Family.of(replace(MAILS, name="ring"), Endpoint("telegram"))
    registry = NetworkRegistry({}, {"ring": Point(ring), "odd": Point(object())})
    for name, told in (
        ("ring", "ring is no network of its own"),
        ("odd", "odd is not the family of that name"),
        ("none", "known are odd, ring"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            registry.family(name)
    with pytest.raises(ConfigurationError, match="heard through the gateway only"):
        installed().client("webhook")
    assert installed().client("bluesky").__name__ == "klingel_networks.bluesky.client"


def test_an_unknown_network_is_refused_with_a_reason():
    """A raw event of a network that is not installed is a dead letter, not a crash."""
    with pytest.raises(InvalidMessage) as caught:
        installed().network("orkut")
    assert caught.value.error_type is ErrorType.UNKNOWN_NETWORK
    assert NetworkRegistry({}).names == ()


def test_the_registry_finds_every_folder():
    """Each folder with a manifest has its entry point, and the other way round."""
    folders = {
        each.name
        for each in files("klingel_networks").iterdir()
        if (each / "connector.yaml").is_file()
    }
    assert folders == set(installed().names)
