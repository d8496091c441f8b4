"""Tasks that a brand can train and evaluate: labelled rows in, answers and a report out."""

import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from klingel.errors import ConfigurationError
from klingel.language.evaluation import Report, report, reports_of_sets
from klingel.language.heads import Group, Heads, Weights
from klingel.language.intent import INTENTS, OTHER, intents_of
from klingel.language.training import Plan, Row, Trained, extend

Task = Literal["tone", "intent", "offence", "language"]
TASKS: tuple[Task, ...] = ("tone", "intent", "offence", "language")
Asked = Task | Literal["topics"]
ASKED: tuple[Asked, ...] = (*TASKS, "topics")
"""What can be trained and evaluated; topics need the brand's taxonomy (`klingel_models.topics`)."""
TONES = ("negative", "neutral", "positive")
LANGUAGES = ("de", "en", "other")
NONE = frozenset((OTHER, "oos", "none"))
"""Labels that say that no intent applies."""
FREE = "intents"
"""Group of a brand's own intents, of which one is the answer."""
FEWEST = 20
"""Rows below which nothing is trained."""
_OFFENSIVE = {"OFFENSE": True, "OTHER": False, "offensive": True, "hate": True, "neither": False}


class Labelled(NamedTuple):
    """One labelled text.

    Args:
        text: as said.
        truth: its label, or its intents or topics; empty where none applies.
        lang: its language, if it is named.
    """

    text: str
    truth: frozenset[str]
    lang: str | None


def read_labelled(path: Path, task: Asked, topics: Collection[str] | None = None) -> list[Labelled]:
    """Return the rows of a .jsonl or .jsonl.gz file that the task's labels answer.

    Args:
        path: the file.
        task: which labels are read.
        topics: of the brand, where it is known; other ones are then an error.

    Raises:
        ConfigurationError: the file cannot be read, or a line is no row of the task; the sentence
            names file and line.
    """
    rows = []
    for where, row in raw_rows(path):
        labelled = _labelled(row, task, where)
        if labelled is None:
            continue
        if topics is not None and not labelled.truth <= set(topics):
            raise ConfigurationError(
                f"{where}: `labels.topics` names a topic that the brand file does not have"
            )
        rows.append(labelled)
    if not rows:
        raise ConfigurationError(f"{path}: no row has a label of the task {task}")
    return rows


def raw_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a .jsonl or .jsonl.gz file, each with its place.

    Raises:
        ConfigurationError: the file cannot be read, or a line is no row with a text.
    """
    opener: Callable[..., Any] = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", _row(line, f"{path}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is no whole gzip file"
        raise ConfigurationError(f"{path}: {reason}; name a readable file") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: it is not UTF-8; name a .jsonl file") from None


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if "\\u" in line:  # half a pair of surrogates is no text that can be written anywhere
            row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{where}: the line is no JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise ConfigurationError(f"{where}: a row needs a `text` that is a string")
    return row


def _labelled(row: Mapping[str, Any], task: Asked, where: str) -> Labelled | None:
    labels = row.get("labels")
    if not isinstance(labels, dict):
        raise ConfigurationError(f'{where}: a row needs `labels`, such as {{"tone": "negative"}}')
    lang = row.get("lang") if isinstance(row.get("lang"), str) else None
    truth = _TRUTHS[task](labels, lang, where)
    return None if truth is None else Labelled(row["text"], truth, lang)


def _tone(labels: Mapping[str, Any], _lang: str | None, where: str) -> frozenset[str] | None:
    tone = labels.get("tone", labels.get("sentiment"))
    if tone is None or tone == "mixed":
        return None
    if tone not in TONES:
        raise ConfigurationError(f"{where}: `labels.tone` is none of {', '.join(TONES)}")
    return frozenset((tone,))


def _intent(labels: Mapping[str, Any], _lang: str | None, where: str) -> frozenset[str] | None:
    said = labels.get("intent", labels.get("intents"))
    if said is None:
        return None
    names = [said] if isinstance(said, str) else said
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"{where}: `labels.intent` is neither a name nor a list of names")
    return frozenset(names) - NONE


def _offence(labels: Mapping[str, Any], _lang: str | None, where: str) -> frozenset[str] | None:
    said = labels.get("offence", labels.get("coarse"))
    if said is None:
        return None
    answer = said if isinstance(said, bool) else _OFFENSIVE.get(str(said))
    if answer is None:
        raise ConfigurationError(f"{where}: `labels.offence` is neither true nor false")
    return frozenset(("yes" if answer else "no",))


def _language(labels: Mapping[str, Any], lang: str | None, where: str) -> frozenset[str] | None:
    said = labels.get("language", lang)
    if said is None:
        return None
    if not isinstance(said, str) or not said:
        raise ConfigurationError(f"{where}: `labels.language` is no language code")
    return frozenset((said if said in ("de", "en") else "other",))


def _topics(labels: Mapping[str, Any], _lang: str | None, where: str) -> frozenset[str] | None:
    said = labels.get("topics")
    if said is None:
        return None
    if not isinstance(said, list) or not all(isinstance(name, str) and name for name in said):
        raise ConfigurationError(f"{where}: `labels.topics` is no list of ids")
    return frozenset(said)


_TRUTHS: dict[str, Callable[[Mapping[str, Any], str | None, str], frozenset[str] | None]] = {
    "tone": _tone,
    "intent": _intent,
    "offence": _offence,
    "language": _language,
    "topics": _topics,
}


class Answers(NamedTuple):
    """What a model answers to rows; a probability belongs to each row's (best) answer."""

    names: list[frozenset[str]]
    probabilities: list[float]


