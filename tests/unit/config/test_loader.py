"""Brand files: what is right is read whole, what is wrong is told by line, path and cure."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from klingel.config.brand import Brand
from klingel.config.compiled import CompiledBrand
from klingel.config.loader import BrandFileError, from_config, load_brand, to_config
from klingel.errors import ConfigurationError

WHOLE = """\
brand: nordlicht
name: Nordlicht
accounts:
  - {network: bluesky, id: "did:plc:abc", handle: nordlicht.example}
channels:
  - {network: webhook, id: contact-form}
listening:
  - {id: name, query: 'nordlicht OR "north light"'}
queues:
  - id: first
  - id: billing
    name: Bills
routing:
  - id: money
    when: rechnung*
    queue: billing
    priority: 10
cases:
  close_when: answered
"""


def calendar(hours: str) -> str:
    return WHOLE + f"calendars: [{{id: c, zone: Europe/Berlin, hours: {hours}}}]\n"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "brand.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problems(folder: Path, content: str | bytes) -> list[str]:
    path = write(folder, content)
    with pytest.raises(BrandFileError) as caught:
        load_brand(path)
    assert isinstance(caught.value, ConfigurationError)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_a_right_file_is_read_whole_and_compiles(tmp_path: Path) -> None:
    loaded = load_brand(write(tmp_path, WHOLE))
    assert loaded.brand.brand == "nordlicht"
    assert loaded.brand.cases.close_when == "answered"
    assert loaded.brand.cases.max_open_age_days == 7
    compiled = CompiledBrand.compile(loaded.brand, loaded.version)
    assert compiled.owns("bluesky", "did:plc:abc")
    assert not compiled.owns("mastodon", "did:plc:abc")
    assert compiled.hears_channel("webhook", "contact-form")
    assert compiled.default_queue == "first"


def test_the_version_is_of_the_content_and_not_of_its_order_or_comments(tmp_path: Path) -> None:
    version = load_brand(write(tmp_path, WHOLE)).version
    assert re.fullmatch("[0-9a-f]{16}", version)
    turned = "# ours\nname: Nordlicht\n" + WHOLE.replace("name: Nordlicht\n", "", 1)
    assert load_brand(write(tmp_path, turned)).version == version
    other = WHOLE.replace("priority: 10", "priority: 11")
    assert load_brand(write(tmp_path, other)).version != version


def test_the_brand_config_record_gives_the_same_brand(tmp_path: Path) -> None:
    brand = load_brand(write(tmp_path, WHOLE)).brand
    assert from_config(to_config(brand)) == brand


def test_a_record_of_another_shape_is_refused_by_path() -> None:
    with pytest.raises(BrandFileError, match=r"^brand-config: quees: unknown key; did you mean"):
        from_config({"brand": "b", "name": "B", "queues": [{"id": "q"}], "quees": []})


WRONG = {
    "unknown key": (
        WHOLE.replace("priority: 10", "priorty: 10"),
        ["17: routing.0.priorty: unknown key; did you mean 'priority'?"],
    ),
    "unknown key at the top": (
        WHOLE + "colour: blue\n",
        [
            "20: colour: unknown key; known are accounts, alerts, brand, calendars, cases, channels, "
        ],
    ),
    "wrong type": (
        WHOLE.replace("priority: 10", "priority: high"),
        ["17: routing.0.priority: 'high' is no whole number; write one"],
    ),
    "number as text": (
        WHOLE.replace("priority: 10", "priority: '10'"),
        ["17: routing.0.priority: '10' is a text; write the whole number without quotes"],
    ),
    "text that YAML takes for something else": (
        WHOLE.replace("name: Bills", "name: no"),
        ["12: queues.1.name: False is no text; put it in quotes"],
    ),
    "out of range": (
        WHOLE.replace("priority: 10", "priority: 2000"),
        ["17: routing.0.priority: 2000 is too large; the most is 1000"],
    ),
    "not one of the known": (
        WHOLE.replace("close_when: answered", "close_when: always"),
        ["19: cases.close_when: 'always' is not known; it must be 'never' or 'answered'"],
    ),
    "pattern": (
        WHOLE.replace("id: money", "id: My Money"),
        ["14: routing.0.id: 'My Money' does not fit; it must match ^[a-z0-9][a-z0-9-]*$"],
    ),
    "missing": (
        WHOLE.replace("    queue: billing\n", ""),
        ["14: routing.0.queue: missing; add `queue:`"],
    ),
    "unknown queue": (
        WHOLE.replace("queue: billing", "queue: biling"),
        ["16: routing.0.queue: there is no queue 'biling'; did you mean 'billing'?"],
    ),
    "queue like no other": (
        WHOLE.replace("queue: billing", "queue: xyz"),
        ["16: routing.0.queue: there is no queue 'xyz'; known are first, billing"],
    ),
    "repeated id": (
        WHOLE.replace("id: billing", "id: first"),
        [
            "11: queues.1.id: 'first' stands twice, first in line 10; each needs an id of its own",
            "16: routing.0.queue: there is no queue 'billing'; known are first, first",
        ],
    ),
    "bad query": (
        WHOLE.replace("when: rechnung*", "when: 'rechnung AND (zahlen'"),
        [
            "15: routing.0.when: at character 14 of the query: This parenthesis is never closed: add )"
        ],
    ),
    "bad topic": (
        WHOLE + "topics:\n  - {id: bills, query: 'a AND'}\n",
        ["21: topics.0.query: at character "],
    ),
    "bad number pattern": (
        WHOLE + "enrichment:\n  numbers:\n    - kind: customer_number\n      pattern: '['\n",
        ["23: enrichment.numbers.0.pattern: "],
    ),
    "a code for two agents": (
        WHOLE + "enrichment:\n  agents:\n    - {code: AB}\n    - {code: AB, name: Anna}\n",
        ["23: enrichment.agents.1.code: 'AB' stands for two agents; each needs a code of its own"],
    ),
    "a code of blanks": (
        WHOLE + "enrichment:\n  agents:\n    - {code: ' '}\n",
        ["22: enrichment.agents.0: a signature of agent ' ' has 1 to 40 characters"],
    ),
    "codes that differ by space and case": (
        WHOLE + "enrichment:\n  agents:\n    - {code: A b}\n    - {code: a  B}\n",
        ["23: enrichment.agents.1.code: 'a  B' stands for two agents"],
    ),
    "a check that is a list": (
        WHOLE
        + "enrichment:\n  numbers:\n    - kind: customer_number\n      pattern: KD-####\n"
        + "      check: [luhn]\n",
        ["24: enrichment.numbers.0.check: "],
    ),
    "a hexadecimal number of thousands of digits": (
        WHOLE + "enrichment: {model: 0x" + "f" * 6000 + "}\n",
        ["1: file: a number of it is too long to be read"],
    ),
    "repeated key": (
        WHOLE + "name: Other\n",
        ["20: name: stands twice, first in line 2; keep one of them"],
    ),
    "alias": (
        WHOLE + "triage: &t {open_indirect: true}\nretention: *t\n",
        ["21: file: '*t' is an alias; write the part out"],
    ),
    "tag": (
        WHOLE.replace("name: Bills", "name: !!python/name:os.system"),
        ["12: queues.1.name: the tag 'tag:yaml.org,2002:python/name:os.system' is not plain data;"],
    ),
    "not YAML": (
        "brand: nordlicht\nname: [\n",
        ["3: file: not YAML: "],
    ),
    "plain text": (
        "root:x:0:0\npassword\n",
        ["1: file: the file is no mapping; a brand file begins with `brand: <id>`"],
    ),
    "empty": ("# nothing\n", ["1: file: the file is empty; a brand file is a mapping"]),
    "no mapping": (
        "- brand\n",
        ["1: file: the file is no mapping; a brand file begins with `brand: <id>`"],
    ),
    "not UTF-8": (b"brand: b\nname: \xff\n", ["2: file: not UTF-8; save the file as UTF-8"]),
    "control character": (b"brand: b\nname: a\x00b\n", ["2: file: not YAML: it holds a character"]),
    "control character, escaped": (
        WHOLE.replace("name: Bills", 'name: "Bi\\u0000lls"'),
        ["12: queues.1.name: it holds a control character (U+0000); remove it"],
    ),
    "control character in a query": (
        WHOLE.replace("when: rechnung*", 'when: "rechnung\\u001b[2J"'),
        ["15: routing.0.when: it holds a control character (U+001B); remove it"],
    ),
    "control character in a key": (
        WHOLE + '"na\\u0000me": x\n',
        ["20: file: of a key: it holds a control character (U+0000); remove it"],
    ),
    "half a character": (
        WHOLE.replace("name: Bills", 'name: "\\ud83d"'),
        ["12: queues.1.name: it holds half a character (U+D83D); write the character itself"],
    ),
    "tab": (
        "brand: b\nqueues:\n\t- id: a\n",
        ["3: file: not YAML: a tab begins the line; indent with spaces"],
    ),
    "two documents": (
        "brand: b\n---\nbrand: c\n",
        ["2: file: a second document begins; a brand file holds one"],
    ),
    "nothing open": (
        calendar("{}"),
        [
            '20: calendars.0.hours: it is empty; write at least 1, such as `mon-fri: ["08:00-20:00"]`'
        ],
    ),
    "nothing behind a key": (
        calendar(""),
        ['20: calendars.0.hours: nothing stands here; write `mon-fri: ["08:00-20:00"]`'],
    ),
    "one instead of a list": (
        calendar("{fri: '08:00-20:00'}"),
        ["20: calendars.0.hours.fri: '08:00-20:00' is no list; write [\"08:00-20:00\"], or a line"],
    ),
    "a day that is none": (
        calendar("{freitag: ['08:00-20:00']}"),
        [
            "20: calendars.0.hours.freitag: 'freitag' is wrong; write a day, a range or a list of days"
        ],
    ),
    "nothing that may be left out": (
        WHOLE + "retention:\n",
        ["20: retention: nothing stands here; write a value, or leave the key out"],
    ),
    "a text instead of a part": (
        WHOLE + "retention: long\n",
        ["20: retention: 'long' is no mapping; write `key: value`, a line for each"],
    ),
    "no queues": (
        "brand: b\nname: B\nqueues: []\n",
        ["3: queues: it is empty; write at least 1, such as `- id: service`"],
    ),
    "a queue that is wrong is none that is missing": (
        "brand: b\nname: B\nqueues: [{id: 5}]\n",
        ["3: queues.0.id: 5 is no text; put it in quotes"],
    ),
    "too small": (
        WHOLE + "alerts: {pile_on_from: 2}\n",
        ["20: alerts.pile_on_from: 2 is too small; the least is 3"],
    ),
    "no number at all": (
        WHOLE + "outreach: {anger_from: .nan}\n",
        ["20: outreach.anger_from: nan is no number; write one"],
    ),
    "neither of two types": (
        WHOLE + "sla: [{id: a, first_response: 1h, warn_at: [1]}]\n",
        ["20: sla.0.warn_at: a list is neither a number nor a text; write one of them"],
    ),
    "neither true nor false": (
        WHOLE + "triage: {open_indirect: 'no'}\n",
        ["20: triage.open_indirect: 'no' is neither true nor false; write one of them"],
    ),
    "a text without characters": (
        WHOLE.replace("name: Nordlicht", "name: ''"),
        ["2: name: it is empty; write a text"],
    ),
    "a text that is too long": (
        WHOLE.replace("name: Bills", "name: " + "a" * 121),
        ["12: queues.1.name: it has 121 characters; the most is 120"],
    ),
    "too deep": (
        WHOLE + "retention: " + "[" * 21 + "]" * 21 + "\n",
        ["20: file: nested deeper than 20; a brand file is flat"],
    ),
    "a number of thousands of digits": (
        WHOLE.replace("priority: 10", "priority: 1" + "0" * 5000),
        ["17: routing.0.priority: this value cannot be read; put it in quotes if it is text"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_wrong_thing_is_told_by_line_path_and_cure(case: str, tmp_path: Path) -> None:
    content, expected = WRONG[case]
    told = problems(tmp_path, content)
    assert len(told) == len(expected)
    for line, start in zip(told, expected, strict=True):
        assert line.startswith(start)


def test_agents_of_one_name_compile_and_are_known_by_their_codes(tmp_path: Path) -> None:
    agents = (
        "enrichment:\n  agents:\n    - {code: AB, name: Anna  B}\n    - {code: CD, name: anna b}\n"
    )
    loaded = load_brand(write(tmp_path, WHOLE + agents))
    compiled = CompiledBrand.compile(loaded.brand, loaded.version)
    assert compiled.agents.who("cd") == "anna b"
    assert compiled.agents.who_by_name("Anna B") is None


def test_all_problems_of_a_file_are_told_in_the_order_of_lines(tmp_path: Path) -> None:
    content = (
        WHOLE.replace("network: webhook", "network: Web Hook")
        .replace("query: 'nordlicht OR", "query: 'OR")
        .replace("queue: billing", "queue: nowhere")
        .replace("priority: 10", "priority: -1")
    )
    told = problems(tmp_path, content)
    assert [line.split(":")[0] for line in told] == ["6", "8", "16", "17"]


def test_a_file_of_many_problems_names_the_first_hundred(tmp_path: Path) -> None:
    rules = "".join(f"  - {{id: r{n}, when: a{n}, queue: nowhere}}\n" for n in range(150))
    head, _, tail = WHOLE.partition("routing:\n")
    told = problems(tmp_path, head + "routing:\n" + rules + tail)
    assert len(told) == 101
    assert "50 more" in told[-1]


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi")]  # noqa: B905  one shorter by design
    told = problems(tmp_path, "\n".join(lines))
    assert all("is an alias" in line for line in told)


def test_a_file_beyond_the_bound_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path, b"#" * (1 << 21))
    with pytest.raises(BrandFileError, match="at most 1 MiB"):
        load_brand(path)


def test_a_missing_file_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(BrandFileError, match="No such file or directory; name a readable"):
        load_brand(tmp_path / "absent.yaml")


def test_a_file_that_the_loader_accepts_passes_the_editors_schema(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    schema = json.loads((root / "schemas/config/brand.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(yaml.safe_load(WHOLE))
    assert not validator.is_valid(yaml.safe_load(WHOLE.replace("priority", "priorty")))
    assert set(schema["properties"]) == set(Brand.model_fields)
