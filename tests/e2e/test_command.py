"""`klingel demo` refuses what it cannot do before it starts anything."""

import fcntl

import pytest
from click.testing import CliRunner

from klingel.config.loader import load_brand
from klingel_cli.demo.command import demo
from klingel_cli.demo.processes import SOURCE
from klingel_cli.demo.rehearsal import brand_file
from klingel_cli.main import main
from klingel_simulator.brand import Brand as SimulatedBrand


def run(*arguments):
    return CliRunner().invoke(main, ["demo", *arguments])


def test_a_live_network_cannot_be_judged():
    result = run("--check", "--network", "bluesky")
    assert result.exit_code == 2
    assert "a live network keeps no list" in result.output


def test_a_wrong_brand_file_is_told_with_its_line(tmp_path):
    brand = tmp_path / "b.yaml"
    brand.write_text("brand: b\nname: B\nqueues:\n  - id: q\nroutin: []\n", encoding="utf-8")
    result = run("--brand", str(brand), "--folder", str(tmp_path / "demo"))
    assert result.exit_code == 2
    assert f"{brand}:5: routin: unknown key; did you mean 'routing'?" in result.output
    assert not (tmp_path / "demo").exists()


def test_a_file_that_is_not_there_is_told(tmp_path):
    result = run("--input", str(tmp_path / "none.ndjson"))
    assert result.exit_code == 2
    assert "does not exist" in result.output


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("--events", "-5"),
        ("--events", "0"),
        ("--events", "many"),
        ("--rate", "-1"),
        ("--rate", "nan"),
        ("--timeout", "0"),
        ("--timeout", "nan"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(option, wrong, tmp_path):
    result = run("--check", option, wrong, "--folder", str(tmp_path / "demo"))
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
    assert not (tmp_path / "demo").exists()


def test_a_folder_in_which_a_demo_runs_is_left_alone(tmp_path):
    folder = tmp_path / "demo"
    (folder / "state").mkdir(parents=True)
    with (tmp_path / ".demo.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run("--check", "--folder", str(folder))
    assert result.exit_code == 1
    assert f"a demo runs in {folder} already" in result.output
    assert (folder / "state").is_dir()


def test_the_example_brand_is_the_one_that_the_simulated_public_talks_to():
    brand, simulated = load_brand(brand_file()).brand, SimulatedBrand()
    accounts = {(each.network, each.id) for each in brand.accounts}
    assert ("bluesky", simulated.did) in accounts
    assert ("webhook", f"{SOURCE}:{simulated.account}") in accounts
    listening = {each.query.casefold() for each in brand.listening}
    assert {term.casefold().strip("#") for term in simulated.terms} <= listening


@pytest.mark.parametrize("option", ["--check", "--input", "--network", "--seed", "--events"])
def test_help_names_every_option(option):
    assert option in CliRunner().invoke(demo, ["--help"]).output
