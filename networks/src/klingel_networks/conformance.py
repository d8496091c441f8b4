"""The suite that every network passes in three lines.

    class TestMyNetwork(NetworkConformance):
        network = "my_network"
        samples = (Sample(b'{"id": "1", …}', {"source": "crm"}, objects=1),)

It holds the pure half of a network against the connector contract: K3 (identity), K4 (n objects
in, n out), K11 (capability matrix), K14 (who and what was erased is known in its events), K15 (a
reason for every refusal), and the bookkeeping of the others in `quality.yaml`. It needs the extra
`conformance` (pytest, hypothesis).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from klingel.contracts.codec import decode, encode
from klingel.contracts.topics import Topic
from klingel.domain.draft import SocialDraft
from klingel.domain.erasure import Key, Subject, Suppressed, author_name, erased_before
from klingel.domain.identity import REVISION_MAX, event_id
from klingel.errors import InvalidMessage
from klingel.model import RawEvent, SocialEvent
from klingel.model.social_event import Origin
from klingel_networks.contract import Delivery, Identity, NativeObject, Network, Refused
from klingel_networks.manifest import CLAUSES, Manifest
from klingel_networks.mapped import as_published, raw_event
from klingel_networks.registry import installed

CANARY = "canary-Zq7RtX"
"""Planted in foreign text; no sentence may repeat it."""

_KEY = Key("a key for the suite alone")
_HEARD = datetime(2026, 1, 1, tzinfo=UTC)
_OBJECT_ID = re.compile(r"[^\x00-\x1f]{1,900}")
_ABSENT = object()
_HOSTILE: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    2**63,
    10**400,
    "",
    "\x00",
    "\ud800",
    "\n",
    "é" * 2000,
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "2026-07-04T14:38:08",
    [],
    {},
)
_WORD = re.compile(rb"[^\s<>=:;,\"'()]+")
_HOSTILE_BYTES = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\r\n",
    b"\r\n\r\n",
    b"=?utf-8?q?=00=FF?=",
    b"=?unknown-8bit?b?!?=",
    b"&#0;",
    b"&undefined;",
    b"]]>",
    b"<![CDATA[",
    b"--",
    "é".encode("latin-1") * 2000,
    b"9" * 400,
)
MOST_PLACES = 40
"""Words of one body that is no JSON at which it is damaged; its length costs no more than that."""

_JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(_HOSTILE)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# Seeded and without a deadline: a busy machine is no failure. One method runs in many classes.
_SETTINGS = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Sample:
    """A delivery that must map, or be refused with a reason.

    Attributes:
        body: as received.
        context: as the connector gives it.
        objects: how many objects are in it.
        refused: how many of these are no valid objects.
        again: the same objects as another path would deliver them: another wire, another moment,
            another context. Their identities must be equal.
        edited: the same objects after an edit. Their object ids must be equal, their event ids not.
    """

    body: bytes
    context: Mapping[str, str] = field(default_factory=dict)
    objects: int = 1
    refused: int = 0
    again: tuple[Delivery, ...] = ()
    edited: tuple[Delivery, ...] = ()

    @property
    def delivery(self) -> Delivery:
        """The delivery of body and context."""
        return Delivery(self.body, self.context)


class NetworkConformance:
    """The suite; a subclass names the network and gives its samples."""

    network: ClassVar[str]
    samples: ClassVar[tuple[Sample, ...]]

    @property
    def pure(self) -> Network:
        """The network under test."""
        return installed().network(self.network)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the network under test."""
        return installed().manifest(self.network)

    def mapped(self, delivery: Delivery) -> Iterator[tuple[Identity, RawEvent, SocialDraft]]:
        """Yield what becomes of each valid object of a delivery."""
        for piece in self.pure.explode(delivery):
            if isinstance(piece, NativeObject):
                identity = self.pure.identify(piece.native, piece.context)
                raw = raw_event(self.network, piece, identity)
                yield identity, as_published(self.pure, raw), self.pure.to_social_event(raw)

    def test_the_manifest_is_valid_and_carries_the_networks_name(self) -> None:
        """The manifest reads, and folder, entry point, manifest and network share one name."""
        assert self.manifest.name == self.network == self.pure.name

    def test_every_clause_of_the_contract_has_its_standing(self) -> None:
        """quality.yaml speaks of K1..K15; what a pure suite can hold is done."""
        clauses = installed().quality(self.network).clauses
        assert sorted(clauses) == sorted(CLAUSES)
        done = {clause for clause, standing in clauses.items() if standing.status == "done"}
        assert done >= {"K3", "K4", "K11", "K15"}

    def test_there_are_samples_of_every_declared_kind(self) -> None:
        """No kind is declared that no sample shows."""
        shown = {
            identity.kind
            for sample in self.samples
            for delivery in (sample.delivery, *sample.edited)
            for identity, _, _ in self.mapped(delivery)
        }
        assert shown == set(self.manifest.kinds)

    def test_who_and_what_was_erased_is_known_in_its_events(self) -> None:
        """K14: object and author are found in what was said until an erasure, not in what follows."""
        for sample in self.samples:
            for _, raw, draft in self.mapped(sample.delivery):
                named: list[tuple[Subject, str]] = [("object", raw.object_id)]
                if draft.author is not None:
                    named.append(("author", author_name(raw.network, draft.author.id)))
                said = draft.published_at or _HEARD
                late = msgspec.structs.replace(raw, received_at=max(said, _HEARD))
                for kind, name in named:
                    held = [
                        erased_before(_erased(kind, name, at), late, draft)
                        for at in (said, said - timedelta(seconds=1))
                    ]
                    # What takes words away passes always.
                    assert held == [draft.change != "deleted", False], (kind, sample)

    def test_n_objects_in_are_n_out(self) -> None:
        """K4: every object of a delivery comes out, valid or refused with its reason."""
        for sample in self.samples:
            pieces = self.pure.explode(sample.delivery)
            refused = [piece for piece in pieces if isinstance(piece, Refused)]
            assert len(pieces) == sample.objects
            assert len(refused) == sample.refused
            for piece in refused:
                assert isinstance(piece.error, InvalidMessage)
                assert str(piece.error)

    def test_the_native_bytes_are_those_received(self) -> None:
        """K1: the pieces of a delivery are cut from its bytes, never written anew."""
        for sample in self.samples:
            for piece in self.pure.explode(sample.delivery):
                assert bytes(piece.native) in sample.body

    def test_identity_and_mapping_are_the_same_every_time(self) -> None:
        """K3: the same input gives the same identity and the same draft."""
        for sample in self.samples:
            first = [(i, encode(raw), draft) for i, raw, draft in self.mapped(sample.delivery)]
            second = [(i, encode(raw), draft) for i, raw, draft in self.mapped(sample.delivery)]
            assert first == second

    def test_identity_does_not_depend_on_the_delivery_path(self) -> None:
        """K3: a re-fetch, another wire or another context gives the same event ids."""
        for sample in self.samples:
            wanted = [identity for identity, _, _ in self.mapped(sample.delivery)]
            for delivery in sample.again:
                assert [identity for identity, _, _ in self.mapped(delivery)] == wanted

    def test_an_edit_has_the_same_object_and_a_later_revision(self) -> None:
        """K3: an edit is the same thing at a later revision."""
        for sample in self.samples:
            before = [identity for identity, _, _ in self.mapped(sample.delivery)]
            for delivery in sample.edited:
                after = [identity for identity, _, _ in self.mapped(delivery)]
                assert [each.object_id for each in after] == [each.object_id for each in before]
                assert all(
                    new.revision > old.revision for new, old in zip(after, before, strict=True)
                )

    def test_ids_are_legal(self) -> None:
        """Object ids are bounded, printable and begin with a namespace; revisions fit 42 bits."""
        for sample in self.samples:
            for identity, _, _ in self.mapped(sample.delivery):
                assert _OBJECT_ID.fullmatch(identity.object_id)
                assert identity.object_id.count(":") >= 2
                assert 0 <= identity.revision <= REVISION_MAX

    def test_kinds_and_changes_are_declared(self) -> None:
        """K11: what is mapped lies within the capability matrix, and the draft agrees with it."""
        for sample in self.samples:
            for identity, _, draft in self.mapped(sample.delivery):
                assert self.manifest.delivers(identity.kind, identity.change)
                assert (draft.kind, draft.change) == (identity.kind, identity.change)

    def test_what_is_mapped_fits_the_topics(self) -> None:
        """Raw event and social event pass the codec of their topics."""
        for sample in self.samples:
            for _, raw, draft in self.mapped(sample.delivery):
                assert encode(decode(RawEvent, encode(raw))) == encode(raw)
                social = _social(raw, draft)
                assert decode(SocialEvent, encode(social)) == social

    def test_times_are_aware_utc(self) -> None:
        """No naive time leaves a mapping."""
        for sample in self.samples:
            for _, _, draft in self.mapped(sample.delivery):
                for moment in (draft.published_at, draft.changed_at):
                    assert moment is None or moment.utcoffset() is not None

    def test_secrets_never_show(self) -> None:
        """I10: no secret setting shows in a repr, nor any value in a refusal."""
        manifest = self.manifest
        given = {
            name: CANARY if setting.type == "string" else "1"
            for name, setting in manifest.config.items()
        }
        configured = manifest.configure(given)
        secrets = {name: configured[name] for name, each in manifest.config.items() if each.secret}
        assert all(isinstance(value, SecretStr) for value in secrets.values())
        assert CANARY not in repr(secrets)
        assert CANARY not in str(secrets)

    def test_no_refusal_repeats_what_was_sent(self) -> None:
        """I10: whatever stands in any place of a delivery, no sentence and no path repeats it."""
        for sample in self.samples:
            for body in _planted(sample.body, (CANARY, {CANARY: CANARY}, [CANARY])):
                self._must_hold(body, sample.context)

    def test_every_place_can_hold_anything(self) -> None:
        """K15: each value in turn missing, of every other type, or hostile: a draft or a reason."""
        for sample in self.samples:
            for body in _planted(sample.body, _HOSTILE):
                self._must_hold(body, sample.context)

    @given(data=st.data())
    @_SETTINGS
    def test_garbage_is_refused_and_nothing_else(self, data: st.DataObject) -> None:
        """K15: arbitrary bytes are refused with a sentence; no other exception, no echo."""
        context = data.draw(st.sampled_from([dict(each.context) for each in self.samples]))
        self._must_hold(data.draw(st.binary(max_size=200)), context)

    @given(data=st.data())
    @_SETTINGS
    def test_damaged_bytes_are_refused_or_mapped(self, data: st.DataObject) -> None:
        """K15: real deliveries, cut, flipped and spliced: a draft or a reason, nothing else."""
        sample = data.draw(st.sampled_from(self.samples))
        body = bytearray(sample.body)
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(body)))
            length = data.draw(st.integers(0, 8))
            body[start : start + length] = data.draw(st.binary(max_size=8))
        self._must_hold(bytes(body), dict(sample.context))

    @given(data=st.data())
    @_SETTINGS
    def test_mutated_values_are_refused_or_mapped(self, data: st.DataObject) -> None:
        """K15: real deliveries with values of another type, missing or hostile."""
        sample = data.draw(st.sampled_from(self.samples))
        if not _is_json(sample.body):
            self._must_hold(_damaged_words(sample.body, data), dict(sample.context))
            return
        tree = json.loads(sample.body)
        for _ in range(data.draw(st.integers(1, 3))):
            places = list(_places(tree))
            if not places:
                break
            holder, key = data.draw(st.sampled_from(places))
            if data.draw(st.booleans()):
                holder[key] = data.draw(_JUNK)
            else:
                del holder[key]
        body = json.dumps(tree, ensure_ascii=data.draw(st.booleans()))
        self._must_hold(body.encode("utf-8", "surrogatepass"), dict(sample.context))

    @given(data=st.data())
    @_SETTINGS
    def test_a_missing_or_foreign_context_is_refused_or_mapped(self, data: st.DataObject) -> None:
        """K15: a context that lost a key, or holds another value."""
        sample = data.draw(st.sampled_from(self.samples))
        context = {
            key: data.draw(st.sampled_from([value, CANARY, "", "a:b", "\n", "é" * 200]))
            for key, value in sample.context.items()
            if data.draw(st.booleans())
        }
        self._must_hold(sample.body, context)

    def _must_hold(self, body: bytes, context: Mapping[str, str]) -> None:
        """Map a body; every object ends as a draft that fits its topic, or with a reason."""
        try:
            pieces = self.pure.explode(Delivery(body, context))
        except InvalidMessage as error:
            _is_discreet(error)
            return
        for piece in pieces:
            if isinstance(piece, Refused):
                _is_discreet(piece.error)
                continue
            try:
                identity = self.pure.identify(piece.native, piece.context)
                raw = raw_event(self.network, piece, identity)
                draft = self.pure.to_social_event(raw)
            except InvalidMessage as error:
                _is_discreet(error)
                continue
            assert _OBJECT_ID.fullmatch(identity.object_id)
            assert self.manifest.delivers(identity.kind, identity.change)
            published = as_published(self.pure, raw)
            assert decode(RawEvent, encode(published)).object_id == identity.object_id
            assert decode(SocialEvent, encode(_social(raw, draft))).kind == draft.kind


