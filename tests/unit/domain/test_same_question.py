"""The same question: who is put together, what is remembered, and what real posts say of it."""

import gzip
import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klingel.domain.same_question import (
    WORDS,
    Asked,
    QuestionLimits,
    QuestionWindow,
    intent_term,
    terms_of,
)

OUTAGE = [
    "Internet in Kassel ausgefallen?",
    "Wieso ist das Internet in Kassel ausgefallen",
    "Internetausfall in Kassel, wann geht es wieder",
    "ausfall kassel internet tot seit heute",
    "Kassel: Internet ausgefallen, Hotline besetzt",
    "In Kassel geht kein Internet, Ausfall?",
]
OTHERS = [
    "Meine Rechnung stimmt nicht",
    "Schöner Laden, nettes Team",
    "Wo bleibt mein Paket",
    "Neues Handy ist da",
    "Vertrag kündigen geht nicht online",
    "Guten Morgen zusammen",
    "App stürzt beim Öffnen ab",
    "Danke für die schnelle Hilfe",
    "Kann ich den Tarif wechseln",
    "Warum kostet der Anschluss so viel",
]


def background(posts=300, seed=3):
    """Give posts that have hardly anything in common, so that rare words are known to be rare."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefghijklmnoprstuw", k=7)) for _ in range(1_500)]
    return [" ".join(chance.choices(words, k=8)) for _ in range(posts)]


BACKGROUND = background() + OTHERS


def window_of(texts, limits=None, intents=()):
    window = QuestionWindow(limits)
    for at, text in enumerate(texts):
        window.add(Asked(f"p{at}", text, float(at), f"a{at}", intents[at] if intents else ()))
    return window


STATE = window_of(BACKGROUND).export()


def after_background(texts, author="b{}", intents=()):
    window = QuestionWindow.restore(STATE)
    for at, text in enumerate(texts):
        window.add(Asked(f"q{at}", text, 1_000.0 + at, author.format(at), intents))
    return window


def test_posts_with_the_same_rare_words_are_one_question():
    found = after_background(OUTAGE).clusters(least_posts=4)
    question = next(each for each in found if "q0" in each.ids)
    assert set(question.ids) <= {f"q{at}" for at in range(6)}
    assert len(question.ids) >= 5
    assert question.authors == len(question.ids)
    assert question.centre in question.ids
    assert 1_000 <= question.first < question.last <= 1_005


def test_one_author_is_not_many():
    window = after_background(OUTAGE, author="always me")
    assert all("q0" not in each.ids for each in window.clusters(least_posts=4, least_authors=2))
    assert any("q0" in each.ids for each in window.clusters(least_posts=4, least_authors=1))


def test_intents_are_evidence():
    texts = ["wo ist er denn nur", "das ding fehlt mir", "nichts gekommen bisher", "noch am warten"]
    ids = tuple(f"q{at}" for at in range(4))
    assert all(each.ids != ids for each in after_background(texts).clusters(least_posts=3))
    window = after_background(texts, intents=("parcel_missing",))
    assert any(each.ids == ids for each in window.clusters(least_posts=3))
    assert intent_term("a") != intent_term("b")


def test_a_known_id_changes_nothing():
    window = window_of(OUTAGE)
    before = window.export()
    window.add(Asked("p0", "anderer Text", 99.0, "b"))
    assert window.export() == before


def test_time_passes_and_memory_is_bounded():
    window = window_of(OUTAGE, QuestionLimits(seconds=2.5))
    assert len(window) == 3
    window = QuestionWindow(QuestionLimits(posts=50))
    for at in range(2_500):
        window.add(Asked(str(at), f"{OUTAGE[at % 6]} {at}", 0.0, str(at)))
        assert len(window) <= 50
    assert len(window._posts) <= 50 + 1_024
    assert sum(map(len, window._postings.values())) <= 1_100 * 120
    ids = {id_ for question in window.clusters() for id_ in question.ids}
    assert ids
    assert ids <= {str(at) for at in range(2_450, 2_500)}


SENTENCES = st.lists(
    st.sampled_from(OUTAGE + OTHERS + ["", "\U0001f525", "x"]), min_size=1, max_size=30
)


@given(SENTENCES, st.integers(0, 30), st.integers(2, 12))
def test_a_restored_export_goes_on_the_same(texts, cut, posts):
    limits = QuestionLimits(seconds=9, posts=posts)
    window, whole = QuestionWindow(limits), QuestionWindow(limits)
    for at, text in enumerate(texts):
        if at == cut:
            window = QuestionWindow.restore(window.export())
        for each in (window, whole):
            each.add(Asked(f"p{at}", text, float(at), f"a{at % 3}"))
    assert window.clusters(2, 1) == whole.clusters(2, 1)
    assert window.export() == whole.export()


@given(SENTENCES)
def test_no_post_is_in_two_questions(texts):
    ids = [id_ for question in window_of(texts).clusters(2, 1) for id_ in question.ids]
    assert len(ids) == len(set(ids))


@settings(max_examples=15)
@given(st.permutations(range(len(OUTAGE))))
def test_the_order_of_what_is_near_to_each_other_does_not_matter(order):
    """Rarity is counted as posts arrive, so that a post on the edge may fall on either side."""
    found = after_background([OUTAGE[at] for at in order]).clusters(least_posts=4)
    assert any(len(each.ids) >= 4 and all(id_[0] == "q" for id_ in each.ids) for each in found)


@pytest.mark.parametrize("data", [b"", b"x", QuestionWindow().export()[:-3]])
def test_a_torn_export_is_refused(data):
    with pytest.raises(ValueError, match="export"):
        QuestionWindow.restore(data)


@given(st.text())
def test_every_text_has_terms(text):
    assert terms_of(text) == sorted(set(terms_of(text)))


@pytest.mark.parametrize(
    "text",
    ["a" * 30_000, "a b " * 7_500, "\U0001f525" * 30_000, "é\u0301" * 15_000, "\x00" * 30_000],
)
def test_hostile_texts_take_bounded_time(text):
    window = QuestionWindow()
    began = time.process_time()
    window.add(Asked("1", text, 0.0))
    window.add(Asked("2", text + " x", 0.0))
    window.clusters(2, 1)
    assert time.process_time() - began < 0.5, "milliseconds, on a busy machine too"
    assert len(terms_of(text)) <= WORDS * 260


def load(folder, name):
    with gzip.open(folder / f"permissive/text/{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.exhaustive
def test_intents_hidden_among_other_posts_are_found(shared_data):
    """The gate in small: some intents among 2,000; in full in benchmarks/duplicates.py."""
    by_intent = {}
    for row in load(shared_data, "banking77_train"):
        by_intent.setdefault(row["labels"]["intent"], []).append(row["text"])
    clinc = [row["text"] for row in load(shared_data, "clinc150_train_val")]
    random.Random(5).shuffle(clinc)
    state = window_of(clinc[:2_000]).export()
    scores = []
    for intent in sorted(by_intent)[::16]:
        window = QuestionWindow.restore(state)
        hidden = {f"h{at}" for at in range(len(by_intent[intent]))}
        for at, text in enumerate(by_intent[intent]):
            window.add(Asked(f"h{at}", text, 5_000.0, f"h{at}"))
        best = max(window.clusters(), key=lambda question: len(hidden & set(question.ids)))
        right = len(hidden & set(best.ids))
        scores.append((right / len(best.ids), right / len(hidden)))
    precision = sum(precision for precision, _ in scores) / len(scores)
    recall = sum(recall for _, recall in scores) / len(scores)
    assert precision >= 0.7
    assert recall >= 0.5
