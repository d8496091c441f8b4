"""Topics of a brand's own taxonomy, trained on its labelled rows: keywords first, heads beside them.

Each topic has a head of its own, and a threshold chosen on rows that its head was not fitted on, so
that what the head adds to the keywords is worth more than what it spoils.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from klingel.domain.matching import RuleDocument, RuleSet
from klingel.errors import ConfigurationError
from klingel.language.evaluation import calibration_error, reports_of_sets
from klingel.language.heads import Heads, Weights
from klingel.language.sense import TOPIC, Likely, Topics
from klingel.language.training import Plan, Row, Trained, extend
from klingel_models.tasks import FEWEST, Labelled, held_rows, trial_scores

FEW = 8
"""Rows of a topic, or beside it, below which it is left to its keywords."""
SURE = 0.5
"""Of what a head adds to the keywords, the share that must be right on held rows."""
NEVER = 2.0
"""Threshold of a head that adds nothing: no probability reaches it."""
PARTS = 5
NO_TOPIC = "no topic"
"""Stands for none in a confusion; no id of a topic has a blank."""
_COST = 0.5
_HASHTAG = re.compile(r"#(\w+)")
_MENTION = re.compile(r"@(\w+)")
_LINK = re.compile(r"https?://\S")


class Told(NamedTuple):
    """What is told of one text.

    Args:
        keywords: topics whose query hits.
        trained: topics of the model that are sure enough, and of which no keyword is.
    """

    keywords: frozenset[str]
    trained: tuple[Likely, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """All topics that the event carries."""
        return self.keywords.union(each.topic for each in self.trained)


def document_of(row: Labelled) -> RuleDocument:
    """Return a row as queries see it: its text, its language, and what stands in the text."""
    return RuleDocument(
        text=row.text,
        lang=row.lang,
        has_link=_LINK.search(row.text) is not None,
        hashtags=_HASHTAG.findall(row.text),
        mentions=_MENTION.findall(row.text),
    )


def keywords_of(taxonomy: RuleSet | None, rows: Sequence[Labelled]) -> list[frozenset[str]]:
    """Return the topics of each row whose query hits; none without a taxonomy."""
    if taxonomy is None:
        return [frozenset()] * len(rows)
    return [frozenset(hit.rule_id for hit in taxonomy.match(document_of(row))) for row in rows]


def topics_told(
    heads: Heads, rows: Sequence[Labelled], taxonomy: RuleSet | None = None
) -> list[Told]:
    """Return what events with these texts carry.

    Args:
        heads: the model.
        rows: texts, and their language where queries ask for it.
        taxonomy: the brand's topics as rules; without one, what the model alone tells.
    """
    likely = Topics(heads).of(heads.probabilities(heads.score([row.text for row in rows])))
    known = None if taxonomy is None else frozenset(each.rule.id for each in taxonomy.rules)
    return [
        Told(hits, _beside(hits, some, known))
        for hits, some in zip(keywords_of(taxonomy, rows), likely, strict=True)
    ]


def _beside(
    hits: frozenset[str], likely: Sequence[Likely], known: frozenset[str] | None
) -> tuple[Likely, ...]:
    return tuple(
        each for each in likely if each.topic not in hits and (known is None or each.topic in known)
    )


class TrainedTopics(NamedTuple):
    """A model with heads of topics, and what it tells of rows that they were not fitted on.

    Args:
        weights: the model, fitted on all rows.
        held: places of the rows that were held back.
        told: of each of these, by heads that were fitted and thresholds that were chosen without it.
        few: topics that were left to their keywords, and how many rows they have.
        unsure: topics whose heads add nothing to the keywords.
    """

    weights: Weights
    held: list[int]
    told: list[Told]
    few: dict[str, int]
    unsure: tuple[str, ...]


def train_topics(
    base: Weights,
    rows: Sequence[Labelled],
    taxonomy: RuleSet,
    *,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> TrainedTopics:
    """Fit heads of a brand's topics on top of a model, whose other heads stay as they are.

    Args:
        base: the model to start from; heads of topics that the rows do not name stay too.
        rows: texts, each with all of its topics.
        taxonomy: the brand's topics as rules.
        about: stored with the model.
        progress: told which output is fitted next.

    Raises:
        ConfigurationError: too few rows, or no topic has enough; scikit-learn is missing.
    """
    if len(rows) < FEWEST:
        raise ConfigurationError(
            f"{len(rows)} rows are too few to train on; {FEWEST} are the least"
        )
    counted = {name: sum(name in row.truth for row in rows) for name in _named(rows)}
    enough = [name for name, many in counted.items() if FEW <= many <= len(rows) - FEW]
    if not enough:
        raise ConfigurationError(
            f"no topic has {FEW} rows, and {FEW} beside it; label more, or leave it to the keywords"
        )
    fitted = [
        Row(row.text, "own", {TOPIC + name: name in row.truth for name in enough}) for row in rows
    ]
    trained = extend(base, fitted, Plan(cost=_COST, part_rows=2, about=dict(about or {})), progress)
    heads = Heads(trained.weights)
    chances = heads.probabilities(trial_scores(heads, trained, rows))
    held = np.flatnonzero(held_rows(trained)).tolist()
    trial = _Trial(
        enough,
        chances[held][:, [heads.column[TOPIC + name] for name in enough]],
        _marks(enough, [rows[at].truth for at in held]),
        _marks(enough, keywords_of(taxonomy, [rows[at] for at in held])),
    )
    limits = trial.limits()
    weights = _with_limits(trained, dict(zip(enough, limits, strict=True)))
    return TrainedTopics(
        weights,
        held,
        _tried(trial, rows, held, taxonomy),
        {name: many for name, many in counted.items() if name not in enough},
        tuple(name for name, limit in zip(enough, limits, strict=True) if limit == NEVER),
    )


def _named(rows: Sequence[Labelled]) -> list[str]:
    return sorted({name for row in rows for name in row.truth})


def _marks(names: Sequence[str], sets: Sequence[frozenset[str]]) -> NDArray[np.bool_]:
    return np.array([[name in some for name in names] for some in sets], np.bool_)


def _with_limits(trained: Trained, limits: Mapping[str, float]) -> Weights:
    outputs = tuple(
        replace(output, threshold=limits[name])
        if (name := output.name.removeprefix(TOPIC)) in limits and output.name.startswith(TOPIC)
        else output
        for output in trained.weights.outputs
    )
    return replace(trained.weights, outputs=outputs)


class _Trial(NamedTuple):
    """Held rows: probabilities, truth and keywords, (rows, names) each."""

    names: Sequence[str]
    chances: NDArray[np.float32]
    truth: NDArray[np.bool_]
    keywords: NDArray[np.bool_]

    def limits(self, some: NDArray[np.bool_] | None = None) -> list[float]:
        """Return the threshold of each head, chosen on some of the rows."""
        at = slice(None) if some is None else some
        return [
            limit_for(self.chances[at, n], self.truth[at, n], self.keywords[at, n])
            for n in range(len(self.names))
        ]


def limit_for(
    chances: NDArray[np.float32], truth: NDArray[np.bool_], keywords: NDArray[np.bool_]
) -> float:
    """Return the probability from which on a head's topic is told beside the keywords.

    It is the one with the best F1 of both together among those at which at least `SURE` of what
    the head adds is right; of equal ones the highest. `NEVER` where the keywords alone are as good.

    Args:
        chances: probability of each held row.
        truth: whether the topic applies.
        keywords: whether its query hits.
    """
    order = np.flatnonzero(~keywords)
    order = order[np.argsort(-chances[order], kind="stable")]
    ranked = chances[order]
    right = np.cumsum(truth[order])
    added = np.arange(1, len(order) + 1)
    hits, hit, support = int((keywords & truth).sum()), int(keywords.sum()), int(truth.sum())
    if not len(order) or not support:
        return NEVER
    f1 = 2 * (hits + right) / (support + hit + added)
    # Rows of one probability are told together or not at all.
    may = (right >= SURE * added) & np.append(ranked[1:] < ranked[:-1], np.True_)
    best = int(np.where(may, f1, -1.0).argmax())
    if not may[best] or f1[best] <= 2 * hits / (support + hit):
        return NEVER
    return float(ranked[best])


def _tried(
    trial: _Trial, rows: Sequence[Labelled], held: Sequence[int], taxonomy: RuleSet
) -> list[Told]:
    """Return what is told of held rows, the thresholds chosen on the other four fifths of them."""
    part = np.array([hashlib.sha256(rows[at].text.encode()).digest()[1] % PARTS for at in held])
    yes = np.zeros(trial.chances.shape, np.bool_)
    for number in range(PARTS):
        tried = part == number
        if tried.any():
            yes[tried] = trial.chances[tried] >= np.array(trial.limits(~tried), np.float32)
    found: list[list[Likely]] = [[] for _ in held]
    for row, n in np.argwhere(yes & ~trial.keywords).tolist():
        found[row].append(Likely(trial.names[n], float(trial.chances[row, n])))
    hits = keywords_of(taxonomy, [rows[at] for at in held])
    return [Told(some, tuple(more)) for some, more in zip(hits, found, strict=True)]


def report_of_topics(rows: Sequence[Labelled], told: Sequence[Told]) -> dict[str, Any]:
    """Return how good topics are, as JSON.

    `accuracy` is the share of rows with exactly the right topics; `ece` is that of the heads' topics
    alone, None where they tell none.
    """
    truth, found = [row.truth for row in rows], [each.names for each in told]
    by_class = reports_of_sets(truth, found, sorted(frozenset().union(*truth, *found)))
    scored = [each.f1 for each in by_class if each.support]
    trained = [(one, row) for row, each in zip(rows, told, strict=True) for one in each.trained]
    return {
        "rows": len(rows),
        "accuracy": float(np.mean([a == b for a, b in zip(truth, found, strict=True)])),
        "macro_f1": float(np.mean(scored)) if scored else 0.0,
        "classes": [each._asdict() for each in by_class],
        "confusion": _confusion(truth, found),
        "ece": calibration_error(
            [one.probability for one, _ in trained],
            [one.topic in row.truth for one, row in trained],
        )
        if trained
        else None,
    }


def _confusion(
    truth: Sequence[frozenset[str]], found: Sequence[frozenset[str]]
) -> list[dict[str, Any]]:
    """Return how often a topic was told rightly, instead of another, too much or not at all."""
    counted: Counter[tuple[str, str]] = Counter()
    for right, told in zip(truth, found, strict=True):
        pairs = [(name, name) for name in right & told]
        if right != told:
            missed, more = right - told or {NO_TOPIC}, told - right or {NO_TOPIC}
            pairs += [(a, b) for a in missed for b in more]
        counted.update(pairs)
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [{"truth": a, "answer": b, "rows": rows} for (a, b), rows in ranked]
