"""Triage: one reason of the closed set for every event."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from klingel.domain.triage import TriageReason, believed_time, lateness, needs_answer
from klingel.model.social_event import Match
from klingel.testing.conversations import NOON, answered, compiled_brand, deleted, said

BRAND = compiled_brand()
WEEK = timedelta(days=7)


def test_what_is_said_to_the_brand_needs_an_answer() -> None:
    assert needs_answer(said("a"), BRAND) == (True, TriageReason.OPENED)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (deleted("a", 1), "deleted"),
        (answered("a", 1), "own_post"),
        (said("a", direction="third_party"), "third_party"),
        (said("a", kind="repost"), "repost"),
        (said("a", kind="reaction"), "reaction"),
        (said("a", kind="unknown"), "unknown_kind"),
        (said("a", author=None), "no_author"),
        (said("a", addressing="indirect"), "indirect"),
    ],
)
def test_what_needs_no_answer_has_its_reason(event, reason: str) -> None:
    assert needs_answer(event, BRAND) == (False, reason)


def test_talk_about_the_brand_opens_where_the_brand_wants_it() -> None:
    eager = compiled_brand(triage={"open_indirect": True})
    talk = structs.replace(
        said("a", addressing="indirect"), matches=[Match(how="rule", rule="name")]
    )
    assert needs_answer(talk, eager)[0]


@pytest.mark.parametrize("how", ["tracked", "directory"])
def test_a_word_heard_for_its_conversation_alone_opens_nothing(how: str) -> None:
    """It may be a competitor's answer to its own customer."""
    eager = compiled_brand(triage={"open_indirect": True})
    word = structs.replace(said("a", addressing="indirect"), matches=[Match(how=how)])
    assert needs_answer(word, eager) == (False, TriageReason.INDIRECT)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, None),
        ({"mode": "gap_fill"}, None),
        ({"mode": "backfill"}, "not_live"),
        ({"mode": "remap"}, "not_live"),
        ({"received_after": WEEK}, None),
        ({"received_after": WEEK + timedelta(seconds=1)}, "too_old"),
    ],
)
def test_an_event_comes_too_late_by_age_or_mode(parts: dict, expected: str | None) -> None:
    assert lateness(said("a", **parts), BRAND) == expected


@pytest.mark.parametrize(
    "published", [None, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
)
def test_an_impossible_time_is_replaced_by_the_receipt_and_loses_no_case(published) -> None:
    event = structs.replace(said("a"), published_at=published)
    assert believed_time(event) == event.received_at
    assert lateness(event, BRAND) is None


def test_a_clock_ten_minutes_ahead_is_believed() -> None:
    event = said("a", received_after=timedelta(minutes=-10))
    assert believed_time(event) == NOON


def test_every_reason_says_what_it_means() -> None:
    """Each member stands with one line of documentation below it."""
    path = Path(__file__).resolve().parents[3] / "core/src/klingel/domain/triage.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    for reason in TriageReason:
        at = lines.index(f'    {reason.name} = "{reason.value}"')
        assert lines[at + 1].startswith('    """')
        assert lines[at + 1].endswith('."""')
