"""A download goes on where a broken connection stopped, and says clearly when it cannot."""

import io
import socket

import pytest

from klingel_local.download import Probe, RemoteFile, Span
from klingel_local.errors import FetchError

CONTENT = bytes(range(256)) * 4096


class Counter:
    """A meter that remembers what it was told."""

    def __init__(self):
        self.total = None
        self.done = 0

    def expect(self, total, /):
        """Remember the expected size."""
        self.total = total

    def advance(self, count, /):
        """Add up what arrived."""
        self.done += count


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def remote(repository, pauses):
    repository.files["a/file.bin"] = CONTENT
    return RemoteFile(f"{repository.address}/a/file.bin", "file.bin", pauses.append)


def test_a_probe_learns_size_and_ranges(repository, remote):
    assert remote.probe() == Probe(len(CONTENT), ranges=True)
    repository.ranges = False
    assert remote.probe() == Probe(len(CONTENT), ranges=False)


def test_a_span_lands_at_its_own_offset_and_nothing_else_is_fetched(repository, remote):
    target, meter = io.BytesIO(), Counter()
    remote.fill(target, Span(1000, 5000), meter)
    assert target.getvalue()[1000:] == CONTENT[1000:5000]
    assert meter.done == 4000
    assert repository.sent == 4000


def test_a_broken_span_goes_on_where_it_stopped(repository, remote, pauses):
    repository.cut_after, repository.cuts = 100_000, 3
    target, meter = io.BytesIO(), Counter()
    remote.fill(target, Span(7, len(CONTENT)), meter)
    assert target.getvalue()[7:] == CONTENT[7:]
    assert [wanted for _, wanted in repository.requests] == [
        f"bytes={start}-{len(CONTENT) - 1}" for start in (7, 100_007, 200_007, 300_007)
    ]
    assert meter.done == len(CONTENT) - 7
    assert len(pauses) == 3


def test_a_broken_whole_file_goes_on_where_it_stopped(repository, remote):
    repository.cut_after, repository.cuts = 100_000, 2
    target, meter = io.BytesIO(), Counter()
    assert remote.fetch(target, meter) == len(CONTENT)
    assert target.getvalue() == CONTENT
    assert [wanted for _, wanted in repository.requests] == [
        None,
        "bytes=100000-",
        "bytes=200000-",
    ]
    assert repository.sent == meter.done == len(CONTENT)


def test_without_ranges_a_broken_whole_file_begins_again(repository, remote):
    repository.ranges = False
    repository.cut_after, repository.cuts = 100_000, 2
    target, meter = io.BytesIO(), Counter()
    assert remote.fetch(target, meter) == len(CONTENT)
    assert target.getvalue() == CONTENT
    assert meter.done == len(CONTENT)


def test_a_busy_repository_is_asked_again_with_growing_pauses(repository, remote, pauses):
    repository.refusals = [503, 429, 500]
    target = io.BytesIO()
    remote.fetch(target, Counter())
    assert target.getvalue() == CONTENT
    assert pauses == [0.5, 1.0, 2.0]


def test_a_connection_that_brings_nothing_is_given_up_after_six_attempts(
    repository, remote, pauses
):
    repository.cut_after, repository.cuts = 0, 100
    with pytest.raises(FetchError, match=r"cannot be reached for file\.bin"):
        remote.fill(io.BytesIO(), Span(0, 10), Counter())
    assert len(repository.requests) == 6
    assert len(pauses) == 5


def test_an_absent_file_is_not_asked_for_twice(repository, pauses):
    remote = RemoteFile(f"{repository.address}/none", "none.zip", pauses.append)
    with pytest.raises(FetchError) as caught:
        remote.probe()
    assert str(caught.value) == (
        "The artifact repository answered 404 for none.zip: "
        "set KLINGEL_MAVEN_REPOSITORY to one that serves it."
    )
    assert pauses == []


def test_no_network_is_one_sentence_without_the_address(pauses):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        remote = RemoteFile(f"http://user:secret@127.0.0.1:{port}/x", "x.jar", pauses.append)
        with pytest.raises(FetchError) as caught:
            remote.fetch(io.BytesIO(), Counter())
    sentence = str(caught.value)
    assert sentence.startswith("The artifact repository cannot be reached for x.jar (")
    assert sentence.endswith("check the network, or set KLINGEL_MAVEN_REPOSITORY to a mirror.")
    assert "secret" not in sentence


def test_ranges_that_end_midway_are_named(repository, remote):
    repository.ranges = False
    with pytest.raises(FetchError, match=r"stopped serving parts of file\.bin"):
        remote.fill(io.BytesIO(), Span(10, 20), Counter())
