"""Topics that a brand trains: what heads add to keywords, and that keywords are never overruled."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.domain.enrichment import topics_of
from klingel.domain.matching import Rule, RuleDocument, RuleSet
from klingel.errors import ConfigurationError
from klingel.language.heads import Heads, Weights, decode, encode
from klingel.language.sense import TOPIC, Likely, Reader, Text, Topics
from klingel.language.training import Plan, Row, train
from klingel_models import topics
from klingel_models.tasks import Labelled, read_labelled
from klingel_models.topics import (
    NEVER,
    NO_TOPIC,
    SURE,
    Told,
    keywords_of,
    limit_for,
    report_of_topics,
    topics_told,
    train_topics,
)

WORDS = {
    "bills": ("rechnung", "abbuchung", "mahnung"),
    "delays": ("gleis", "verspätet", "warten"),
    "luggage": ("koffer", "gepäck", "tasche"),
}
FILLERS = ("der", "ist", "und", "heute", "bahn", "mein", "zug")
TAXONOMY = RuleSet.compile(
    [Rule("bills", "rechnung"), Rule("delays", "delay*"), Rule("luggage", "koffer OR #gepäck")]
)
NONE = RuleSet.compile([Rule(name, "zzz") for name in WORDS])


def rows_of(count: int = 160, seed: int = 5) -> list[Labelled]:
    """Return texts of no topic, of one and of two."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        names = chance.sample(sorted(WORDS), number % 3)
        words = [word for name in names for word in chance.sample(WORDS[name], 2)]
        words += chance.choices(FILLERS, k=4)
        chance.shuffle(words)
        rows.append(Labelled(f"{' '.join(words)} {number}", frozenset(names), "de"))
    return rows


@pytest.fixture(scope="module")
def base() -> Weights:
    """A small model of tone alone."""
    rows = [
        Row(f"{'danke' if n % 2 else 'murks'} zug {n}", "made", {"anger": n % 2 == 0})
        for n in range(40)
    ]
    return train(rows, Plan()).weights


@pytest.fixture(scope="module")
def trained(base: Weights) -> topics.TrainedTopics:
    return train_topics(base, rows_of(), NONE)


def test_topics_are_learned_several_at_once_and_none(trained: topics.TrainedTopics) -> None:
    others = rows_of(90, seed=8)
    heads = Heads(decode(encode(trained.weights), "model"))
    found = report_of_topics(others, topics_told(heads, others))
    assert found["accuracy"] > 0.9
    assert found["macro_f1"] > 0.95
    assert {len(row.truth) for row in others} == {0, 1, 2}


def test_the_other_heads_of_the_base_stay(base: Weights, trained: topics.TrainedTopics) -> None:
    before, after = Heads(base), Heads(trained.weights)
    assert set(after.names) == {*before.names, *(TOPIC + name for name in WORDS)}
    texts = ["danke zug", "murks zug"]
    old = before.score(texts)[:, before.column["anger"]]
    new = after.score(texts)[:, after.column["anger"]]
    assert (np.sign(old) == np.sign(new)).all()


def test_the_same_rows_give_the_same_bytes(base: Weights, trained: topics.TrainedTopics) -> None:
    assert encode(train_topics(base, rows_of(), NONE).weights) == encode(trained.weights)


def test_held_rows_are_judged_without_themselves(base: Weights) -> None:
    """Labels by chance cannot be learned: heads that saw their own rows would seem to know them."""
    chance = random.Random(3)
    rows = [
        Labelled(
            f"{' '.join(chance.choices(FILLERS, k=6))} {n}",
            frozenset(("bills",)) if chance.random() < 0.3 else frozenset(),
            "de",
        )
        for n in range(200)
    ]
    found = train_topics(base, rows, NONE)
    kept = [rows[at] for at in found.held]
    figures = report_of_topics(kept, found.told)
    assert figures["macro_f1"] < 0.6
    assert len(kept) == len(rows)


