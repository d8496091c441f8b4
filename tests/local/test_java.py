"""A Java is judged by what it says when it is run."""

import sys

import pytest

from klingel_local.java import (
    ELASTICSEARCH_9_MODULES,
    ELASTICSEARCH_9_VERSION,
    Java,
    ask_java,
    candidate_homes,
    find_javas,
    parse_modules,
)

JDK = ["java.base@25.0.1", "java.instrument@25", "jdk.jlink@25", "jdk.jdi@25", "jdk.attach@25"]


@pytest.fixture
def make_java(tmp_path):
    def make(name, listing, code=0):
        command = tmp_path / name / "bin" / "java"
        command.parent.mkdir(parents=True)
        lines = "".join(f"print({line!r})\n" for line in listing)
        command.write_text(f"#!{sys.executable}\n{lines}raise SystemExit({code})\n")
        command.chmod(0o755)
        return tmp_path / name

    return make


def test_version_and_modules_are_read(tmp_path):
    java = parse_modules(tmp_path, "java.base@21.0.9\njdk.attach@21.0.9\n")
    assert java == Java(tmp_path, 21, frozenset({"java.base", "jdk.attach"}))
    assert java.executable == str(tmp_path / "bin" / "java")


@pytest.mark.parametrize("listing", ["", "Unrecognized option", "jdk.attach@21"])
def test_something_else_is_no_java(tmp_path, listing):
    assert parse_modules(tmp_path, listing) is None


def test_elasticsearch_9_wants_a_whole_jdk(tmp_path):
    whole = parse_modules(tmp_path, "\n".join(JDK))
    old = parse_modules(tmp_path, "\n".join(JDK).replace("25", "17"))
    assert whole.serves(ELASTICSEARCH_9_VERSION, ELASTICSEARCH_9_MODULES)
    assert not old.serves(ELASTICSEARCH_9_VERSION, ELASTICSEARCH_9_MODULES)
    for line in JDK[1:]:
        trimmed = parse_modules(tmp_path, "\n".join(set(JDK) - {line}))
        assert not trimmed.serves(ELASTICSEARCH_9_VERSION, ELASTICSEARCH_9_MODULES)


def test_a_java_that_fails_or_is_none_is_passed_over(make_java, tmp_path):
    assert ask_java(make_java("good", JDK), None).version == 25
    assert ask_java(make_java("bad", JDK, code=1), None) is None
    assert ask_java(tmp_path / "absent", None) is None


def test_the_users_choice_comes_first_and_each_folder_once(make_java, tmp_path):
    chosen, named = make_java("chosen", JDK), make_java("named", JDK)
    link = tmp_path / "link"
    link.symlink_to(chosen)
    environ = {"JAVA_HOME": str(named), "ES_JAVA_HOME": str(link), "PATH": ""}
    homes = list(candidate_homes(chosen, environ))
    assert homes[:2] == [chosen, named]
    assert link not in homes
    assert next(find_javas(chosen, environ, None)).home == chosen