def is_free(rows: Iterable[Labelled]) -> bool:
    """Whether intents are the brand's own rather than klingel's."""
    return any(not row.truth <= set(INTENTS) for row in rows)


def answers_of(
    heads: Heads, task: Task, rows: Sequence[Labelled], scores: NDArray[np.float32] | None = None
) -> Answers:
    """Return a model's answers.

    Args:
        heads: the model.
        task: what is asked.
        rows: texts, and their language where offence is asked.
        scores: of the rows, where they are known already.

    Raises:
        ConfigurationError: the model does not answer the task.
    """
    if scores is None:
        scores = heads.score([row.text for row in rows])
    if task == "offence":
        return _offences(heads, rows, scores)
    if task == "intent" and not is_free(rows):
        return _intents(heads, rows, scores)
    group = {"tone": "tone", "language": "lang", "intent": FREE}[task]
    found = heads.answers(group, scores)
    return Answers(
        [frozenset(() if each.label is None else (each.label,)) for each in found],
        [each.probability for each in found],
    )


def _offences(heads: Heads, rows: Sequence[Labelled], scores: NDArray[np.float32]) -> Answers:
    likely = heads.probabilities(scores)
    columns = {code: heads.column[f"offence_{code}"] for code in ("de", "en")}
    limits = {code: heads.outputs[column].threshold for code, column in columns.items()}
    names, probabilities = [], []
    for row, some in zip(rows, likely.tolist(), strict=True):
        code = "de" if row.lang == "de" else "en"
        value = some[columns[code]]
        yes = value >= limits[code]
        names.append(frozenset(("yes" if yes else "no",)))
        probabilities.append(value if yes else 1 - value)
    return Answers(names, probabilities)


def _intents(heads: Heads, rows: Sequence[Labelled], scores: NDArray[np.float32]) -> Answers:
    likely = heads.probabilities(scores).tolist()
    names, probabilities = [], []
    for row, tone, some in zip(rows, heads.answers("tone", scores), likely, strict=True):
        found = intents_of(row.text, tone.label, dict(zip(heads.names, some, strict=True)))
        names.append(frozenset(each.name for each in found) - NONE)
        probabilities.append(found[0].score)
    return Answers(names, probabilities)


def with_issue(names: frozenset[str]) -> frozenset[str]:
    """Return intents with `issue` beside a complaint or a problem."""
    return names | {"issue"} if names & {"complaint", "problem"} else names


def report_of(task: Task, rows: Sequence[Labelled], answers: Answers) -> dict[str, Any]:
    """Return how good answers are, as JSON; a rejected row's answer is `other`."""
    if task == "intent" and not is_free(rows):
        truth = [with_issue(row.truth) or frozenset((OTHER,)) for row in rows]
        found = [with_issue(names) or frozenset((OTHER,)) for names in answers.names]
        by_class = reports_of_sets(truth, found, ("issue", *INTENTS, OTHER))
        scored = [each.f1 for each in by_class if each.support]
        first = [min(names - {"issue"}, key=_rank) for names in truth]
        second = [min(names - {"issue"}, key=_rank) for names in found]
        return {
            "rows": len(rows),
            "accuracy": float(np.mean([a == b for a, b in zip(truth, found, strict=True)])),
            "macro_f1": float(np.mean(scored)) if scored else 0.0,
            "classes": [each._asdict() for each in by_class],
            "confusion": _confusion(report(first, second)),
            "ece": None,
        }
    compared = report(
        [min(row.truth, default=OTHER) for row in rows],
        [min(names, default=OTHER) for names in answers.names],
        answers.probabilities,
    )
    return {
        "rows": compared.rows,
        "accuracy": compared.accuracy,
        "macro_f1": compared.macro_f1,
        "classes": [each._asdict() for each in compared.classes],
        "confusion": _confusion(compared),
        "ece": compared.ece,
    }


