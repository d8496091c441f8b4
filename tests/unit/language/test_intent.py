"""The cascade: what rules find, how they weigh with the heads, several intents at once."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.language.intent import INTENTS, LIMITS, OTHER, intents_of, wording


@pytest.mark.parametrize(
    "text",
    [
        "Wann kommt die Bahn",
        "@bahn wie komme ich jetzt nach Ulm",
        "Hallo, kann man das Ticket noch umbuchen",
        "Guten Tag, gibt es morgen einen Ersatzbus",
        "Ich wollte mal fragen ob ihr samstags offen habt",
        "Weiß jemand, ob der Laden offen ist",
        "Bill is due tomorrow. How do I pay it",
        "can you tell me the opening hours",
        "anyone know if it is down",
        "Der Zug kommt?",
    ],
)
def test_questions_are_found_with_and_without_their_sign(text) -> None:
    assert wording(text).asks


@pytest.mark.parametrize(
    "text",
    [
        "Wie schön, dass ihr da seid",
        "Was für ein Tag",
        "How nice of you",
        "What a mess",
        "https://shop.example/?id=3&was=ist",
        "Danke, alles gut",
        "Mein Zug ist zu spät.",
        "",
    ],
)
def test_exclamations_and_addresses_are_no_questions(text) -> None:
    assert not wording(text).asks


@pytest.mark.parametrize(
    "text",
    [
        "Hiermit kündige ich meinen Vertrag",
        "Kündigung ist raus",
        "Ich will mein Abo bitte beenden",
        "please cancel my broadband contract",
        "close my account now",
    ],
)
def test_cancellations_are_found(text) -> None:
    assert wording(text).cancels


@pytest.mark.parametrize("text", ["Der Flug wurde storniert", "cancel culture", "flight cancelled"])
def test_other_cancelled_things_are_not(text) -> None:
    assert not wording(text).cancels


def names(text: str, tone: str | None = "neutral", **likely: float) -> list[str]:
    """Return the intents of a text, given probabilities of heads."""
    chances = {
        f"intent:{name}" if name in (*INTENTS, "issue") else name: value
        for name, value in likely.items()
    }
    return [intent.name for intent in intents_of(text, tone, chances)]


def test_what_nothing_is_sure_of_is_other() -> None:
    (only,) = intents_of("Moin", "neutral", {})
    assert only == (OTHER, 1.0)
    (only,) = intents_of("Moin", "neutral", {"intent:lead": 0.2})
    assert only == (OTHER, 0.8)


def test_a_question_needs_less_of_the_head_where_a_rule_speaks() -> None:
    between = (LIMITS.question + LIMITS.question_by_rule) / 2
    assert names("Wann kommt ihr?", question=between) == ["question"]
    assert names("Ihr kommt ja nie", question=between) == [OTHER]
    assert names(
        "Ist das euer Ernst?", tone="negative", question=0.0, issue=0.9, complaint=0.8
    ) == ["complaint"]


def test_an_issue_needs_less_of_the_head_where_the_tone_is_negative() -> None:
    between = (LIMITS.issue + LIMITS.issue_when_negative) / 2
    assert names("Zug steht", tone="negative", issue=between, problem=0.1) == ["problem"]
    assert names("Zug steht", tone="neutral", issue=between, problem=0.1) == [OTHER]


@pytest.mark.parametrize(
    ("text", "likely", "expected"),
    [
        ("Kein Netz", {"problem": 0.6, "complaint": 0.1}, ["problem"]),
        ("Kein Netz, Saftladen", {"problem": 0.6, "complaint": 0.1}, ["problem", "complaint"]),
        ("Kein Netz", {"problem": 0.2, "complaint": 0.6}, ["complaint"]),
        ("Kein Netz", {"problem": 0.2, "complaint": 0.1, "anger": 0.9}, ["complaint"]),
    ],
)
def test_complaint_and_problem_are_split_by_heat_and_wording(text, likely, expected) -> None:
    assert names(text, tone="negative", issue=0.8, **likely) == expected


def test_several_at_once_are_ordered_by_score() -> None:
    found = intents_of(
        "Internet tot, wann kommt der Techniker?",
        "negative",
        {"intent:issue": 0.8, "intent:problem": 0.7, "intent:question": 0.9},
    )
    assert found == (("question", 0.9), ("problem", 0.8))


def test_spam_stands_alone() -> None:
    assert names("Free iPhone, click here", spam=0.2, question=0.9) == ["spam"]
    assert names("mein iPhone?", spam=0.2, question=0.9) == ["question"]


@given(
    st.text(max_size=300),
    st.sampled_from(["negative", "neutral", "positive", None]),
    st.dictionaries(
        st.sampled_from(
            [*(f"intent:{name}" for name in (*INTENTS, "issue")), "anger", "offence_de"]
        ),
        st.floats(0, 1),
    ),
)
def test_every_text_has_an_intent_and_each_its_score(text, tone, likely) -> None:
    found = intents_of(text, tone, likely)
    assert found
    assert len({intent.name for intent in found}) == len(found)
    assert all(intent.name in (*INTENTS, OTHER) for intent in found)
    assert all(0 <= intent.score <= 1 for intent in found)
    assert OTHER not in {intent.name for intent in found} or len(found) == 1


@pytest.mark.parametrize(
    "text",
    [
        "?" * 30_000,
        "wie " * 8_000,
        "kann ich " * 4_000,
        "cancel my a a " * 3_000,
        ". " * 15_000,
        "\n" * 30_000,
        "@" * 30_000,
        "http" * 8_000,
        "frage, " * 5_000,
        "קריאה " * 5_000,
        "\u0310\u0311" * 15_000,
    ],
)
def test_hostile_texts_take_bounded_time(text) -> None:
    took = []
    for _ in range(3):
        start = time.perf_counter()
        wording(text)
        took.append(time.perf_counter() - start)
    # The budget of all that reads a text is 5 ms; four times that is allowed to a busy machine.
    assert min(took) < 0.02, took