def test_topics_of_few_rows_are_left_to_their_keywords(base: Weights) -> None:
    rows = [row._replace(truth=row.truth - {"luggage"}) for row in rows_of()]
    rows[0] = rows[0]._replace(truth=frozenset(("luggage",)))
    found = train_topics(base, rows, NONE)
    assert found.few == {"luggage": 1}
    assert TOPIC + "luggage" not in Heads(found.weights).column
    with pytest.raises(ConfigurationError, match="no topic has 8 rows"):
        train_topics(base, [row._replace(truth=frozenset()) for row in rows], NONE)
    with pytest.raises(ConfigurationError, match="7 rows are too few"):
        train_topics(base, rows[:7], NONE)


def test_a_head_that_adds_nothing_to_its_keywords_is_never_told(base: Weights) -> None:
    perfect = RuleSet.compile([Rule(name, " OR ".join(words)) for name, words in WORDS.items()])
    found = train_topics(base, rows_of(), perfect)
    assert found.unsure == tuple(sorted(WORDS))
    heads = Heads(found.weights)
    assert all(heads.outputs[heads.column[TOPIC + name]].threshold == NEVER for name in WORDS)
    rows = rows_of(60, seed=9)
    assert [told.trained for told in topics_told(heads, rows)] == [()] * len(rows)


@given(
    st.lists(
        st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans(), st.booleans()),
        max_size=60,
    )
)
def test_a_threshold_never_makes_keywords_worse(
    rows: list[tuple[float, bool, bool]],
) -> None:
    chances = np.array([row[0] for row in rows], np.float32)
    truth = np.array([row[1] for row in rows], np.bool_)
    keywords = np.array([row[2] for row in rows], np.bool_)
    limit = limit_for(chances, truth, keywords)
    added = (chances >= np.float32(limit)) & ~keywords

    def f1(told: np.ndarray) -> float:
        return 2 * int((told & truth).sum()) / max(1, int(told.sum() + truth.sum()))

    if limit == NEVER:
        assert not added.any()
    else:
        assert truth[added].mean() >= SURE
        assert f1(keywords | added) > f1(keywords)
    for other in set(chances.tolist()):
        more = (chances >= np.float32(other)) & ~keywords
        if more.any() and truth[more].mean() >= SURE:
            assert f1(keywords | more) <= f1(keywords | added)


def test_a_keyword_is_never_overruled_and_comes_first() -> None:
    document = RuleDocument(text="my rechnung and the delay")
    likely = (Likely("gone", 0.99), Likely("luggage", 0.9), Likely("bills", 0.8))
    assert topics_of(TAXONOMY, document, likely) == ["bills", "delays", "luggage"]
    assert topics_of(TAXONOMY, document) == ["bills", "delays"]
    assert topics_of(RuleSet.compile([]), document, likely) == []


def test_rows_are_seen_by_queries_with_what_stands_in_their_text() -> None:
    rows = [
        Labelled("hallo #Gepäck https://a.example", frozenset(), "de"),
        Labelled("hello @bahn", frozenset(), "en"),
    ]
    asked = RuleSet.compile(
        [
            Rule("tag", "hashtag:gepäck"),
            Rule("link", "has:link"),
            Rule("to", "mention:bahn"),
            Rule("german", "lang:de"),
        ]
    )
    assert keywords_of(asked, rows) == [{"tag", "link", "german"}, {"to"}]
    assert keywords_of(None, rows) == [frozenset()] * 2


def test_a_report_says_what_was_taken_for_what() -> None:
    rows = [
        Labelled("a", frozenset(("bills",)), None),
        Labelled("b", frozenset(("bills", "delays")), None),
        Labelled("c", frozenset(), None),
        Labelled("d", frozenset(), None),
    ]
    told = [
        Told(frozenset(("delays",))),
        Told(frozenset(("bills",))),
        Told(frozenset(), (Likely("luggage", 0.75),)),
        Told(frozenset()),
    ]
    found = report_of_topics(rows, told)
    assert found["accuracy"] == 0.25
    assert found["ece"] == pytest.approx(0.75)
    pairs = {(each["truth"], each["answer"]): each["rows"] for each in found["confusion"]}
    assert pairs == {
        ("bills", "bills"): 1,
        ("bills", "delays"): 1,
        ("delays", NO_TOPIC): 1,
        (NO_TOPIC, "luggage"): 1,
    }
    assert report_of_topics(rows[:1], told[:1])["ece"] is None


