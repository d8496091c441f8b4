"""What was erased stays erased (I11): who is meant, what is dropped, and what takes words away.

Whom an erasure is about is written down nowhere: a suppression holds a keyed hash, and the key is a
secret of the deployment. It stops what was published before it; what the person says afterwards is
heard. A suppression is a fact that only grows: of two about one subject the later one counts, so that
their order is of no matter.

An object goes by a deletion of our own: a raw event that every stage treats like the network's, with
the greatest revision, so that nothing older is ever written over it.
"""

import hmac
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal

import msgspec

from klingel.domain.draft import SocialDraft
from klingel.domain.identity import DELETED_WITHOUT_REVISION, event_id, object_of
from klingel.model import RawEvent, Suppression

Subject = Literal["author", "object", "case"]

CONNECTOR: Final = "erasure"
"""Connector of the deletions that erase; no network's connector has that name."""
MAPPING: Final = "erasure/1"
_NATIVE: Final = msgspec.Raw(b'{"erased":true}')


class Key:
    """The secret by which subjects are hashed.

    Args:
        secret: of the deployment; another one knows nobody any more.
    """

    __slots__ = ("_secret", "id")

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode("utf-8", "surrogatepass")
        self.id = hmac.digest(self._secret, b"id", sha256).hex()[:16]

    def hash(self, kind: Subject, name: str) -> str:
        """Return the hash of somebody (`<network>:<author id>`) or something (an object, a case)."""
        told = f"{kind}\x1f{name}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, told, sha256).hex()

    def suppression(self, kind: Subject, name: str, now: datetime) -> Suppression:
        """Return what is to be told of an erasure."""
        return Suppression(subject=self.hash(kind, name), kind=kind, key_id=self.id, erased_at=now)


def author_name(network: str, author_id: str) -> str:
    """Return whom an erasure of an author names."""
    return f"{network}:{author_id}"