def _is_discreet(error: InvalidMessage) -> None:
    """A refusal is one sentence that repeats nothing of what was sent."""
    assert str(error)
    assert "\n" not in str(error)
    assert CANARY not in str(error)
    assert CANARY not in error.path


def _planted(body: bytes, values: Sequence[Any]) -> Iterator[bytes]:
    """Yield the body once for each of its places and each value there, and without the place.

    A body that is no JSON (a mail, XML) is taken for words; its places are spread over the whole.
    """
    if not _is_json(body):
        yield from _planted_words(body, values)
        return
    tree = json.loads(body)
    for holder, key in list(_places(tree)):
        before = holder.copy()
        for value in (_ABSENT, *values):
            if value is _ABSENT:
                del holder[key]
            else:
                holder[key] = value
            planted = json.dumps(tree).encode()
            _restore(holder, before)
            yield planted


def _restore(holder: Any, before: Any) -> None:
    """Make an object or a list hold what it held, in its order."""
    if isinstance(holder, dict):
        holder.clear()
        holder.update(before)
    else:
        holder[:] = before


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _words(body: bytes) -> list[tuple[int, int]]:
    """Return where the words of a body stand, at most MOST_PLACES of them, evenly spread."""
    found = [match.span() for match in _WORD.finditer(body)]
    step = max(1, -(-len(found) // MOST_PLACES))
    return found[::step]


def _planted_words(body: bytes, values: Sequence[Any]) -> Iterator[bytes]:
    """Yield the body once for each of its words and each value there, and without the word."""
    for start, end in _words(body):
        for value in (b"", *(_as_bytes(each) for each in values if each is not _ABSENT)):
            yield body[:start] + value + body[end:]


def _as_bytes(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


def _damaged_words(body: bytes, data: st.DataObject) -> bytes:
    """Return the body with some words replaced by other ones, by hostile bytes or by nothing."""
    for _ in range(data.draw(st.integers(1, 3))):
        words = _words(body)
        if not words:
            break
        start, end = data.draw(st.sampled_from(words))
        other_start, other_end = data.draw(st.sampled_from(words))
        junk = st.sampled_from(_HOSTILE_BYTES) | st.binary(max_size=12)
        value = data.draw(st.just(body[other_start:other_end]) | junk)
        body = body[:start] + value + body[end:]
    return body


def _erased(kind: Subject, name: str, at: datetime) -> Suppressed:
    """Return what is known once somebody or something was erased."""
    known = Suppressed(_KEY)
    told = _KEY.suppression(kind, name, at)
    known.take(told.subject.encode(), told)
    return known


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a JSON tree that can be overwritten or deleted."""
    keys: list[Any] = []
    if isinstance(tree, dict):
        keys = list(tree)
    elif isinstance(tree, list):
        keys = list(range(len(tree)))
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _social(raw: RawEvent, draft: SocialDraft) -> SocialEvent:
    """Return the least social event that a draft can become: the draft's fields, one brand."""
    said: dict[str, Any] = {
        name: getattr(draft, name)
        for name in SocialEvent.__struct_fields__
        if hasattr(draft, name) and getattr(draft, name) is not None
    }
    for name in ("media", "links", "hashtags", "mentions"):
        said[name] = list(said[name]) or None
    said |= {
        "event_id": event_id(raw.object_id, raw.revision, "brand"),
        "object_id": raw.object_id,
        "revision": raw.revision,
        "brand": "brand",
        "matches": [],
        "network": raw.network,
        "connector": raw.connector,
        "origin": Origin(topic=Topic.RAW_EVENTS, partition=0, offset=0, mode="live"),
        "direction": draft.direction or "inbound",
        "addressing": "indirect",
        "received_at": raw.received_at,
        "conversation_id": draft.conversation_id or raw.object_id,
        "index": "undated",
        "content_hash": "0" * 16,
        "config_version": "0",
    }
    return msgspec.convert(said, SocialEvent)
