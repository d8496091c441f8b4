"""`klingel models`: what a brand trains on its own labels, and one sentence for what is wrong."""

import gzip
import importlib
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from klingel.language.heads import load_heads
from klingel_cli.shell import Commands, Shell
from klingel_models.recipe import SHIPPED

GOOD = ["knorke", "dufte", "super", "danke"]
BAD = ["brackig", "murks", "kaputt", "mies"]
TONES = {"positive": GOOD, "negative": BAD, "neutral": ["Fahrplan", "Ticket", "heute", "Gleis"]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `klingel` with these arguments; the group turns errors into sentences and exit codes."""
    monkeypatch.chdir(tmp_path)
    lazy = {"models": ("klingel_cli.commands.models:models_group", "")}
    main = Commands("klingel", lazy=lazy)

    def invoke(*arguments: object, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(main, [str(each) for each in arguments], input=stdin, obj=Shell())

    return invoke


def rows_of_tone(count: int = 90) -> list[dict]:
    """Return labelled rows in the words of a brand's own customers."""
    chance = random.Random(4)
    rows = []
    for number in range(count):
        tone = list(TONES)[number % 3]
        words = [
            *chance.choices(["der", "Zug", "ist", "und", "bahn"], k=4),
            *chance.sample(TONES[tone], 2),
        ]
        rows.append({"text": f"{' '.join(words)} {number}", "lang": "de", "labels": {"tone": tone}})
    return rows


def written(path: Path, rows: list[dict]) -> Path:
    body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(body) if path.name.endswith(".gz") else body)
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    return written(tmp_path / "own.jsonl.gz", rows_of_tone())


