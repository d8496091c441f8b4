"""Attachments become jobs, and what the media worker says of them completes the event."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.contracts import codec
from klingel.contracts.envelope import SOURCE_HEADER, Message
from klingel.contracts.topics import Topic
from klingel.domain.identity import content_hash
from klingel.domain.media import is_to_fetch, media_job
from klingel.errors import ConfigurationError
from klingel.model import MediaJob, RawEvent
from klingel.model.social_event import Media
from klingel.stage.fates import Fate
from klingel_connectors.media import Found, decide
from klingel_connectors.raw import raw_output
from klingel_networks.registry import installed, installed_network

from ..ringing import NOON, generic, gone, ring
from .conftest import Desk
from .test_identity_links import OWN, PHONE, Line

SHA = "a" * 64
PICTURE = {"kind": "image", "id": "m1", "url": "https://x.example/1?sig=1", "alt": "Router"}


def jobs_of(desk: Desk) -> list[MediaJob]:
    """Return the jobs so far."""
    return [codec.decode(MediaJob, each.value) for each in messages_of(desk)]


def messages_of(desk: Desk) -> list[Message]:
    """Return the jobs as they were written."""
    return desk.broker.messages(Topic.MEDIA_JOBS)


def stored(job: MediaJob, digest: str = SHA) -> RawEvent:
    """Return what the worker says once it has stored everything."""
    found = [
        Found(msgspec.structs.replace(medium, sha256=digest), "stored") for medium in job.media
    ]
    completion, again = decide(job, found, "media-1", NOON)
    assert completion is not None
    assert again is None
    return completion


def complete(desk: Desk, completion: RawEvent) -> Any:
    """Ring with a completion."""
    desk.put(raw_output(completion))
    (outcome,) = desk.stage.advance()
    return outcome


def picture() -> dict[str, Any]:
    """Return a customer's picture by WhatsApp, without a word."""
    return {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "49301234", "phone_number_id": OWN},
        "contacts": [{"profile": {"name": "Erika"}, "wa_id": PHONE}],
        "messages": [
            {
                "id": "wamid.1",
                "timestamp": "1772452800",
                "type": "image",
                "from": PHONE,
                "image": {"id": "4711", "mime_type": "image/jpeg", "sha256": "x"},
            }
        ],
    }


def test_an_attachment_becomes_a_job_beside_the_event(desk: Desk) -> None:
    """Told at once, once, whoever hears it; the job names what caused it."""
    desk.hear(generic("1", "nordlicht oder kuestenstrom?", media=[PICTURE]), channel="inbox")
    (message,) = messages_of(desk)
    assert message.header("ce_id") == b"webhook:forum:1@0#0"
    assert message.header(SOURCE_HEADER) == b"raw-events/0/0/2"
    assert message.key == b"webhook:forum:1"
    (job,) = jobs_of(desk)
    assert (job.object_id, job.revision, job.network, job.kind, job.mode, job.channel) == (
        "webhook:forum:1",
        0,
        "webhook",
        "post",
        "live",
        "inbox",
    )
    assert job.author_id == "forum:anna"  # an erasure of hers stops it
    (medium,) = job.media
    assert (medium.kind, medium.id, medium.url) == ("image", "m1", PICTURE["url"])
    for event in desk.social():
        assert event.media is not None
        assert event.media[0].status == "remote"


@pytest.mark.parametrize(
    "medium",
    [
        {"kind": "image", "id": "m1"},
        {"kind": "image", "alt": "ein Bild"},
        {"kind": "link", "url": "https://x.example/page"},
        {"kind": "location", "id": "53.5,10.0"},
    ],
)
def test_what_cannot_be_fetched_is_no_job(desk: Desk, medium: dict[str, str]) -> None:
    """An id of a network that is not asked by id, no address at all, what has no bytes."""
    desk.hear(generic("1", media=[medium]))
    assert len(desk.social()) == 1
    assert jobs_of(desk) == []


def test_who_is_asked_by_id_has_a_client_that_answers() -> None:
    """Whose media can be had by id: exactly the clients that offer `addresses`."""
    offering = set()
    for name in installed().names:
        with contextlib.suppress(
            ConfigurationError
        ):  # one without a client is heard by the gateway
            if hasattr(installed().client(name), "addresses"):
                offering.add(name)
    assert offering == {name for name in installed().names if installed().network(name).media_by_id}
    assert "x" in offering