REASONS = {
    "Customer Service Issue": ("service", '"customer service" OR "on hold" OR rude'),
    "Late Flight": ("late", "delay* OR late"),
    "Lost Luggage": ("luggage", "bag OR bags OR luggage"),
    "Flight Booking Problems": ("booking", "booking OR reservation"),
}


@pytest.mark.exhaustive
def test_on_real_complaints_heads_add_to_keywords(base: Weights, shared_data: Path) -> None:
    """Trained on 1,500 posts; of 1,500 others more are right than by keywords, as was promised."""
    path = shared_data / "nc" / "text" / "airline_us_sentiment.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        posts = [json.loads(line) for line in file]
    rows = [
        Labelled(row["text"], frozenset(REASONS[reason][:1] if reason in REASONS else ()), "en")
        for row in posts
        if (reason := row["labels"]["reason"]) != "Can't Tell"
    ]
    random.Random(11).shuffle(rows)
    own, other = rows[:1500], rows[1500:3000]
    taxonomy = RuleSet.compile(Rule(name, query) for name, query in REASONS.values())
    trained = train_topics(base, own, taxonomy)
    promised = report_of_topics([own[at] for at in trained.held], trained.told)
    told = topics_told(Heads(trained.weights), other, taxonomy)
    keywords = keywords_of(taxonomy, other)
    found = report_of_topics(other, told)
    alone = report_of_topics(other, [Told(hits) for hits in keywords])
    assert found["macro_f1"] > alone["macro_f1"] + 0.02
    assert found["accuracy"] > alone["accuracy"] + 0.01
    assert abs(found["macro_f1"] - promised["macro_f1"]) < 0.05
    assert all(hits <= each.names for hits, each in zip(keywords, told, strict=True))
    added = [one.topic in row.truth for row, each in zip(other, told, strict=True) for one in each.trained]  # fmt: skip
    assert len(added) > 50
    assert np.mean(added) > 0.5


def test_the_reader_tells_topics_whatever_else_is_in_the_batch(
    trained: topics.TrainedTopics,
) -> None:
    reader = Reader("ours", "v1", trained.weights)
    texts = [Text(row.text, "post", "de") for row in rows_of(40, seed=6)]
    texts += [Text(hostile, "post", None) for hostile in ("", "😡" * 30_000, "koffer " * 5_000)]
    together = [sense.topics for sense in reader.read(texts)]
    assert together == [reader.read([text])[0].topics for text in texts]
    for found in together:
        assert list(found) == sorted(found, key=lambda one: (-one.probability, one.topic))
    assert any(len(found) == 2 for found in together)


def test_hostile_rows_are_learned_like_others(base: Weights, tmp_path: Path) -> None:
    hostile = ["\ud800 rechnung", "😡" * 3_000, "a\u0300" * 5_000, "", "\u202e" * 50, "x" * 30_000]
    lines = [
        json.dumps({"text": text, "labels": {"topics": ["bills"] if n % 2 else []}})
        for n in range(6)
        for text in (*hostile, f"mahnung {n}")
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    rows = read_labelled(file, "topics", {"bills", "delays"})
    assert len(rows) == len(lines)
    assert rows[0].text == "? rechnung"
    trained = train_topics(base, rows, TAXONOMY)
    heads = Heads(decode(encode(trained.weights), "model"))
    assert len(topics_told(heads, rows, TAXONOMY)) == len(rows)


def test_a_model_without_topics_tells_none(base: Weights) -> None:
    assert Topics(Heads(base)).of(np.ones((3, 1), np.float32)) == [()] * 3
    assert Reader("plain", "v1", base).read([Text("rechnung", "post", "de")])[0].topics == ()
