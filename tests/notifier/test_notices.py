"""Sentences: sober, the same for ever, without a customer's words, and harmless to displays."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from klingel.contracts import codec
from klingel.domain.notices import LONGEST_VALUE, lasting, notice_of, plain, targets_of
from klingel.model.alert import Evidence, TermCount
from klingel_notifier.intake import SHAPES
from klingel_notifier.letters import (
    Letter,
    alertmanager_body,
    mail_of,
    slack_body,
    webhook_body,
)

from .conftest import NOON, alert, escalation, incident

EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
HOSTILE = "<!channel> *x* `y` &amp; @here\u202eevil\u0000\n\x07 zalgo\u0301\u0302 \U0001f4e6" * 3


def examples():
    return [
        codec.decode(SHAPES[kind], path.read_bytes())
        for kind in SHAPES
        for path in sorted((EXAMPLES / f"{kind}s").glob("*.json"))
    ]


REASONS = {
    "warned": "First response of a case in outages is due at 2026-11-23 12:15 UTC",
    "breached": "First response of a case in outages is late: it was due at 2026-11-23 12:15 UTC",
    "rule": "A rule asks for attention to a case in outages",
    "early_warning": "An early warning includes a case in outages",
    "incident": "An incident includes a case in outages",
    "late_unanswered": "A customer's word after the closing of a case in outages has no answer",
    "not_acknowledged": "Nobody has acknowledged a case in outages",
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_sentence_of_an_escalation(reason):
    assert notice_of(escalation(reason=reason)).title == REASONS[reason]


@pytest.mark.parametrize(
    ("state", "head", "over"),
    [
        ("raised", "", False),
        ("acknowledged", "Acknowledged: ", False),
        ("withdrawn", "Withdrawn: ", True),
        ("ended", "Over: ", True),
    ],
)
def test_the_state_of_an_escalation_stands_first(state, head, over):
    notice = notice_of(escalation(state=state, acknowledged_by="kim"))
    assert notice.title == head + REASONS["warned"]
    assert notice.over == over
    assert (notice.ends_at is not None) == over
    assert dict(notice.facts)["Acknowledged by"] == "kim"


KINDS = {
    "negative": "Negative posts about outage are rising (severity 7)",
    "volume": "Posts about outage are rising (severity 7)",
    "positive": "Praise about outage is spreading (severity 7)",
    "dormant_channel": "Nothing has come through bluesky main for 1 h 30 min",
    "silent_connector": "Connector bluesky main has been silent for 1 h 30 min",
    "nobody_answered": "Nobody has answered in outages for 1 h 30 min",
    "oldest_unanswered": "A customer in outages has been waiting for 1 h 30 min",
    "pile_on": "Customers are piling on in one thread about nordlicht (severity 7)",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_sentence_of_an_alert(kind):
    said = alert(
        kind=kind, longevity_seconds=5400.0, network="bluesky", channel="main", queue="outages"
    )
    assert notice_of(said).title == KINDS[kind]


def test_a_silent_connector_tells_why_while_it_is_silent():
    reason = "bluesky-1 said failed at 2026-03-20T08:00:00+00:00: the network refuses it."
    said = alert(
        kind="silent_connector", longevity_seconds=5400.0, network="bluesky", channel="main"
    )
    said = structs.replace(said, reason=reason)
    assert notice_of(said).title == f"{KINDS['silent_connector']}: {reason[:-1]}"
    over = notice_of(structs.replace(said, state="ended"))
    assert over.title == f"Over: {KINDS['silent_connector']}"
    assert "\u202e" not in notice_of(structs.replace(said, reason="\u202eevil")).title


def test_evidence_is_told():
    evidence = Evidence(
        terms=[TermCount(term="kein internet", count=21), TermCount(term="störung", count=9)],
        wave_size=84,
        authors=71,
        reach=120_431,
        negative_share=0.9,
        networks={"webhook": 24, "bluesky": 60},
        events=["nordlicht/bluesky:network:at://did:plc:someone/app.bsky.feed.post/1@0"],
    )
    facts = dict(
        notice_of(alert(evidence=evidence, observed=38.0, baseline=1.4, interval_seconds=300)).facts
    )
    assert facts["Terms"] == "kein internet (21), störung (9)"
    assert facts["Observed"] == "38 in 5 min, expected 1.4"
    assert (facts["Authors"], facts["Reach"]) == ("71", "120,431")
    assert (facts["Negative"], facts["Networks"]) == ("90%", "bluesky 60, webhook 24")
    assert not any("did:plc" in value for value in facts.values())


def test_the_sentence_of_an_incident():
    assert notice_of(incident()).title == "25 customers of nordlicht have the same question"
    assert notice_of(incident(kind="copies")).title == "25 customers of nordlicht say the same"
    assert notice_of(incident(state="ended")).title.startswith("Over: 25 customers")


@pytest.mark.parametrize("record", examples(), ids=lambda each: type(each).__name__)
def test_what_is_told_depends_on_the_record_alone(record):
    """Decoded anew, at another time: the same key and the same bytes in every form."""
    again = codec.decode(type(record), codec.encode(record))
    one, two = Letter.of([record]), Letter.of([again])
    assert one.key == two.key
    for body in (slack_body, webhook_body, alertmanager_body):
        assert body(one) == body(two)
    to = ["a@example.org"]
    mails = [mail_of(each, "klingel@example.org", to).as_bytes() for each in (one, two)]
    assert mails[0] == mails[1]


def test_the_key_tells_kind_id_and_revision():
    assert notice_of(escalation(7, revision=3)).key == f"escalation_{7:032x}_3"
    keys = [Letter.of([each]).key for each in (escalation(7), alert(7), incident(7))]
    assert len(set(keys)) == 3


@given(st.permutations(range(5)))
def test_a_digest_is_the_same_in_every_order(order):
    records = [escalation(number) for number in range(3)] + [alert(8), incident(9)]
    one, two = Letter.of(records), Letter.of([records[place] for place in order])
    assert one.key == two.key
    for body in (slack_body, webhook_body, alertmanager_body):
        assert body(one) == body(two)


def test_nobody_is_told_of_less_than_a_doubling():
    gists = [notice_of(incident(count=count, revision=count)).gist for count in range(16, 64)]
    assert len(set(gists)) == 2


def test_who_is_told():
    assert targets_of(escalation(target="a")) == ("a",)
    assert targets_of(alert(targets=["a", "b", "a", ""])) == ("a", "b")
    assert targets_of(incident(targets=None)) == ()


# ---------------------------------------------------------------------- hostile

texts = st.text(max_size=2000)


@given(texts)
def test_plain_text_is_one_short_line_that_no_display_obeys(text):
    told = plain(text)
    assert len(told) <= LONGEST_VALUE
    assert "\n" not in told
    assert not {unicodedata.category(character) for character in told} & {"Cc", "Cf"}
    assert plain(told) == told


@given(texts, texts)
def test_hostile_terms_break_no_form(term, topic):
    said = alert(topic=topic[:60], evidence=Evidence(terms=[TermCount(term=term[:80], count=1)]))
    letter = Letter.of([said])
    told = json.loads(slack_body(letter))
    for text in [told["text"], *(block["text"]["text"] for block in told["blocks"])]:
        bare = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        assert not set("<>&") & set(bare)
    json.loads(webhook_body(letter))
    json.loads(alertmanager_body(letter))
    mail = mail_of(letter, "klingel@example.org", ["a@example.org"])
    assert b"\r\n\r\n" in mail.as_bytes()
    assert set(mail.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "References", "Auto-Submitted",
        "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip


def test_a_chat_reads_no_command_in_what_customers_write():
    said = alert(evidence=Evidence(terms=[TermCount(term=HOSTILE[:80], count=1)]))
    text = json.loads(slack_body(Letter.of([said])))["text"]
    line = next(each for each in text.splitlines() if each.startswith("Terms: "))
    assert line.startswith("Terms: `&lt;!channel&gt; *x* 'y' &amp;amp; @here")
    assert line.count("`") == 2


def test_a_digest_of_the_largest_fits_into_a_message_of_every_chat():
    """Slack: 50 blocks of 3,000 characters; Mattermost: 16,383 characters."""
    records = [
        escalation(number, case_id="c" * 2048, queue="q" * 120, reason="breached")
        for number in range(40)
    ]
    told = json.loads(slack_body(Letter.of(records)))
    assert len(told["text"]) <= 16_000
    assert len(told["blocks"]) <= 50
    assert all(len(block["text"]["text"]) <= 3000 for block in told["blocks"])


# ---------------------------------------------------------------------- forms


def test_alertmanager_gets_the_same_labels_for_beginning_and_end():
    begun = json.loads(alertmanager_body(Letter.of([alert(severity=3)])))
    over = alert(severity=9, revision=8, state="ended", ended_at=NOON + timedelta(hours=1))
    ended = json.loads(alertmanager_body(Letter.of([over])))
    assert begun[0]["labels"] == ended[0]["labels"]
    assert begun[0]["startsAt"] == "2026-11-23T12:00:00.000Z"
    assert begun[0]["endsAt"] == "2026-11-30T12:00:00.000Z"
    assert ended[0]["endsAt"] == "2026-11-23T13:00:00.000Z"
    assert begun[0]["annotations"]["severity"] == "3 of 10"


def test_an_end_never_lies_before_its_beginning():
    """Alertmanager refuses such a one; a record of a source with a wrong clock may have it."""
    over = alert(state="ended", ended_at=NOON - timedelta(hours=1), updated_at=NOON)
    (told,) = json.loads(alertmanager_body(Letter.of([over])))
    assert told["endsAt"] >= told["startsAt"]


def test_a_webhook_gets_the_record():
    told = json.loads(webhook_body(Letter.of([escalation()])))
    assert (told["type"], told["timestamp"]) == ("escalation.raised", "2026-11-23T12:00:01.000Z")
    assert told["data"] == json.loads(codec.encode(escalation()))
    assert told["key"] == f"escalation_{1:032x}_1"


def test_mails_about_one_matter_are_one_conversation():
    mails = [
        mail_of(Letter.of([escalation(revision=revision)]), "k@example.org", ["a@example.org"])
        for revision in (1, 2)
    ]
    assert mails[0]["Message-ID"] == f"<escalation_{1:032x}_1@example.org>"
    assert mails[0]["Message-ID"] != mails[1]["Message-ID"]
    assert mails[0]["References"] == mails[1]["References"]
    assert mails[0]["Date"] == "Mon, 23 Nov 2026 12:00:01 +0000"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (-5, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"),
        (3600, "1 h"), (3660, "1 h 1 min"), (90_000, "1 d 1 h"), (86_400, "1 d"),
    ],
)  # fmt: skip
def test_durations(seconds, said):
    assert lasting(seconds) == said


def test_times_are_told_in_utc():
    berlin = datetime.fromisoformat("2026-11-23T13:15:00+01:00")
    assert berlin.astimezone(UTC).hour == 12
    assert "12:15 UTC" in notice_of(escalation(deadline=berlin)).title