def test_nobody_asks_for_the_media_of_what_is_not_heard(desk: Desk) -> None:
    """Heard later, it is asked for then, once."""
    quiet = generic("1", "kein netz", conversation_id="0", media=[PICTURE])
    assert desk.hear(quiet).fate is Fate.DISCARDED
    assert jobs_of(desk) == []
    desk.tracking["webhook:forum:0"] = frozenset({"kuestenstrom"})
    desk.hear(quiet)
    assert len(jobs_of(desk)) == 1
    desk.tracking["webhook:forum:0"] = frozenset({"kuestenstrom", "nordlicht"})
    desk.hear(quiet)
    assert [event.brand for event in desk.social()] == ["kuestenstrom", "nordlicht"]
    assert len(jobs_of(desk)) == 1


def test_a_repetition_asks_for_nothing_and_a_further_picture_for_itself(desk: Desk) -> None:
    """Other contents of one revision ask only for what nobody asked for yet."""
    second = {**PICTURE, "id": "m2", "url": "https://x.example/2"}
    desk.hear(generic("1", media=[PICTURE]))
    desk.hear(generic("1", media=[PICTURE], metrics={"likes": 7}))
    desk.hear(generic("1", media=[PICTURE], in_reply_to="0"))
    assert [[each.id for each in job.media] for job in jobs_of(desk)] == [["m1"]]
    desk.hear(generic("1", media=[PICTURE, second], in_reply_to="0"))
    assert [[each.id for each in job.media] for job in jobs_of(desk)] == [["m1"], ["m2"]]


def test_an_edit_asks_anew_and_a_deletion_for_nothing(desk: Desk) -> None:
    """Each revision is completed by itself."""
    desk.hear(generic("1", media=[PICTURE]))
    desk.hear(generic("1", "hallo nordlicht!", media=[PICTURE], change="updated", revision=5))
    desk.hear(gone("1"))
    assert [job.revision for job in jobs_of(desk)] == [0, 5]


def test_a_completion_says_nothing_but_what_became_of_the_media(desk: Desk) -> None:
    """Text, network, direction and conversation stay; what follows learns of the new content."""
    desk.hear(generic("1", media=[PICTURE, {"kind": "link", "url": "https://x.example/page"}]))
    (job,) = jobs_of(desk)
    assert complete(desk, stored(job)).fate is Fate.DELIVERED
    before, after = desk.social()
    assert after.media is not None
    assert [(each.kind, each.status, each.sha256) for each in after.media] == [
        ("image", "stored", SHA),
        ("link", "remote", None),
    ]
    same = {"media": None, "content_hash": "", "origin": before.origin, "matches": []}
    assert msgspec.structs.replace(after, **same) == msgspec.structs.replace(before, **same)
    assert before.content_hash != after.content_hash
    assert len(jobs_of(desk)) == 1
    (outcome,) = [complete(desk, stored(job))]
    assert (outcome.fate, outcome.reason) == (Fate.DISCARDED, "duplicate")


def test_a_picture_without_a_word_is_completed_too() -> None:
    """Nothing else tells its completion from itself."""
    line = Line()
    line.whole(picture())
    (job,) = jobs_of(line)
    assert [(each.id, each.url) for each in job.media] == [("4711", None)]
    assert complete(line, stored(job)).fate is Fate.DELIVERED
    (medium,) = line.last().media or ()
    assert medium.sha256 == SHA


def test_what_was_said_in_private_stays_private() -> None:
    """A customer's picture by WhatsApp: asked for by its id, stored, and nobody else's."""
    line = Line()
    line.whole(picture())
    (job,) = jobs_of(line)
    complete(line, stored(job))
    before, after = line.social()
    for event in (before, after):
        assert (event.visibility, event.network, event.direction) == (
            "private",
            "whatsapp",
            "inbound",
        )
        assert (event.mapping, event.conversation_id) == (before.mapping, before.conversation_id)
    assert after.media is not None
    assert after.media[0].sha256 == SHA