def test_a_brand_trains_and_sees_a_report_before_anything_uses_it(run, labelled, tmp_path) -> None:
    output = tmp_path / "nordlicht-tone.klm"
    result = run(
        "models", "train", "--task", "tone", "--input", labelled, "--output", output, "--json"
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["trained_on"] == 90
    assert told["bytes"] == output.stat().st_size
    assert told["report"]["accuracy"] > told["base"]["accuracy"]
    assert told["report"]["accuracy"] > 0.9
    assert told["changed"]["better"] > told["changed"]["worse"]
    assert {each["label"] for each in told["report"]["classes"]} == set(TONES)
    assert 0 <= told["report"]["ece"] <= 1
    heads = load_heads(output)
    answers = heads.answers("tone", heads.score(["brackig", "knorke"]))
    assert [answer.label for answer in answers] == ["negative", "positive"]
    assert set(heads.names) == set(load_heads(SHIPPED).names)

    listed = run("models", "list", output, "--json")
    shipped, own = [json.loads(line) for line in listed.stdout.splitlines()]
    assert own["version"] == told["version"]
    assert own["base"] == shipped["version"]
    assert "klingel models train --task tone" in own["command"]

    found = run(
        "models", "evaluate", "--task", "tone", "--input", labelled, "--model", output, "--json"
    )
    assert json.loads(found.stdout)["report"]["accuracy"] > 0.95


def test_the_same_rows_give_the_same_file(run, labelled, tmp_path) -> None:
    files = [tmp_path / name / "tone.klm" for name in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        assert (
            run(
                "models", "train", "--task", "tone", "--input", labelled, "--output", file
            ).exit_code
            == 0
        )
    assert files[0].read_bytes() == files[1].read_bytes()


def test_own_intents_are_trained_with_a_threshold(run, tmp_path) -> None:
    chance = random.Random(2)
    topics = {"gepäck": ["Koffer", "Tasche", "Band"], "storno": ["stornieren", "zurück", "Geld"]}
    rows = [
        {
            "text": " ".join(
                [*chance.sample(words, 2), *chance.choices(["bitte", "mein", "ich"], k=3), str(n)]
            ),
            "labels": {"intent": topic},
        }
        for topic, words in topics.items()
        for n in range(40)
    ]
    rows += [
        {"text": f"schönes Wetter heute {n} {n % 7}", "labels": {"intent": "oos"}}
        for n in range(25)
    ]
    output = tmp_path / "intents.klm"
    result = run(
        "models",
        "train",
        "--task",
        "intent",
        "--input",
        written(tmp_path / "i.jsonl", rows),
        "--output",
        output,
    )
    assert result.exit_code == 0, result.output
    heads = load_heads(output)
    group = heads.groups["intents"]
    assert group.threshold is not None
    assert group.inside == "intents_inside"
    told = heads.answers(
        "intents", heads.score(["mein Koffer Tasche", "Geld zurück bitte", "schönes Wetter"])
    )
    assert [answer.label for answer in told] == ["gepäck", "storno", None]


def test_the_shipped_model_is_evaluated_by_default(run, tmp_path) -> None:
    rows = [
        {"text": "Danke, ihr seid super! :)", "lang": "de", "labels": {"tone": "positive", "intent": ["praise"]}},
        {"text": "Seit drei Tagen kein Internet, das ist eine Frechheit!", "lang": "de", "labels": {"tone": "negative", "intent": ["complaint", "problem"]}},
        {"text": "When do you open on Sundays?", "lang": "en", "labels": {"tone": "neutral", "intent": "question"}},
    ]  # fmt: skip
    file = written(tmp_path / "posts.jsonl", rows)
    for task in ("tone", "language"):
        found = run("models", "evaluate", "--task", task, "--input", file, "--json")
        assert json.loads(found.stdout)["report"]["accuracy"] == 1, found.stdout
    found = run("models", "evaluate", "--task", "intent", "--input", file)
    assert found.exit_code == 0, found.output
    assert "3 rows: accuracy" in found.stdout


def test_explain_names_what_weighed(run) -> None:
    text = "Warum kommt mein Paket schon wieder nicht? Unverschämt!"
    result = run("models", "explain", text, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["tone"]["label"] == "negative"
    assert "question" in {intent["name"] for intent in told["intents"]}
    assert len(told["pieces"]) == 10
    plain = run("models", "explain", "--output", "lang:de", stdin=b"der Zug")
    assert "What weighed most for lang:de" in plain.stdout


def test_the_shipped_model_fits_and_names_its_command() -> None:
    assert SHIPPED.stat().st_size <= 2 << 20
    heads = load_heads(SHIPPED)
    assert heads.about["command"] == "python -m klingel_models.recipe --data ../shared/data"
    for name in ("tone", "lang"):
        assert heads.groups[name].threshold is None
    assert {"anger", "offence_de", "offence_en", "intent:issue"} <= set(heads.names)
    assert heads.about["held"]["offence_de macro_f1"] >= 0.7


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"{broken", "own.jsonl:1: the line is no JSON"),
        (b'["a"]', "own.jsonl:1: a row needs a `text` that is a string"),
        (b'{"text": 5, "labels": {}}', "own.jsonl:1: a row needs a `text` that is a string"),
        (b'{"text": "x"}', "own.jsonl:1: a row needs `labels`"),
        (b'{"text": "x", "labels": {"tone": "secret"}}', "own.jsonl:1: `labels.tone` is none of"),
        (
            b'{"text": "x", "labels": {"tone": ["neutral"]}}',
            "own.jsonl:1: `labels.tone` is none of",
        ),
        (b'{"text": "x", "labels": {}}', "own.jsonl: no row has a label of the task tone"),
        (b"\xff\xfe", "own.jsonl: it is not UTF-8"),
        (b'{"text": "x", "labels": {"tone": "neutral"}}', "1 rows are too few to train on"),
        (b'{"text": "x", "labels": {"tone": "neutral"}}\n' * 30, "every row has the same label"),
    ],
)
def test_wrong_rows_are_one_sentence(run, tmp_path, line, sentence) -> None:
    file = tmp_path / "own.jsonl"
    file.write_bytes(line)
    result = run(
        "models", "train", "--task", "tone", "--input", file, "--output", tmp_path / "m.klm"
    )
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr
    assert not (tmp_path / "m.klm").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("evaluate",), "--task is missing; name one of tone, intent, offence, language"),
        (("evaluate", "--task", "tone"), "--input is missing"),
        (("evaluate", "--task", "tone", "--input", "gone.jsonl"), "gone.jsonl: No such file"),
        (("evaluate", "--task", "tone", "--input", "x", "--model", "gone.klm"), "gone.klm: No such file"),
        (("list", "gone.klm"), "gone.klm: No such file"),
        (("explain", "hallo", "--output", "joy"), "the model has no output 'joy'"),
        (("evaluate", "--gates", "--data", "nowhere"), "nowhere/nc/text/airline_us_sentiment.jsonl.gz: No such"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_sentence(run, arguments, sentence) -> None:
    result = run("models", *arguments)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr


def test_training_without_scikit_learn_says_what_to_install(
    run, labelled, tmp_path, monkeypatch
) -> None:
    real = importlib.import_module

    def missing(name: str, *more: str):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", missing)
    result = run(
        "models", "train", "--task", "tone", "--input", labelled, "--output", tmp_path / "m.klm"
    )
    assert result.exit_code == 2
    assert "pip install 'klingel[training]'" in result.stderr