class Suppressed:
    """What was erased, as the topic tells it; cheap to ask while that is nothing.

    Args:
        key: of this deployment; None where none is set: then nothing can be looked up.

    Attributes:
        strange: records that another key made, or any where there is no key. While there are some,
            nobody can say what must be dropped.
        count: of authors and cases taken; it grows with each.
        undone: suppressions of authors of which nobody has told yet that they are carried out, by
            subject. Of an object its own deletion tells that.
        found_done: of those that were carried out, when they were demanded and when nothing was
            found any more; whoever measures takes them out.
    """

    __slots__ = ("_at", "_done", "_key", "count", "found_done", "strange", "undone")

    def __init__(self, key: Key | None = None) -> None:
        self._key = key
        self._at: dict[str, datetime] = {}
        self._done: dict[str, datetime] = {}
        self.strange: set[bytes] = set()
        self.undone: dict[str, Suppression] = {}
        self.found_done: list[tuple[datetime, datetime]] = []
        self.count = 0

    def take(self, record_key: bytes, known: Suppression | None) -> None:
        """Take a followed record; None takes back what its key says."""
        subject = record_key.decode("utf-8", "replace")
        self.strange.discard(record_key)
        if known is None:
            self._at.pop(subject, None)
            self.undone.pop(subject, None)
            return
        if self._key is None or known.key_id != self._key.id:
            self.strange.add(record_key)
            return
        before = self._at.get(known.subject)
        self._at[known.subject] = (
            known.erased_at if before is None else max(before, known.erased_at)
        )
        if known.kind != "object" and known.erased_at != before:
            self.count += 1
        if known.kind == "author":
            self._follow(known)

    def _follow(self, known: Suppression) -> None:
        """Keep which erasures are not carried out yet; of a subject the later demand counts."""
        subject, done = known.subject, self._done.get(known.subject)
        if known.done_at is not None and (done is None or done < known.erased_at):
            self._done[subject] = done = known.erased_at
            self.found_done.append((known.erased_at, known.done_at))
        waiting = self.undone.get(subject)
        newest = known if waiting is None or waiting.erased_at <= known.erased_at else waiting
        if done is None or done < newest.erased_at:
            self.undone[subject] = newest
        else:
            self.undone.pop(subject, None)

    @property
    def has_key(self) -> bool:
        """Whether somebody can be looked up, and erased, at all."""
        return self._key is not None

    def demanded(self, author: str, at: datetime) -> Suppression | None:
        """Return what is to be told when an author's erasure is demanded.

        Of two records of a subject Kafka keeps the one written last: an old demand that is read
        again must not put itself in the place of a later one.

        Args:
            author: `<network>:<author id>`.
            at: of the demand.

        Returns:
            None when as much is known already, and without a key.
        """
        if self._key is None or self._erased("author", author, at):
            return None
        return self._key.suppression("author", author, at)

    def __bool__(self) -> bool:
        """Whether anything was erased."""
        return bool(self._at)

    def holds(
        self, object_id: str, author: str | None, published_at: datetime | None, seen: datetime
    ) -> bool:
        """Whether something must not be heard.

        Args:
            object_id: of it.
            author: `<network>:<author id>` of who said it, where that is known.
            published_at: when.
            seen: when we heard it first; it counts where the publication is not known, or lies after
                it.
        """
        if not self._at:
            return False
        at = seen if published_at is None else min(published_at, seen)
        if self._erased("object", object_id, at):
            return True
        return author is not None and self._erased("author", author, at)

    def spared(self, event_ids: Iterable[str]) -> list[str]:
        """Return those of some events, such as an alert's examples, whose object is not erased."""
        return [each for each in event_ids if not self._erased("object", object_of(each), None)]

    def holds_case(self, case_id: str, customer_id: str, since: datetime | None) -> bool:
        """Whether a customer's case must go.

        Args:
            case_id: of it.
            customer_id: whose it is.
            since: when it was opened; None asks whether any of that name must.
        """
        return self._erased("author", customer_id, since) or self._erased("case", case_id, since)

    def _erased(self, kind: Subject, name: str, at: datetime | None) -> bool:
        if self._key is None:
            return False
        erased_at = self._at.get(self._key.hash(kind, name))
        return erased_at is not None and (at is None or at <= erased_at)


def erasing(
    object_id: str, network: str, kind: str, now: datetime, channel: str | None = None
) -> RawEvent:
    """Return the raw event that takes an object's words away everywhere.

    Args:
        object_id: of it.
        network: that it came from.
        kind: what it is.
        now: of the erasure.
        channel: that it came through.
    """
    return RawEvent(
        event_id=event_id(object_id, DELETED_WITHOUT_REVISION),
        object_id=object_id,
        revision=DELETED_WITHOUT_REVISION,
        network=network,
        connector=CONNECTOR,
        kind=kind,  # type: ignore[arg-type]  # a document's own kind: one of them
        change="deleted",
        mode="live",
        received_at=now,
        channel=channel,
        native=_NATIVE,
    )


def is_erasure(raw: RawEvent) -> bool:
    """Whether a raw event is a deletion of our own."""
    return raw.connector == CONNECTOR and raw.change == "deleted"


def erased_draft(raw: RawEvent) -> SocialDraft:
    """Return the draft of a deletion of our own; what it lacks the directory knows."""
    return SocialDraft(mapping=MAPPING, kind=raw.kind, change="deleted", changed_at=raw.received_at)


def erased_before(suppressed: Suppressed, raw: RawEvent, draft: SocialDraft) -> bool:
    """Whether an event was erased before it came; what takes words away always passes.

    Args:
        suppressed: who and what was erased.
        raw: the event as it came.
        draft: what its network reads in it.
    """
    if draft.change == "deleted":
        return False
    author = None if draft.author is None else author_name(raw.network, draft.author.id)
    return suppressed.holds(raw.object_id, author, draft.published_at, raw.received_at)