def test_a_replay_asks_as_the_first_time_and_fetches_nothing_again(desk: Desk) -> None:
    """The books of the replay add up; what is stored is told to the worker."""
    desk.hear(generic("1", media=[PICTURE]))
    desk.hear(generic("1", media=[PICTURE], in_reply_to="0"))
    complete(desk, stored(jobs_of(desk)[0]))
    first = messages_of(desk)
    desk.stage.replay()
    desk.stage.drain(1)
    again = messages_of(desk)[len(first) :]
    assert [each.header("ce_id") for each in again] == [each.header("ce_id") for each in first]
    assert [each.sha256 for job in jobs_of(desk)[len(first) :] for each in job.media] == [SHA]


def test_a_replay_fetches_nothing_of_what_was_deleted(desk: Desk) -> None:
    """Gone is gone; the job says so."""
    desk.hear(generic("1", media=[PICTURE]))
    desk.hear(gone("1"))
    desk.stage.replay()
    desk.stage.drain(1)
    first, again = jobs_of(desk)
    assert [each.failure for each in (*first.media, *again.media)] == [None, "deleted"]


def test_a_new_mapping_asks_for_nothing(desk: Desk) -> None:
    """Addresses of old events have ended."""
    desk.hear(generic("1", media=[PICTURE]))
    desk.hear(generic("1", media=[PICTURE]), mode="remap")
    assert len(jobs_of(desk)) == 1


def test_a_completion_of_what_nobody_remembers_says_nothing(desk: Desk) -> None:
    """It would overwrite the event by an empty one."""
    raw = RawEvent(
        event_id="webhook:forum:1@0",
        object_id="webhook:forum:1",
        revision=0,
        network="webhook",
        connector="webhook-1",
        kind="post",
        change="created",
        mode="live",
        received_at=NOON,
        native=msgspec.Raw(b"{}"),
    )
    job = media_job(raw, "post", [Media(kind="image", id="m1")], by_id=True)
    assert job is not None
    outcome = complete(desk, stored(job))
    assert (outcome.fate, outcome.reason) == (Fate.DISCARDED, "completes_nothing")


MEDIA = st.builds(
    Media,
    kind=st.sampled_from(["image", "video", "link", "location"]),
    id=st.none() | st.sampled_from(["a", "b"]),
    url=st.none() | st.sampled_from(["https://x.example/1", "HTTP://x.example/2", "ftp://x", ""]),
    sha256=st.none() | st.just(SHA),
    status=st.sampled_from([None, "remote", "stored", "failed"]),
)


@given(st.lists(MEDIA, max_size=70), st.lists(MEDIA, max_size=5), st.booleans())
def test_a_job_holds_what_can_be_fetched_once(
    told: list[Media], asked: list[Media], by_id: bool
) -> None:
    """Each medium once, none asked for before, all within the schema's bounds."""
    raw = RawEvent(
        event_id="w:f:1@0",
        object_id="w:f:1",
        revision=0,
        network="webhook",
        connector="webhook-1",
        kind="post",
        change="created",
        mode="live",
        received_at=NOON,
        native=msgspec.Raw(b"{}"),
    )
    job = media_job(raw, "post", told, asked=asked, by_id=by_id)
    wanted = {
        (each.kind, each.id, None if each.id else each.url)
        for each in told
        if is_to_fetch(each, by_id=by_id)
    } - {(each.kind, each.id, None if each.id else each.url) for each in asked}
    assert (job is None) == (not wanted)
    if job is not None:
        codec.decode(MediaJob, codec.encode(job))
        there = [(each.kind, each.id, None if each.id else each.url) for each in job.media]
        assert set(there) == wanted
        assert len(there) == len(wanted)


def test_what_became_of_a_medium_is_another_content() -> None:
    """And what is not fetched yet has the hash that it always had."""
    network = installed_network("webhook")
    raw = msgspec.structs.replace(
        codec.decode(RawEvent, ring(generic("1", media=[PICTURE])).value), mode="live"
    )
    draft = network.to_social_event(raw)
    hashes = {
        content_hash(
            msgspec.structs.replace(
                draft, media=(msgspec.structs.replace(draft.media[0], status=status, sha256=sha),)
            )
        )
        for status, sha in (("remote", None), (None, None), ("stored", SHA), ("failed", None))
    }
    assert len(hashes) == 3
