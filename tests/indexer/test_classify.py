"""The table of answers: status and error type decide, text never does."""

import pytest

from klingel_indexer.classify import (
    RequestVerdict,
    Verdict,
    classify_item,
    classify_request,
    is_busy,
)

CONFLICT = "version_conflict_engine_exception"


@pytest.mark.parametrize(
    ("create", "status", "error_type", "verdict"),
    [
        (False, 200, "", Verdict.WRITTEN),
        (False, 201, "", Verdict.WRITTEN),
        (True, 201, "", Verdict.WRITTEN),
        (False, 409, CONFLICT, Verdict.STALE),
        (True, 409, CONFLICT, Verdict.EXISTS),
        (False, 409, "some_other_conflict", Verdict.RETRY),
        (False, 429, "es_rejected_execution_exception", Verdict.RETRY),
        (False, 429, "circuit_breaking_exception", Verdict.RETRY),
        (False, 429, "cluster_block_exception", Verdict.BLOCKED),
        (False, 500, "exception", Verdict.RETRY),
        (False, 503, "unavailable_shards_exception", Verdict.RETRY),
        (False, 408, "", Verdict.RETRY),
        (False, 0, "", Verdict.RETRY),
        (False, 403, "cluster_block_exception", Verdict.BLOCKED),
        (False, 403, "security_exception", Verdict.BLOCKED),
        (False, 400, "validation_exception", Verdict.BLOCKED),
        (False, 400, "index_closed_exception", Verdict.BLOCKED),
        (False, 404, "index_not_found_exception", Verdict.MISSING_INDEX),
        (False, 404, "", Verdict.WRITTEN),
        (False, 404, "document_missing_exception", Verdict.REFUSED),
        (False, 400, "document_parsing_exception", Verdict.REFUSED),
        (False, 400, "mapper_parsing_exception", Verdict.REFUSED),
        (False, 400, "strict_dynamic_mapping_exception", Verdict.REFUSED),
        (False, 400, "illegal_argument_exception", Verdict.REFUSED),
        (False, 413, "", Verdict.REFUSED),
        (True, 404, "", Verdict.REFUSED),
    ],
)
def test_each_item_answer_has_its_verdict(create, status, error_type, verdict):
    assert classify_item(create=create, status=status, error_type=error_type) is verdict


def test_only_what_may_succeed_later_is_unsettled():
    unsettled = {verdict for verdict in Verdict if not verdict.settled}
    assert unsettled == {Verdict.RETRY, Verdict.BLOCKED, Verdict.MISSING_INDEX}
    assert {verdict for verdict in Verdict if verdict.settled and not verdict.succeeded} == {
        Verdict.REFUSED
    }


@pytest.mark.parametrize(
    ("status", "error_type", "verdict"),
    [
        (429, "es_rejected_execution_exception", RequestVerdict.RETRY),
        (500, "", RequestVerdict.RETRY),
        (502, "", RequestVerdict.RETRY),
        (503, "cluster_block_exception", RequestVerdict.BLOCKED),
        (413, "", RequestVerdict.SPLIT),
        (400, "action_request_validation_exception", RequestVerdict.SPLIT),
        (401, "security_exception", RequestVerdict.BLOCKED),
        (403, "security_exception", RequestVerdict.BLOCKED),
        (404, "", RequestVerdict.BLOCKED),
    ],
)
def test_each_failed_request_has_its_verdict(status, error_type, verdict):
    assert classify_request(status, error_type) is verdict


def test_busy_is_429_alone():
    assert [status for status in (200, 409, 429, 500, 503) if is_busy(status)] == [429]
