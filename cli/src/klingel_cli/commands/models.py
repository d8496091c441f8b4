"""`klingel models`: train on a brand's own labels, evaluate, list and explain models; no server."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from klingel.errors import ConfigurationError
from klingel.language.heads import Heads, Weights, decode, encode, read_file, version_of
from klingel.language.intent import intents_of
from klingel_cli.shell import Shell, as_json, pass_shell
from klingel_models import gates
from klingel_models.recipe import POSTS, SHIPPED
from klingel_models.tasks import (
    TASKS,
    Answers,
    Labelled,
    Task,
    answers_of,
    held_rows,
    read_labelled,
    report_of,
    train_on,
    trial_scores,
)

_LONGEST = 30_000
_task = click.option("--task", type=click.Choice(TASKS), help="What the labels say.")
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


@click.group("models")
def models_group() -> None:
    """Train on your own labels, evaluate, list and explain models of tone and intent."""


def _load(path: Path) -> tuple[Weights, str]:
    """Return a model file's content and its version."""
    data = read_file(path)
    return decode(data, str(path)), version_of(data)


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
@as_json
@pass_shell
def train_command(
    shell: Shell,
    task: Task | None,
    input_file: Path | None,
    output_file: Path,
    base_file: Path,
    *,
    as_json: bool,
) -> None:
    """Train a model on labelled rows and report how good it is, before anything uses it.

    The report judges each row by heads that were fitted without it, beside what the base model says
    of the same rows. A brand uses the model once its configuration names the file.
    """
    task, input_file = _asked(task, input_file)
    base, base_version = _load(base_file)
    rows = read_labelled(input_file, task)
    about = {
        **base.about,
        "name": output_file.stem,
        "base": base_version,
        "command": f"klingel models train --task {task} --input {input_file.name} "
        f"--output {output_file.name}",
        "rows": len(rows),
    }
    trained = train_on(base, task, rows, about=about)
    data = encode(trained.weights)
    heads = Heads(decode(data, str(output_file)))
    held = np.flatnonzero(held_rows(trained)).tolist()
    kept = [rows[at] for at in held]
    found = answers_of(heads, task, kept, trial_scores(heads, trained, rows)[held])
    before = _answers_of_base(base, task, kept)
    told: dict[str, Any] = {
        "task": task,
        "file": str(output_file),
        "version": version_of(data),
        "bytes": len(data),
        "trained_on": len(rows),
        "report": report_of(task, kept, found),
        "base": None if before is None else report_of(task, kept, before),
        "changed": None if before is None else _changed(kept, before, found),
    }
    try:
        output_file.write_bytes(data)
    except OSError as error:
        reason = error.strerror or "it cannot be written"
        raise ConfigurationError(f"{output_file}: {reason}; name another file") from None
    if as_json:
        shell.tell(told)
        return
    _show(shell, told["report"])
    if told["changed"] is not None:
        changed, was = told["changed"], told["base"]
        shell.say(
            f"The base had accuracy {was['accuracy']:.3f}, macro-F1 {was['macro_f1']:.3f} on these "
            f"rows; {changed['rows']} answers change, {changed['better']} for the better and "
            f"{changed['worse']} for the worse."
        )
    shell.say(
        f"{output_file}: version {told['version']}, {len(data):,} bytes, trained on {len(rows):,} "
        "rows; nothing uses it until a brand's configuration names it."
    )


def _asked(task: Task | None, input_file: Path | None) -> tuple[Task, Path]:
    if task is None:
        raise ConfigurationError(f"--task is missing; name one of {', '.join(TASKS)}")
    if input_file is None:
        raise ConfigurationError("--input is missing; name a file of labelled rows")
    return task, input_file


def _answers_of_base(base: Weights, task: Task, rows: Sequence[Labelled]) -> Answers | None:
    """Return what the base answers; None where it has no outputs for these labels."""
    try:
        return answers_of(Heads(base), task, rows)
    except ConfigurationError:
        return None


def _changed(rows: Sequence[Labelled], before: Answers, after: Answers) -> dict[str, int]:
    pairs = list(zip(rows, before.names, after.names, strict=True))
    return {
        "rows": sum(a != b for _, a, b in pairs),
        "better": sum(a != row.truth == b for row, a, b in pairs),
        "worse": sum(a == row.truth != b for row, a, b in pairs),
    }


@models_group.command("evaluate")
@_task
@_input
@_model
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
    task: Task | None,
    input_file: Path | None,
    model_file: Path,
    data: Path,
    *,
    all_gates: bool,
    as_json: bool,
) -> None:
    """Measure a model on labelled rows, or every gate on the real data.

    Ends with exit code 1 when a gate is missed.
    """
    weights, version = _load(model_file)
    heads = Heads(weights)
    if all_gates:
        _gates(shell, heads, data, as_json=as_json)
        return
    task, input_file = _asked(task, input_file)
    rows = read_labelled(input_file, task)
    found = report_of(task, rows, answers_of(heads, task, rows))
    if as_json:
        shell.tell({"task": task, "file": str(model_file), "version": version, "report": found})
        return
    _show(shell, found)


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
@as_json
@pass_shell
def explain_command(
    shell: Shell,
    text: str | None,
    output: str | None,
    top: int,
    model_file: Path,
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
    if as_json:
        shell.tell(
            {
                "version": version,
                "tone": {"label": tone.label, "probability": tone.probability},
                "intents": [intent._asdict() for intent in found],
                "probabilities": likely,
                "output": asked,
                "bias": heads.outputs[heads.column[asked]].bias,
                "pieces": [piece._asdict() for piece in pieces],
            }
        )
        return
    shell.say(f"tone: {tone.label} ({tone.probability:.2f})")
    shell.say("intents: " + ", ".join(f"{each.name} ({each.score:.2f})" for each in found))
    others = ("anger", "offence_de", "offence_en", "lang:de", "lang:en", "lang:other")
    shell.say(", ".join(f"{name}: {likely[name]:.2f}" for name in others if name in likely))
    shell.say(f"What weighed most for {asked}:")
    shell.table(
        ("piece", "#weight"), [(json.dumps(p, ensure_ascii=False), f"{w:+.3f}") for p, w in pieces]
    )
