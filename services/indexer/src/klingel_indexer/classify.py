"""What Elasticsearch's answer means, item by item: decided on status and `error.type`, no text.

| answer | for | verdict |
|---|---|---|
| 2xx | any | written |
| 404 without an error | delete | written: it is not there |
| 409 version_conflict_engine_exception | external version | stale: a newer one is there |
| 409 version_conflict_engine_exception | create | exists: it was written before |
| 429, 5xx, any other 409 | any | retry |
| cluster_block_exception, 401, 403, 400 of the cluster's own state | any | blocked: retry, counted |
| 404 index_not_found_exception | any | missing index: retry, counted |
| every other 4xx | any | refused: dead letter |

The whole request: 429 and 5xx retry; 413 and 400 split it, down to the one document that is to
blame; 401, 403 and 404 are the deployment's fault and block.
"""

from enum import StrEnum

VERSION_CONFLICT = "version_conflict_engine_exception"

# 400s that say something of the cluster and nothing of the document.
_CLUSTER_STATE = frozenset(
    {
        "cluster_block_exception",
        "index_closed_exception",
        "validation_exception",  # the cluster's limit of shards stops a new month's index
        "resource_already_exists_exception",  # two workers made the new month's index at once
        "process_cluster_event_timeout_exception",
    }
)


class Verdict(StrEnum):
    """What is to be done about one document; the closed set of the metric's label."""

    WRITTEN = "written"
    STALE = "stale"
    EXISTS = "exists"
    COALESCED = "coalesced"
    RETRY = "retry"
    BLOCKED = "blocked"
    MISSING_INDEX = "missing_index"
    REFUSED = "refused"

    @property
    def settled(self) -> bool:
        """Whether the document needs no further request."""
        return self not in _AGAIN

    @property
    def succeeded(self) -> bool:
        """Whether the index now holds this document or a newer one."""
        return self.settled and self is not Verdict.REFUSED


_AGAIN = frozenset({Verdict.RETRY, Verdict.BLOCKED, Verdict.MISSING_INDEX})


class RequestVerdict(StrEnum):
    """What is to be done about a whole request that has no item answers."""

    RETRY = "retry"
    SPLIT = "split"
    BLOCKED = "blocked"


def classify_item(*, create: bool, status: int, error_type: str) -> Verdict:
    """Return the verdict on one item; `error_type` is empty where there is none."""
    if 200 <= status < 300 or (status == 404 and not error_type and not create):
        return Verdict.WRITTEN
    if status == 409 and error_type == VERSION_CONFLICT:
        return Verdict.EXISTS if create else Verdict.STALE
    if status in {401, 403} or error_type in _CLUSTER_STATE:
        return Verdict.BLOCKED
    if status == 404 and error_type == "index_not_found_exception":
        return Verdict.MISSING_INDEX
    if status in {408, 409, 429} or not 400 <= status < 500:
        return Verdict.RETRY
    return Verdict.REFUSED


def classify_request(status: int, error_type: str) -> RequestVerdict:
    """Return the verdict on a request that failed as a whole."""
    if status in {401, 403, 404} or error_type in _CLUSTER_STATE:
        return RequestVerdict.BLOCKED
    if status in {400, 413}:
        return RequestVerdict.SPLIT
    return RequestVerdict.RETRY


def is_busy(status: int) -> bool:
    """Whether the cluster asks for less."""
    return status == 429
