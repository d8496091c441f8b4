"""X's older webhooks, and chains of edits in any order, as a brand hears them."""

import json
import random
from typing import Any

import pytest

from .test_lone_ids import Counter

OWN, CUSTOMER = "99", "7"
FIRST = 1_900_000_000_000_000_001


def message(sender: str, to: str, number: int) -> dict[str, Any]:
    """Return a direct message."""
    return {
        "type": "message_create",
        "id": str(FIRST + number),
        "created_timestamp": 1784928224372 + number,
        "message_create": {
            "sender_id": sender,
            "target": {"recipient_id": to},
            "message_data": {"text": f"Nachricht {number}"},
        },
    }


def test_both_sides_of_a_conversation_are_told_apart_by_the_account_it_is_for() -> None:
    """Who writes to the account comes in, what the account writes goes out: one conversation."""
    counter = Counter()
    for number, (sender, to) in enumerate([(CUSTOMER, OWN), (OWN, CUSTOMER)]):
        body = {"for_user_id": OWN, "direct_message_events": [message(sender, to, number)]}
        counter.rings("x", json.dumps(body).encode())
    asked, answered = counter.social()
    assert (asked.direction, answered.direction) == ("inbound", "outbound")
    assert (asked.addressing, asked.channel) == ("direct", OWN)
    assert asked.conversation_id == answered.conversation_id == f"x:network:dm/{CUSTOMER}-{OWN}"


def test_a_mention_and_its_deletion_of_an_older_webhook() -> None:
    """The deletion carries nothing but the id; it takes the text of the post that was told."""
    counter = Counter()
    status = {
        "id": FIRST,
        "id_str": str(FIRST),
        "text": "@nordlicht kein…",
        "extended_tweet": {
            "full_text": "@nordlicht kein Netz",
            "entities": {"user_mentions": [{"id_str": OWN, "screen_name": "nordlicht"}]},
        },
        "user": {"id": 7, "id_str": CUSTOMER, "screen_name": "erika"},
    }
    ended = {"status": {"id": str(FIRST), "user_id": CUSTOMER}, "timestamp_ms": 1784928224372}
    for body in ({"tweet_create_events": [status]}, {"tweet_delete_events": [ended]}):
        counter.rings("x", json.dumps({"for_user_id": OWN} | body).encode())
    said, gone = counter.social()
    assert (said.text, said.direction, said.addressing) == (
        "@nordlicht kein Netz",
        "inbound",
        "direct",
    )
    assert (gone.change, gone.text, gone.object_id) == ("deleted", None, said.object_id)
    assert gone.revision > said.revision


@pytest.mark.parametrize("seed", range(5))
def test_the_last_edit_is_the_last_word_in_whatever_order_they_come(seed: int) -> None:
    """Each version twice, some by webhook: one object, whose greatest revision is the last edit."""
    ids = [str(FIRST + 1_000_000_000 * at) for at in range(6)]
    marks = {"mentions": [{"start": 0, "end": 1, "username": "n", "id": OWN}]}
    posts = [
        {
            "id": ids[at],
            "text": f"@nordlicht Fassung {at}",
            "author_id": CUSTOMER,
            "edit_history_tweet_ids": ids[: at + 1],
            "entities": marks,
        }
        for at in range(6)
    ]
    bodies: list[dict[str, Any]] = [{"data": post} for post in posts]
    bodies += [
        {"data": {"event_type": "PostCreate", "filter": {"user_id": OWN}, "payload": post}}
        for post in posts
    ]
    random.Random(seed).shuffle(bodies)
    counter = Counter()
    for body in bodies:
        counter.rings("x", json.dumps(body).encode())
    heard = counter.social()
    assert {event.object_id for event in heard} == {f"x:network:{ids[0]}"}, f"seed {seed}"
    assert len({event.conversation_id for event in heard}) == 1
    assert len({event.event_id for event in heard}) == 6
    assert max(heard, key=lambda event: event.revision).text == "@nordlicht Fassung 5"
