"""Everything that is fetched is pinned, and nothing pinned names a host."""

import re

import pytest

from klingel_local import pins

HEX = re.compile(r"[0-9a-f]{64}")


def test_the_lock_table_holds_kafka_and_what_it_needs():
    jars = pins.kafka_jars()
    names = [jar.name for jar in jars]
    assert len(jars) == 45
    assert len(set(names)) == 45
    assert f"kafka_2.13-{pins.KAFKA_VERSION}.jar" in names
    assert f"kafka-clients-{pins.KAFKA_VERSION}.jar" in names
    assert any(name.startswith("slf4j-simple-") for name in names)
    assert all(HEX.fullmatch(jar.sha256) for jar in jars)


def test_paths_name_no_host():
    paths = [jar.path for jar in pins.kafka_jars()]
    paths += [build.archive for build in (pins.ELASTICSEARCH_8, pins.ELASTICSEARCH_9)]
    for path in paths:
        assert ":" not in path
        assert not path.startswith("/")
        assert ".." not in path


def test_elasticsearch_and_every_runtime_are_pinned():
    assert HEX.fullmatch(pins.ELASTICSEARCH_8.tree)
    assert HEX.fullmatch(pins.ELASTICSEARCH_9.tree)
    assert all(HEX.fullmatch(sha256) for sha256 in pins.JRE_ARCHIVES.values())
    assert len(set(pins.JRE_ARCHIVES.values())) == len(pins.JRE_ARCHIVES)


@pytest.mark.parametrize("line", ["a.jar", "a.jar 12", "a.pom " + "0" * 64, "a.jar b.jar c", ""])
def test_a_wrong_line_of_the_lock_table_is_named(line):
    with pytest.raises(ValueError, match="line 2 of the lock table"):
        pins.parse_lock(f"a/b.jar {'0' * 64}\n{line}\n")


@pytest.mark.parametrize(
    ("system", "machine", "libc", "key"),
    [
        ("Linux", "x86_64", "glibc", "x64_linux"),
        ("Linux", "aarch64", "glibc", "aarch64_linux"),
        ("Linux", "x86_64", "", "x64_alpine-linux"),
        ("Darwin", "arm64", "", "aarch64_mac"),
        ("Darwin", "x86_64", "", "x64_mac"),
        ("Linux", "aarch64", "", None),
        ("Linux", "riscv64", "glibc", None),
        ("Plan9", "x86_64", "", None),
    ],
)
def test_the_runtime_fits_the_machine(system, machine, libc, key):
    assert pins.jre_platform(system, machine, libc) == key
