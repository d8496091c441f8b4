"""What a teacher guesses of unlabelled posts is learned where it is sure, and weighs less than labels.

The teacher here counts words of three small lists; the real one is a larger model.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from klingel.errors import ConfigurationError
from klingel.language.heads import Group, Heads, Weights, encode
from klingel.language.training import Plan, Row, train
from klingel_models.tasks import TONES, Labelled
from klingel_models.teaching import (
    Lessons,
    changed_tones,
    known_rows,
    lessons_of,
    read_unlabelled,
    train_with_lessons,
)

WORDS = {
    "negative": ("murks", "brackig", "mies"),
    "neutral": ("fahrplan", "gleis", "ticket"),
    "positive": ("knorke", "dufte", "super"),
}
TAUGHT = {"negative": "grottig", "neutral": "uhrzeit", "positive": "prima"}
"""Words that the teacher knows and no labelled row has."""


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return how many words of each tone a text has, in as many numbers as a larger model gives."""
    vectors = np.zeros((len(texts), 3), np.float32)
    for row, text in enumerate(texts):
        for column, tone in enumerate(TONES):
            known = {*WORDS[tone], TAUGHT[tone]}
            vectors[row, column] = sum(word in known for word in text.split())
    return np.tile(vectors, (1, 200))


def rows_of(words: dict[str, tuple[str, ...]], count: int, seed: int) -> list[Labelled]:
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        tone = TONES[number % 3]
        said = [*chance.choices(("der", "zug", "ist", "und"), k=3), chance.choice(words[tone])]
        rows.append(Labelled(f"{' '.join(said)} {number}", frozenset((tone,)), "de"))
    return rows


KNOWN = rows_of(WORDS, 120, 1)
UNSEEN = rows_of({tone: (word,) for tone, word in TAUGHT.items()}, 90, 2)


@pytest.fixture(scope="module")
def base() -> Weights:
    """A model of tone of the known words alone."""
    rows = [Row(row.text, "made", {f"tone:{t}": t in row.truth for t in TONES}) for row in KNOWN]
    return train(
        rows, Plan(groups=(Group("tone", tuple(f"tone:{tone}" for tone in TONES)),))
    ).weights


def tones(weights: Weights, texts: Sequence[str]) -> list[str | None]:
    heads = Heads(weights)
    return [answer.label for answer in heads.answers("tone", heads.score(texts))]


def test_words_that_only_the_teacher_knows_are_learned(base: Weights) -> None:
    found = lessons_of(KNOWN, UNSEEN, embed)
    assert found.read == len(UNSEEN)
    assert found.taken == tuple(UNSEEN)
    taught = train_with_lessons(base, [], found).weights
    words = list(TAUGHT.values())
    assert tones(taught, words) == list(TONES)
    assert tones(base, words) != list(TONES)
    changed = changed_tones(base, taught, UNSEEN)
    differ = [a != b for a, b in zip(tones(base, [r.text for r in UNSEEN]), tones(taught, [r.text for r in UNSEEN]), strict=True)]  # fmt: skip
    assert sum(each["rows"] for each in changed) == sum(differ) > 0


def test_what_the_teacher_is_not_sure_of_is_not_learned() -> None:
    vague = [Labelled(f"der zug {n}", frozenset(), "de") for n in range(30)]
    found = lessons_of(KNOWN, [*vague, *UNSEEN], embed)
    assert found.read == len(vague) + len(UNSEEN)
    assert set(found.taken) == set(UNSEEN)
    assert lessons_of(KNOWN, UNSEEN, embed, sure=1.0).taken == ()


def test_what_is_labelled_is_not_asked() -> None:
    seen: list[tuple[int, int]] = []
    found = lessons_of(
        KNOWN,
        [*KNOWN[:10], *UNSEEN[:5]],
        embed,
        progress=lambda done, of: seen.append((done, of)),
    )
    assert found.read == 5
    assert seen[-1] == (125, 125)
    assert lessons_of(KNOWN, KNOWN, embed) == Lessons(0, ())


def test_labels_outweigh_a_teacher_that_says_otherwise(base: Weights) -> None:
    wrong = [
        row._replace(text=row.text + " grottig", truth=frozenset(("positive",))) for row in UNSEEN
    ]
    own = [
        Labelled(f"grottig {word} {n}", frozenset(("negative",)), "de")
        for n in range(30)
        for word in ("zug", "und")
    ]
    own += [row for row in rows_of(WORDS, 60, 4) if "negative" not in row.truth]
    taught = train_with_lessons(base, own, Lessons(len(wrong), tuple(wrong)))
    assert tones(taught.weights, ["grottig"]) == ["negative"]
    assert all(len(each) == len(own) for each in taught.trial.values())


def test_without_labels_probabilities_keep_their_scale(base: Weights) -> None:
    taught = train_with_lessons(base, [], lessons_of(KNOWN, UNSEEN, embed)).weights
    before = {output.name: (output.slope, output.shift) for output in base.outputs}
    after = {output.name: (output.slope, output.shift) for output in taught.outputs}
    assert before == after


def test_the_same_posts_give_the_same_bytes(base: Weights) -> None:
    found = lessons_of(KNOWN, UNSEEN, embed)
    one, two = (encode(train_with_lessons(base, KNOWN[:30], found).weights) for _ in range(2))
    assert one == two


def test_too_little_and_a_base_without_tones_are_one_sentence(base: Weights) -> None:
    few = Lessons(5, tuple(UNSEEN[:5]))
    with pytest.raises(ConfigurationError, match="5 rows are too few to train on"):
        train_with_lessons(base, [], few)
    other = train([Row(f"zug {n}", "made", {"anger": n % 2 == 0}) for n in range(30)], Plan())
    with pytest.raises(ConfigurationError, match="the base has no tones"):
        train_with_lessons(other.weights, [], Lessons(90, tuple(UNSEEN)))


def test_a_teacher_of_one_tone_teaches_nothing() -> None:
    same = [row for row in KNOWN if "positive" in row.truth]
    with pytest.raises(ConfigurationError, match="every row has the same label"):
        lessons_of(same, UNSEEN, embed)


def test_a_sample_of_unlabelled_posts_is_the_same_in_any_order(tmp_path: Path) -> None:
    rows = [{"text": row.text, "lang": "de"} for row in UNSEEN]
    rows += [{"text": "  "}, {"text": UNSEEN[0].text}, {"text": "ohne sprache", "lang": 5}]
    files = []
    for name in ("one", "two"):
        random.Random(name).shuffle(rows)
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    one, two = (read_unlabelled(file, 40) for file in files)
    assert [row.text for row in one] == [row.text for row in two]
    assert len(one) == 40
    assert len(read_unlabelled(files[0])) == len(UNSEEN) + 1
    files[0].write_text('{"text": ""}\n', "utf-8")
    with pytest.raises(ConfigurationError, match=r"one\.jsonl: no row has a text"):
        read_unlabelled(files[0])


def test_the_teacher_learns_from_the_posts_and_from_labels(tmp_path: Path) -> None:
    known = known_rows(KNOWN[:30])
    assert known[-30:] == KNOWN[:30]
    assert len(known) == 1_230
    assert {tone for row in known for tone in row.truth} == set(TONES)
    assert known_rows(KNOWN[:30], tmp_path / "gone") == KNOWN[:30]
    with pytest.raises(ConfigurationError, match="only in a checkout"):
        known_rows(KNOWN[:3], tmp_path / "gone")
