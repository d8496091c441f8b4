"""Brand files in an editor: the schema that the first line names takes every example."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
_BOOL = "tag:yaml.org,2002:bool"


class Yaml12(yaml.SafeLoader):
    """Reads as editors do: in YAML 1.2 `on` is a word, and `true` and `false` alone are not."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # as PyYAML has it
        letter: [each for each in resolvers if each[0] != _BOOL]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Yaml12.add_implicit_resolver(_BOOL, re.compile("true|false"), list("tf"))


def brand_files() -> list[Path]:
    """Return the example brands."""
    found = sorted((ROOT / "brands").glob("*.yaml"))
    assert found
    return found


@pytest.mark.parametrize("path", brand_files(), ids=lambda path: path.name)
def test_an_editor_finds_the_schema_of_an_example_brand(path: Path) -> None:
    """By its first line, seen from its folder; the schema takes it and refuses what is wrong."""
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named, "the first line names the schema"
    place = (path.parent / named[1]).resolve()
    assert place == ROOT / "schemas" / "config" / "brand.schema.json"
    schema = json.loads(place.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    brand = yaml.load(text, Yaml12)  # a SafeLoader
    assert [error.message for error in validator.iter_errors(brand)] == []
    for wrong in ({"quues": []}, {"queues": []}, {"triage": {"spam_from": 2}}):
        assert not validator.is_valid({**brand, **wrong})


def test_an_editor_can_say_what_every_key_means() -> None:
    """Completion shows descriptions: every key of every part has one."""
    place = ROOT / "schemas" / "config" / "brand.schema.json"
    schema = json.loads(place.read_text(encoding="utf-8"))
    parts = {"brand": schema, **schema["$defs"]}
    silent = [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, value in part.get("properties", {}).items()
        if not {**parts.get(value.get("$ref", "").rpartition("/")[2], {}), **value}.get(
            "description"
        )
    ]
    assert silent == []