def _rank(name: str) -> int:
    return (*INTENTS, OTHER).index(name) if name in INTENTS else len(INTENTS)


def _confusion(compared: Report) -> list[dict[str, Any]]:
    ranked = sorted(compared.confusion.items(), key=lambda item: (-item[1], item[0]))
    return [{"truth": a, "answer": b, "rows": rows} for (a, b), rows in ranked]


def training_rows(task: Task, rows: Sequence[Labelled], source: str) -> list[Row]:
    """Return labelled texts as a model is fitted on them."""
    return [Row(row.text, source, labels) for row, labels in _with_labels(task, rows) if labels]


def _with_labels(
    task: Task, rows: Sequence[Labelled]
) -> Iterable[tuple[Labelled, dict[str, bool]]]:
    if task == "tone":
        for row in rows:
            yield row, {f"tone:{name}": name in row.truth for name in TONES}
    elif task == "language":
        for row in rows:
            yield row, {f"lang:{name}": name in row.truth for name in LANGUAGES}
    elif task == "offence":
        for row in rows:
            code = "de" if row.lang == "de" else "en"
            yield row, {f"offence_{code}": "yes" in row.truth}
    elif is_free(rows):
        yield from _free_labels(rows)
    else:
        for row in rows:
            labels = {f"intent:{name}": name in row.truth for name in INTENTS}
            yield row, labels | {"intent:issue": bool(row.truth & {"complaint", "problem"})}


def _free_labels(rows: Sequence[Labelled]) -> Iterable[tuple[Labelled, dict[str, bool]]]:
    names = sorted({name for row in rows for name in row.truth})
    some_inside = sum(not row.truth for row in rows) >= FEWEST
    for row in rows:
        labels = {f"{FREE}:{name}": name in row.truth for name in names}
        yield row, labels | ({f"{FREE}_inside": bool(row.truth)} if some_inside else {})


def train_on(
    base: Weights,
    task: Task,
    rows: Sequence[Labelled],
    *,
    about: Mapping[str, Any] | None = None,
    folds: int = 5,
    progress: Callable[[str], None] | None = None,
) -> Trained:
    """Fit a brand's rows on top of a model.

    Raises:
        ConfigurationError: too few rows, or one label only.
    """
    if len(rows) < FEWEST:
        raise ConfigurationError(
            f"{len(rows)} rows are too few to train on; {FEWEST} are the least"
        )
    if len({row.truth for row in rows}) < 2:
        raise ConfigurationError("every row has the same label; a model needs at least two")
    fitted = training_rows(task, rows, "own")
    names = list(dict.fromkeys(name for row in fitted for name in row.labels))
    groups: tuple[Group, ...] = ()
    cost = 0.5
    if task in ("tone", "language"):
        groups = (Group("tone" if task == "tone" else "lang", tuple(names)),)
    elif task == "intent" and is_free(rows):
        free = tuple(name for name in names if name.startswith(f"{FREE}:"))
        inside = f"{FREE}_inside"
        groups = (Group(FREE, free, threshold=0.0, inside=inside if inside in names else None),)
        cost = 1.0  # each answer has few rows of its own
    plan = Plan(groups=groups, cost=cost, folds=folds, about=dict(about or {}), part_rows=2)
    return extend(base, fitted, plan, progress)


def trial_scores(heads: Heads, trained: Trained, rows: Sequence[Labelled]) -> NDArray[np.float32]:
    """Return scores of a trained model's own rows, by heads that were fitted without each row.

    Outputs that were not fitted, and rows that were not held back, have the model's own score.
    """
    scores = heads.score([row.text for row in rows])
    for name, trial in trained.trial.items():
        tried = ~np.isnan(trial)
        scores[tried, heads.column[name]] = trial[tried]
    return scores


def held_rows(trained: Trained) -> NDArray[np.bool_]:
    """Return which rows were held back for every output that labels them."""
    return np.asarray(~np.isnan(np.stack(list(trained.trial.values()))).all(axis=0), np.bool_)


def about_outputs(heads: Heads) -> list[dict[str, Any]]:
    """Return a model's outputs as JSON."""
    return [asdict(output) for output in heads.outputs]
