"""Fitting: equal rows give equal bytes, the runtime scores as the fit did, brands build on it."""

import builtins
import importlib
import random

import numpy as np
import pytest

from klingel.errors import ConfigurationError
from klingel.language.heads import Group, Heads, encode
from klingel.language.training import (
    Plan,
    Row,
    extend,
    fold_of,
    read_texts,
    row_weights,
    scikit,
    space_of,
    train,
)

GOOD = [
    "danke",
    "super",
    "toll",
    "prima",
    "great",
    "thanks",
    "lovely",
    "perfect",
    "schnell",
    "helpful",
]
BAD = [
    "schlecht",
    "kaputt",
    "late",
    "broken",
    "wütend",
    "delayed",
    "Verspätung",
    "terrible",
    "never",
    "WARTEN",
]
PLAIN = [
    "der",
    "zug",
    "train",
    "heute",
    "today",
    "ist",
    "is",
    "rechnung",
    "bill",
    "app",
    "um",
    "8",
    "@anna",
    "and",
    "und",
    "das",
    "the",
]
TONE = Group("tone", ("tone:negative", "tone:positive"))
PLAN = Plan(groups=(TONE,), about={"name": "test"}, pair_rows=3)


def made(count: int, seed: int = 3, source: str = "made") -> list[Row]:
    """Return rows whose tone stands in one of their words."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        negative = number % 2 == 0
        words = [*chance.choices(PLAIN, k=5), chance.choice(BAD if negative else GOOD)]
        chance.shuffle(words)
        rows.append(
            Row(" ".join(words), source, {"tone:negative": negative, "tone:positive": not negative})
        )
    return rows


def test_the_same_rows_give_the_same_bytes() -> None:
    first, second = (encode(train(made(120), PLAN).weights) for _ in range(2))
    assert first == second
    assert first != encode(train(made(120, seed=4), PLAN).weights)


def test_what_was_learned_holds_for_other_rows() -> None:
    heads = Heads(train(made(300), PLAN).weights)
    other = made(100, seed=9)
    scores = heads.score([row.text for row in other])
    answers = [f"tone:{answer.label}" for answer in heads.answers("tone", scores)]
    right = sum(row.labels[answer] for row, answer in zip(other, answers, strict=True))
    assert right >= 98
    (sure,) = heads.answers("tone", heads.score(["super danke, der zug ist toll"]))
    assert sure.label == "positive"
    assert sure.probability > 0.8


def test_the_runtime_scores_as_the_fit_did() -> None:
    """One byte a weight loses little: scores differ by less than a twentieth of their spread."""
    using = scikit()
    rows = made(200)
    trained = train(rows, PLAN)
    said = read_texts(row.text for row in rows)
    space = space_of(said, PLAN)
    matrix = space.matrix(said, using)
    weights = trained.weights
    wide = len(weights.words) + len(weights.pairs)
    lifted = np.zeros((space.wide, 2))
    for column, output in enumerate(weights.outputs):
        lifted[:wide, column] = weights.word_weights[:, column] * output.word_scale
        lifted[wide:, column] = weights.part_weights[:, column] * output.part_scale
    lifted[:wide] /= weights.word_idf[:, None]
    lifted[wide:] /= weights.part_idf[:, None]
    expected = matrix @ lifted + np.array([output.bias for output in weights.outputs])
    assert Heads(weights).score([row.text for row in rows]) == pytest.approx(expected, abs=1e-4)


def test_every_source_has_its_total_and_both_answers_weigh_the_same() -> None:
    rows = [Row("x", "many", {})] * 90 + [Row("x", "few", {})] * 10
    answers = np.array([True, *[False] * 89, *[True] * 5, *[False] * 5])
    weights = row_weights(rows, answers, {"many": 1000.0, "few": 1000.0})
    assert weights.mean() == pytest.approx(1)
    assert weights[answers].sum() == pytest.approx(weights[~answers].sum())
    assert weights[1] * 9 == pytest.approx(weights[-1])


def test_held_rows_were_not_fitted_on() -> None:
    """Random labels cannot be foretold; heads that had seen the rows would do well."""
    chance = random.Random(1)
    rows = [
        Row(f"{row.text} w{n}x{n}", "made", {"noise": chance.random() < 0.5})
        for n, row in enumerate(made(200))
    ]
    trial = train(rows, Plan(word_rows=1, part_rows=1)).trial["noise"]
    right = np.mean(
        [(score > 0) == row.labels["noise"] for score, row in zip(trial, rows, strict=True)]
    )
    assert not np.isnan(trial).any()
    assert 0.3 < right < 0.7
    assert {fold_of(row.text) for row in rows} == {0, 1, 2, 3, 4}


@pytest.mark.exhaustive
def test_a_brand_shifts_what_it_labels_and_keeps_the_rest() -> None:
    """New words are learned, old ones remembered, other outputs keep their bytes."""
    base_rows = made(300)
    for row in base_rows[:150]:
        row.labels["anger"] = "wütend" in row.text
    base = train(base_rows, PLAN).weights
    own = [
        Row(f"{word} {row.text}", "own", {"tone:negative": sour, "tone:positive": not sour})
        for row in made(40, seed=5)
        for word, sour in (("brackig", True), ("knorke", False))
    ]
    grown = extend(base, own, Plan(groups=(TONE,))).weights
    heads = Heads(grown)
    answers = heads.answers("tone", heads.score(["brackig", "knorke"]))
    assert [answer.label for answer in answers] == ["negative", "positive"]
    assert heads.names == ("anger", "tone:negative", "tone:positive")
    old, new = Heads(base), Heads(grown)
    texts = ["wütend heute", "der zug ist da"]
    assert new.score(texts)[:, 0] == pytest.approx(old.score(texts)[:, 2], abs=1e-4)
    assert encode(grown) == encode(extend(base, own, Plan(groups=(TONE,))).weights)


def test_a_brands_own_intents_may_be_rejected() -> None:
    base = train(made(200), PLAN).weights
    chance = random.Random(8)
    topics = {"luggage": "koffer gepäck bag luggage", "refund": "geld zurück refund money"}
    rows = [
        Row(
            " ".join([*chance.choices(PLAIN, k=4), *chance.sample(words.split(), 2)]),
            "own",
            {f"intents:{name}": name == topic for name in topics},
        )
        for topic, words in topics.items()
        for _ in range(60)
    ]
    group = Group("intents", ("intents:luggage", "intents:refund"), threshold=0.0)
    heads = Heads(extend(base, rows, Plan(groups=(group,))).weights)
    told = heads.answers(
        "intents", heads.score(["my bag luggage", "refund my money", "zzz ooo", ""])
    )
    assert [answer.label for answer in told] == ["luggage", "refund", None, None]


def test_no_rows_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no rows to train on"):
        train([], PLAN)


def test_an_output_with_one_answer_is_constant() -> None:
    rows = [Row(row.text, "made", {"always": True}) for row in made(30)]
    heads = Heads(train(rows, Plan()).weights)
    assert heads.score(["anything", ""])[:, 0].tolist() == [1.0, 1.0]


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch) -> None:
    def missing(name: str):
        raise builtins.ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigurationError, match=r"pip install 'klingel\[training\]'"):
        train(made(30), PLAN)
