"""Decisions of the stack that need no server: version, heap, folders, messages of the command."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from klingel_local import LocalStack, LocalStackError, stack
from klingel_local.__main__ import main
from klingel_local.errors import MissingError
from klingel_local.instance import new_instance, remember
from klingel_local.java import ELASTICSEARCH_9_MODULES, Java
from klingel_local.settings import Settings

JDK = Java(Path("/jdk"), 25, ELASTICSEARCH_9_MODULES)
JRE = Java(Path("/jre"), 21, frozenset({"java.base"}))


@pytest.fixture
def said():
    return []


@pytest.fixture
def local(tmp_path, said, monkeypatch):
    """Give a function that makes a stack on a machine with certain Javas."""

    def make(*javas, **choices):
        monkeypatch.setattr(stack, "find_javas", lambda *_: iter(javas))
        return LocalStack(
            tmp_path / "stack",
            settings=Settings(cache=tmp_path / "cache"),
            say=said.append,
            out=io.StringIO(),
            **choices,
        )

    return make


def test_a_whole_jdk_means_elasticsearch_9(local):
    assert local(JRE, JDK)._wanted_version(None) == "9"


def test_without_one_it_is_elasticsearch_8_and_that_is_said(local, said):
    assert local(JRE)._wanted_version(None) == "8"
    assert said == [
        "No JDK 21 or newer was found: taking Elasticsearch 8 with the Java that comes with it."
    ]


def test_the_choice_wins(local):
    assert local(JDK, es_version="8")._wanted_version(None) == "8"


def test_choosing_9_without_a_jdk_says_what_to_do(local):
    with pytest.raises(MissingError, match="install one, name its folder in KLINGEL_LOCAL_JAVA"):
        local(JRE, es_version="9")._wanted_version(None)


def test_a_folder_keeps_the_version_and_the_security_it_has(local, tmp_path):
    known = new_instance(tmp_path, "8", tmp_path, es_security=True)
    made = local(JDK)
    assert made._wanted_version(known) == "8"
    assert made._wanted_security(known) is True
    assert made._wanted_security(None) is False
    assert local(JDK, security=False)._wanted_security(known) is False


def test_kafka_keeps_the_security_it_has_and_does_not_change_it_while_it_runs(local, tmp_path):
    known = new_instance(tmp_path, "9", tmp_path, es_security=False)
    asking = replace(known, kafka_security=True)
    made = local(JDK)
    assert made._wanted_kafka_security(None) is False
    assert made._wanted_kafka_security(asking) is True
    remember(made.folder, known)
    assert local(JDK, kafka_security=True)._wanted_kafka_security(known) is True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("klingel_local.kafka.KafkaServer.running", True)
        with pytest.raises(LocalStackError, match="run `down` first"):
            local(JDK, kafka_security=True)._wanted_kafka_security(known)


def test_where_kafka_asks_who_is_there_the_file_says_how_to_come_in(local, tmp_path):
    made = local(JDK)
    known = new_instance(made.folder, "9", tmp_path / "es", es_security=False)
    remember(made.folder, replace(known, kafka_security=True))
    described = made.status()["kafka"]
    assert described["ssl_bootstrap"] == f"127.0.0.1:{known.ssl_port}"
    assert described["tls"] == str(made.folder / "kafka" / "tls")
    assert not (made.folder / "kafka").exists()  # who only asks makes nothing


def test_who_secures_both_gets_one_authority_for_both(local, tmp_path):
    made = local(JDK)
    known = new_instance(made.folder, "9", tmp_path / "es", es_security=True)
    remember(made.folder, replace(known, kafka_security=True))
    described = made.status()
    assert described["elasticsearch"]["url"] == f"https://127.0.0.1:{known.elasticsearch_port}"
    assert described["elasticsearch"]["tls"] == described["kafka"]["tls"]
    remember(made.folder, known)
    described = local(JDK).status()["elasticsearch"]
    assert described["url"].startswith("http://")
    assert "tls" not in described


def test_another_version_beside_a_running_one_is_refused(local, tmp_path):
    known = new_instance(tmp_path, "8", tmp_path, es_security=False)
    local(JDK)._require_same(known)
    for choice in ({"es_version": "9"}, {"security": True}):
        with pytest.raises(LocalStackError, match="run `down` first"):
            local(JDK, **choice)._require_same(known)


@pytest.mark.parametrize(
    ("available", "heap"), [(None, "1g"), (8_000_000_000, "1g"), (2_000_000_000, "512m")]
)
def test_the_heap_fits_the_memory(available, heap):
    assert stack.choose_heap(available) == heap


def test_too_little_memory_is_named_with_both_figures(local, tmp_path, monkeypatch):
    made = local(JDK)
    remember(made.folder, new_instance(made.folder, "9", tmp_path / "es", es_security=False))
    monkeypatch.setattr("klingel_local.servers.read_available_memory", lambda: 300_000_000)
    with pytest.raises(MissingError) as caught:
        made.kafka.start()
    assert str(caught.value) == (
        "Kafka needs 560 MB of memory, 300 MB are free: end other programs, or set a smaller heap."
    )


def test_nothing_is_known_before_the_first_up(local):
    made = local(JDK)
    with pytest.raises(LocalStackError, match="run `up` first"):
        _ = made.bootstrap
    assert made.status()["kafka"] == {"running": False, "ready": False, "pid": None}


def test_the_password_is_in_the_private_file_and_not_in_the_status(local, tmp_path):
    made = local(JDK)
    known = new_instance(made.folder, "9", tmp_path / "es", es_security=True)
    remember(made.folder, known)
    assert made.elasticsearch_auth == ("klingel", known.password)
    assert known.password not in json.dumps(made.status())
    made._write_description()
    file = made.folder / "stack.json"
    assert json.loads(file.read_text())["elasticsearch"]["password"] == known.password
    assert file.stat().st_mode & 0o777 == 0o600


def test_data_moves_to_the_cache_where_its_account_cannot_enter(local, monkeypatch):
    made = local(JDK)
    monkeypatch.setattr(stack, "can_enter", lambda account, folder: False)
    made._account = stack.Account("nobody", 65534, 65534)
    assert made._elasticsearch_folder("9").is_relative_to(made._cache.folder)
    made._account = None
    assert made._elasticsearch_folder("9") == made.folder / "elasticsearch-9"


def test_wipe_deletes_its_own_folders_and_nothing_else(local):
    made = local(JDK)
    for name in ("kafka/data", "elasticsearch-8", "elasticsearch-9/data", "logs", "mine"):
        (made.folder / name).mkdir(parents=True)
    remember(made.folder, new_instance(made.folder, "9", made.folder, es_security=False))
    made.wipe()
    assert {path.name for path in made.folder.iterdir()} == {"mine", ".lock"}


def test_the_default_folder_is_ignored_by_git():
    folder = stack.default_folder()
    assert folder.parts[-2:] == (".klingel", "local")
    assert (folder.parents[1] / "deploy" / "local" / "pyproject.toml").is_file()


def test_status_of_nothing_exits_3_and_says_down(tmp_path, capsys):
    assert main(["status", "--dir", str(tmp_path)]) == 3
    assert "kafka          down" in capsys.readouterr().out
    assert main(["status", "--dir", str(tmp_path), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["elasticsearch"]["running"] is False


def test_a_wrong_setting_exits_2_with_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KLINGEL_LOCAL_ES", "7")
    assert main(["up", "--dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "KLINGEL_LOCAL_ES must be one of 8, 9.\n"


def test_no_network_exits_1_with_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("klingel_local.download._FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("KLINGEL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("KLINGEL_MAVEN_REPOSITORY", "http://127.0.0.1:1")
    monkeypatch.setattr("klingel_local.stack.can_enter", lambda account, folder: True)
    assert main(["up", "--dir", str(tmp_path / "stack")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("The artifact repository cannot be reached for ")
    assert last.endswith("check the network, or set KLINGEL_MAVEN_REPOSITORY to a mirror.")


@pytest.mark.parametrize("command", ["up", "wipe"])
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, capsys, command):
    file = tmp_path / "file"
    file.touch()
    assert main([command, "--dir", str(file / "folder")]) == 2
    told = capsys.readouterr().err
    assert told == f"{file / 'folder'}: Not a directory; name another folder by --dir.\n"
