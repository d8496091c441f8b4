"""`klingel audit --every` as a service on the real Kafka and Elasticsearch, until SIGTERM."""

import json
import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from klingel.contracts.topics import Topic

from .conftest import Run
from .test_on_servers import books

pytestmark = pytest.mark.servers


@pytest.fixture
def both(env: dict[str, str], elasticsearch_url: str, run: Run) -> Iterator[dict[str, str]]:
    """Settings of both servers; the templates are applied under a prefix of this test's own."""
    prefix = f"au{os.getpid()}-"
    found = {
        **env,
        "KLINGEL_ELASTICSEARCH__URL": elasticsearch_url,
        "KLINGEL_ELASTICSEARCH__INDEX_PREFIX": prefix,
        "KLINGEL_ELASTICSEARCH__REFRESH_INTERVAL": "50ms",
    }
    assert run("index", "apply", env=found).exit_code == 0
    yield found
    for kind, names in (
        ("", [f"{prefix}audit"]),
        ("_index_template/", [f"{prefix}*"]),
        ("_component_template/", [f"{prefix}*"]),
    ):
        for name in names:
            ask(f"{elasticsearch_url}/{kind}{name}", method="DELETE")


def ask(url: str, method: str = "GET") -> Any:
    """Return an answer's JSON, None for one that is no success."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError:
        return None


def test_figures_are_kept_until_a_signal_ends_it(run: Run, both: dict[str, str], put: Any) -> None:
    put(
        books(
            [
                ("understand", Topic.RAW_EVENTS, 0, 0, 2, {"social-events": 1}),
                ("care", Topic.SOCIAL_EVENTS, 1, 0, 1, {}),
            ]
        )
    )
    address = f"{both['KLINGEL_ELASTICSEARCH__URL']}/{both['KLINGEL_ELASTICSEARCH__INDEX_PREFIX']}"
    found: list[dict[str, Any]] = []
    ended, stopped = threading.Event(), signal.getsignal(signal.SIGTERM)

    def watch() -> None:
        while not ended.wait(0.1):
            hits = (ask(f"{address}audit/_search?size=50") or {"hits": {"hits": []}})["hits"][
                "hits"
            ]
            if hits:
                found.extend(hit["_source"] for hit in hits)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    looking = threading.Thread(target=watch)
    looking.start()
    try:
        result = run("audit", "--every", "10", env=both)
    finally:
        ended.set()
        looking.join()
    assert result.exit_code == 0, result.output
    assert signal.getsignal(signal.SIGTERM) == stopped
    told = json.loads(result.stdout.splitlines()[0])
    rows = {(each["stage"], each["topic"]): each for each in found}
    row = rows["understand", "raw-events"]
    assert (row["received"], row["delivered"]) == (2, 2)
    assert told["clean"] is (sum(each["problems"] for each in found) == 0)
    assert told["problems"] == sum(each["problems"] for each in found)
