"""The cache holds whole, verified trees or nothing."""

import fcntl
import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from klingel_local import pins
from klingel_local.archives import tree_digest
from klingel_local.artifacts import ArtifactCache, cache_folder
from klingel_local.errors import FetchError, MissingError


@pytest.fixture
def build(repository, tmp_path):
    """Give a small Elasticsearch inside a distribution that the repository serves."""
    source = tmp_path / "source"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "run").write_bytes(b"#!/bin/sh\n")
    (source / "LICENSE.txt").write_bytes(b"free\n")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in source.rglob("*"):
            if path.is_file():
                archive.write(path, f"dist/elasticsearch/{path.relative_to(source)}")
        archive.writestr("dist/other", b"not wanted")
    repository.files["es/dist.zip"] = stream.getvalue()
    return pins.ElasticsearchBuild(
        version="0.0.1",
        archive="es/dist.zip",
        folder="dist/elasticsearch/",
        tree=tree_digest(source),
        unpacked=1000,
    )


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(repository, said, tmp_path):
    return ArtifactCache(tmp_path / "cache", lambda: repository.address, said.append, io.StringIO())


def test_elasticsearch_is_fetched_once(cache, repository, build):
    home = cache.elasticsearch(build)
    asked = len(repository.requests)
    assert cache.elasticsearch(build) == home
    assert len(repository.requests) == asked > 0
    assert tree_digest(home) == build.tree
    assert home.stat().st_mode & 0o777 == 0o755
    assert (home / "LICENSE.txt").stat().st_mode & 0o777 == 0o644


def test_files_other_than_the_pinned_ones_never_reach_the_cache(cache, build):
    other = replace(build, tree="0" * 64)
    with pytest.raises(FetchError, match=r"checksum of Elasticsearch 0\.0\.1 is not the pinned"):
        cache.elasticsearch(other)
    assert [path.name for path in cache.folder.iterdir()] == [".lock"]


def test_kafka_jars_are_fetched_and_compared_one_by_one(cache, repository, monkeypatch):
    jars = []
    for number in range(9):
        content = f"jar {number}".encode()
        path = f"org/example/{number}/{number}.jar"
        repository.files[path] = content
        jars.append(pins.Jar(path, hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(pins, "kafka_jars", lambda: tuple(jars))
    repository.files["org/example/4/4.jar"] += b"!"
    with pytest.raises(FetchError, match=r"checksum of 4\.jar"):
        cache.kafka()
    assert not (cache.folder / f"kafka-{pins.KAFKA_VERSION}").exists()
    repository.files["org/example/4/4.jar"] = b"jar 4"
    assert {path.name for path in cache.kafka().iterdir()} == {f"{n}.jar" for n in range(9)}


def test_a_changed_cache_is_found_by_verification(cache, repository, build, monkeypatch):
    repository.files["a/a.jar"] = b"jar"
    jar = pins.Jar("a/a.jar", hashlib.sha256(b"jar").hexdigest())
    monkeypatch.setattr(pins, "kafka_jars", lambda: (jar,))
    cache.verify(build)
    (cache.elasticsearch(build) / "LICENSE.txt").write_bytes(b"other")
    with pytest.raises(FetchError, match=r"checksum of elasticsearch-0\.0\.1"):
        cache.verify(build)


def test_what_an_interrupted_fetch_left_is_removed(cache, build):
    leftover = cache.folder / ".partial-before"
    leftover.mkdir(parents=True)
    (leftover / "half").write_bytes(b"x")
    cache.elasticsearch(build)
    assert not list(cache.folder.glob(".partial-*"))


def test_two_at_once_fetch_once_and_the_second_says_that_it_waits(cache, repository, said, build):
    cache.folder.mkdir()
    waits = threading.Event()
    cache._say = lambda line: (said.append(line), waits.set())
    with (cache.folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=cache.elasticsearch, args=(build,))
        second.start()
        assert waits.wait(10)
        assert repository.requests == []
    second.join(10)
    assert said == ["Another command is fetching: waiting for it."]
    assert (cache.folder / "elasticsearch-0.0.1").is_dir()


def test_a_full_disk_is_named_before_anything_is_fetched(cache, build):
    with pytest.raises(MissingError, match=r"Fetching Elasticsearch 0\.0\.1 needs [\d,]+ MB free"):
        cache.elasticsearch(replace(build, unpacked=10**18))


def test_a_cache_of_another_user_is_not_trusted(cache, build, monkeypatch):
    cache.folder.mkdir()
    monkeypatch.setattr("os.geteuid", lambda: cache.folder.stat().st_uid + 1)
    with pytest.raises(MissingError, match="belongs to another user"):
        cache.elasticsearch(build)


def test_a_machine_without_a_runtime_is_told_what_to_install(cache, monkeypatch):
    monkeypatch.setattr(pins, "this_platform", lambda: None)
    with pytest.raises(MissingError, match="install a JDK 21 or newer"):
        cache.java_runtime()


@pytest.mark.parametrize(
    ("chosen", "environ", "uid", "folder"),
    [
        (Path("/c"), {"XDG_CACHE_HOME": "/x"}, 0, "/c"),
        (None, {"XDG_CACHE_HOME": "/x"}, 1000, "/x/klingel"),
        (None, {}, 1000, "/home/u/.cache/klingel"),
        (None, {"XDG_CACHE_HOME": "/root/x"}, 0, "/var/tmp/klingel"),
    ],
)
def test_where_the_cache_lies(chosen, environ, uid, folder):
    assert cache_folder(chosen, environ, Path("/home/u"), uid) == Path(folder)
