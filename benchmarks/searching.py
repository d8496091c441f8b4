"""What the benchmark asks of Elasticsearch: what is searchable, and since when.

A document becomes searchable by a refresh of its shard, together with everything that was written
before it. Each shard numbers its writes (`_seq_no`), so the greatest number that a search sees tells
what all searches see: one small aggregation a round instead of a search for every document.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch

_PAGE = 10_000
_UNWELL = (ApiError, TransportError)


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: when the answer came, and the greatest `_seq_no` in sight by index."""

    at: float
    newest: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Document:
    """A post as it stands in the index at the end."""

    index: str
    seq_no: int
    received_at: float


class Posts:
    """The posts of one prefix.

    Args:
        client: connection.
        prefix: of the indices.
    """

    def __init__(self, client: Elasticsearch, prefix: str) -> None:
        self._client = client
        self.pattern = f"{prefix}events-*"

    def changes(self) -> dict[str, int]:
        """Return the documents that are searchable now, by last change; none while it is unwell."""
        try:
            found = self._client.search(
                index=self.pattern,
                allow_no_indices=True,
                size=0,
                track_total_hits=False,
                aggs={"changes": {"terms": {"field": "change"}}},
            )
        except _UNWELL:
            return {}
        groups = found.get("aggregations") or {}
        return {
            each["key"]: each["doc_count"] for each in groups.get("changes", {}).get("buckets", [])
        }

    def look(self, known: Mapping[str, int]) -> Seen:
        """Ask what is searchable now; nothing is refreshed for it.

        Args:
            known: what an earlier look saw: only what is newer is looked at.
        """
        newer = [
            {"bool": {"filter": [{"term": {"_index": index}}, {"range": {"_seq_no": {"gt": at}}}]}}
            for index, at in known.items()
        ]
        others = {"bool": {"must_not": [{"terms": {"_index": [*known]}}]}}
        found = self._client.search(
            index=self.pattern,
            allow_no_indices=True,
            size=0,
            track_total_hits=False,
            request_cache=False,
            query={"bool": {"should": [*newer, others]}} if known else {"match_all": {}},
            aggs={
                "indices": {
                    "terms": {"field": "_index", "size": 100},
                    "aggs": {"newest": {"max": {"field": "_seq_no"}}},
                }
            },
        )
        groups = found.get("aggregations") or {}
        indices = groups.get("indices", {}).get("buckets", [])
        newest = {each["key"]: int(each["newest"]["value"]) for each in indices}
        return Seen(time.time(), {**known, **newest})

    def of_connector(self, connector: str) -> Iterator[Document]:
        """Yield every post of a connector that was not deleted, with its number in its shard."""
        self._client.indices.refresh(index=self.pattern)
        opened = self._client.open_point_in_time(index=self.pattern, keep_alive="1m")
        place, after = opened["id"], None
        try:
            while True:
                page = self._client.search(
                    pit={"id": place, "keep_alive": "1m"},
                    query={"term": {"connector": connector}},
                    sort=[{"_shard_doc": "asc"}],
                    search_after=after,
                    size=_PAGE,
                    seq_no_primary_term=True,
                    source=False,
                    fields=[{"field": "received_at", "format": "strict_date_time"}],
                    track_total_hits=False,
                )
                hits = page["hits"]["hits"]
                if not hits:
                    return
                for hit in hits:
                    yield _document(hit)
                place, after = page["pit_id"], hits[-1]["sort"]
        finally:
            self._client.close_point_in_time(id=place)


def _document(hit: Mapping[str, Any]) -> Document:
    received = datetime.fromisoformat(hit["fields"]["received_at"][0]).timestamp()
    return Document(hit["_index"], hit["_seq_no"], received)


@dataclass(slots=True)
class Watch:
    """Looks again and again in the background and keeps what it saw.

    Args:
        posts: where to look.
        round_seconds: between two looks; a latency is too large by at most that.
    """

    posts: Posts
    round_seconds: float = 0.25
    seen: list[Seen] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._look()

    def ended(self) -> float:
        """Return when the last of what the last look saw came into sight; epoch seconds."""
        newest = self.seen[-1].newest
        return next(
            seen.at
            for seen in self.seen
            if all(seen.newest.get(index, -1) >= at for index, at in newest.items())
        )

    def latencies(self, documents: Iterator[Document]) -> list[float]:
        """Return seconds from `received_at` to the first look that saw the document, sorted."""
        looks: dict[str, tuple[list[int], list[float]]] = {}
        for seen in self.seen:
            for index, newest in seen.newest.items():
                numbers, times = looks.setdefault(index, ([], []))
                if not numbers or newest > numbers[-1]:
                    numbers.append(newest)
                    times.append(seen.at)
        waited = []
        for document in documents:
            numbers, times = looks.get(document.index, ([], []))
            at = bisect_left(numbers, document.seq_no)
            if at < len(times):
                waited.append(max(0.0, times[at] - document.received_at))
        return sorted(waited)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(*_UNWELL):  # the next round tells
                self._look()
            self._stopping.wait(self.round_seconds)

    def _look(self) -> None:
        self.seen.append(self.posts.look(self.seen[-1].newest if self.seen else {}))
