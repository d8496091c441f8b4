"""Brand files: every problem with its line; what is in force is what stands in the file."""

import json
from pathlib import Path

import pytest

from klingel_cli.commands.config import differences, in_force


def test_a_right_brand_file_is_told_with_its_version(run, brand_file: Path) -> None:
    result = run("config", "check", brand_file)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{brand_file}: brand nordlicht is right (version ")
    told = json.loads(run("config", "check", "--json", brand_file).stdout)
    assert told["brand"] == "nordlicht"
    assert told["version"] in result.stdout


def test_all_problems_of_all_files_are_told_with_file_and_line(
    run, brand_file: Path, tmp_path: Path
) -> None:
    content = brand_file.read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(content.replace("queue: billing", "queue: bililng") + "nmae: x\n")
    result = run("config", "check", brand_file, wrong, tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{wrong}:15: routing.0.queue: there is no queue 'bililng'; did you mean 'billing'?",
        f"{wrong}:16: nmae: unknown key; did you mean 'name'?",
        f"{tmp_path / 'none.yaml'}: No such file or directory; name a readable brand file",
    ]


def test_two_files_of_one_brand_are_refused(run, brand_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(brand_file.read_text(encoding="utf-8"), encoding="utf-8")
    result = run("config", "check", brand_file, other)
    assert result.exit_code == 2
    assert f"{other}: brand: 'nordlicht' stands in {brand_file} too" in result.stderr


def test_a_folder_stands_for_its_files(run, brand_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "brands"
    folder.mkdir()
    (folder / "one.yaml").write_text(brand_file.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "README.md").write_text("no brand")
    result = run("config", "check", folder)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{folder / 'one.yaml'}: brand nordlicht is right")


def test_a_folder_without_a_brand_is_refused(run, tmp_path: Path) -> None:
    folder = tmp_path / "brands"
    folder.mkdir()
    result = run("config", "check", folder)
    assert result.exit_code == 2
    assert result.stderr == f"{folder}: no brand file (*.yaml) is in this folder\n"


def test_differences_name_each_place() -> None:
    held = {"name": "A", "queues": [{"id": "x"}], "triage": {"open_indirect": False}}
    wanted = {"name": "B", "queues": [{"id": "x"}, {"id": "y"}], "triage": {"open_indirect": False}}
    assert differences(held, wanted) == [
        "name: 'A' -> 'B'",
        "queues.1: nothing -> {'id': 'y'}",
    ]
    assert differences(held, held) == []


@pytest.mark.servers
def test_what_is_applied_is_in_force_and_what_differs_is_told(
    run, env, kafka, brand_file: Path
) -> None:
    result = run("config", "diff", brand_file, env=env)
    assert (result.exit_code, "is not in force yet" in result.stdout) == (1, True)

    result = run("config", "apply", brand_file, env=env)
    assert result.exit_code == 0, result.output
    held = in_force(kafka)
    assert list(held) == ["nordlicht"]
    assert held["nordlicht"].version in result.stdout
    assert held["nordlicht"].config["listening"] == [{"id": "name", "query": "nordlicht"}]
    assert held["nordlicht"].applied_by

    assert run("config", "diff", brand_file, env=env).exit_code == 0
    brand_file.write_text(brand_file.read_text().replace("name: Nordlicht", "name: Polarlicht"))
    result = run("config", "diff", brand_file, env=env)
    assert result.exit_code == 1
    assert "name: 'Nordlicht' -> 'Polarlicht'" in result.stdout
    assert held["nordlicht"].version in run("config", "diff", env=env).stdout


@pytest.mark.servers
def test_a_wrong_file_among_right_ones_puts_nothing_in_force(
    run, env, kafka, brand_file: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("brand: other\n", encoding="utf-8")
    assert run("config", "apply", brand_file, wrong, env=env).exit_code == 2
    assert in_force(kafka) == {}


@pytest.mark.servers
def test_without_topics_nothing_is_applied_and_the_way_out_is_told(
    run, env, brand_file: Path
) -> None:
    result = run(
        "config", "apply", brand_file, env=env | {"KLINGEL_KAFKA__TOPIC_PREFIX": "nowhere-"}
    )
    assert result.exit_code == 2
    assert result.stderr == (
        "klingel: there is no topic nowhere-brand-config; run `klingel topics apply`\n"
    )
