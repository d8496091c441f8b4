"""The judging finds each thing lost and each thing doubled, and nothing else."""

from dataclasses import replace

import pytest

from klingel_cli.demo.judging import (
    CaseEventRecord,
    CaseRecord,
    Document,
    Sent,
    folded_objects,
    judge,
    percentile,
    read_recording,
    read_truth,
    told_about,
)

BRAND = "nordlicht"
SENT = (
    Sent("n:a", "created", 0),
    Sent("n:b", "created", 0),
    Sent("n:b", "updated", 2),
    Sent("n:b", "updated", 1),
    Sent("n:c", "created", 0),
    Sent("n:c", "deleted", 5),
    Sent("n:b", "created", 0),  # once more
    Sent("n:noise", "created", 0, heard=False),
)
DOCUMENTS = (
    Document("events-2026.11/n:a", BRAND, "n:a", 0),
    Document("events-2026.11/n:b", BRAND, "n:b", 2),
    Document("events-2026.11/n:c", BRAND, "n:c", 5, emptied=True),
    Document("events-2026.11/other", "other", "n:a", 0),
)
CASES = (
    CaseRecord(BRAND, "case-1", ("f1", "f2")),
    CaseRecord(BRAND, "case-2", ("f3",)),
    CaseRecord("other", "case-3", ("f1",)),
)
CASE_EVENTS = (
    CaseEventRecord("id-1", "case-1", "n:a@0", "opened"),
    CaseEventRecord("id-2", "case-1", "n:a@0", "routed"),
    CaseEventRecord("id-3", "case-2", "n:a@0", "opened"),
    CaseEventRecord("id-4", "case-1", "n:b@0", "opened"),
)


def verdict(sent=SENT, documents=DOCUMENTS, cases=CASES, case_events=CASE_EVENTS):
    return judge(sent, documents, cases, case_events, brand=BRAND)


def test_what_is_indexed_once_at_its_newest_revision_is_clean():
    found = verdict()
    assert found.clean
    assert (found.sent, found.indexed, found.never_seen) == (3, 3, 0)


@pytest.mark.parametrize("missing", ["n:a", "n:b", "n:c"])
def test_one_document_that_is_missing_is_lost(missing):
    found = verdict(documents=[each for each in DOCUMENTS if each.object_id != missing])
    assert [sentence.startswith(f"{missing}: is not in") for sentence in found.lost] == [True]
    assert (found.indexed, found.doubled) == (2, ())
    assert not found.clean


def test_a_document_of_another_brand_does_not_stand_for_the_brands_own():
    found = verdict(documents=DOCUMENTS[1:])
    assert found.lost == ("n:a: is not in the index",)


def test_an_older_revision_is_lost():
    found = verdict(documents=[*DOCUMENTS[:1], replace(DOCUMENTS[1], revision=1), *DOCUMENTS[2:]])
    assert found.lost == ("n:b: is in the index at revision 1, the newest is 2",)


def test_a_deleted_one_that_still_speaks_is_lost():
    found = verdict(documents=[*DOCUMENTS[:2], replace(DOCUMENTS[2], emptied=False)])
    assert found.lost == ("n:c: was deleted and is not emptied",)


def test_an_emptied_one_that_was_not_deleted_is_lost():
    found = verdict(documents=[replace(DOCUMENTS[0], emptied=True), *DOCUMENTS[1:]])
    assert found.lost == ("n:a: is emptied, not deleted",)


def test_a_deletion_that_came_before_its_thing_needs_no_document():
    sent = [Sent("n:d", "deleted", 9), Sent("n:d", "created", 0)]
    found = verdict(sent=[*SENT, *sent])
    assert found.clean
    assert (found.sent, found.indexed, found.never_seen) == (4, 3, 1)


def test_a_deletion_that_came_after_its_thing_does():
    found = verdict(sent=[*SENT, Sent("n:d", "created", 0), Sent("n:d", "deleted", 9)])
    assert found.lost == ("n:d: is not in the index",)


def test_a_deletion_wins_over_an_edit_of_the_same_revision():
    sent = [Sent("n:d", "created", 0), Sent("n:d", "deleted", 3), Sent("n:d", "updated", 3)]
    spoken = Document("events/n:d", BRAND, "n:d", 3)
    assert not verdict(sent=[*SENT, *sent], documents=[*DOCUMENTS, spoken]).clean
    assert verdict(sent=[*SENT, *sent], documents=[*DOCUMENTS, replace(spoken, emptied=True)]).clean


def test_one_object_in_two_indices_is_doubled():
    again = Document("events-2026.10/n:a", BRAND, "n:a", 0)
    found = verdict(documents=[*DOCUMENTS, again])
    assert found.doubled == ("n:a: another document of nordlicht is events-2026.11/n:a",)
    assert found.lost == ()
    assert not found.clean


def test_each_further_document_is_doubled_by_itself():
    more = [Document(f"events-{month}/n:a", BRAND, "n:a", 0) for month in ("2026.09", "2026.10")]
    assert len(verdict(documents=[*DOCUMENTS, *more]).doubled) == 2


def test_a_fact_that_one_case_counts_twice_is_doubled():
    found = verdict(cases=[replace(CASES[0], objects=("f1", "f2", "f1")), *CASES[1:]])
    assert found.doubled == ("fact f1: counted by case-1 and once more by case-1",)
    assert not found.clean


def test_a_fact_that_two_cases_of_a_brand_count_is_doubled():
    found = verdict(cases=[CASES[0], replace(CASES[1], objects=("f3", "f2")), CASES[2]])
    assert found.doubled == ("fact f2: counted by case-1 and once more by case-2",)


def test_one_cause_under_two_ids_is_doubled():
    again = CaseEventRecord("id-9", "case-1", "n:a@0", "opened")
    found = verdict(case_events=[*CASE_EVENTS, again])
    assert found.doubled == ("case-1: opened by n:a@0 stands once more as id-9",)
    assert not found.clean


def test_clocks_that_one_late_answer_ends_are_not_doubled():
    """Each runs after the other, under one name: each ended at its own time."""
    met = {"kind": "met", "clock": "next_response", "detail": "in_time"}
    first, second = ({**met, "at": f"2026-11-23T15:41:{at}Z"} for at in (44, 46))
    told = [
        CaseEventRecord(place, "case-1", "n:a@0", "met", told_about(event))
        for place, event in (("id-7", first), ("id-8", second))
    ]
    assert verdict(case_events=[*CASE_EVENTS, *told]).clean
    again = CaseEventRecord("id-9", "case-1", "n:a@0", "met", told_about(first))
    found = verdict(case_events=[*CASE_EVENTS, *told, again])
    assert found.doubled == ("case-1: met by n:a@0 stands once more as id-9",)


def test_another_time_excuses_no_other_kind():
    warned = {"kind": "warned", "clock": "next_response", "at": "2026-11-23T15:41:44Z"}
    assert told_about(warned) == told_about({**warned, "at": "2026-11-23T15:41:46Z"})


def test_the_folded_hashes_of_a_summary_are_read_as_facts_are_written():
    assert [*folded_objects("AAAAAAAAAAH/////////8A==")] == ["0000000000000001", "fffffffffffffff0"]


def test_the_list_of_a_simulator_is_read_line_by_line():
    lines = [b'{"network":"webhook","object_id":"o","event":"updated","revision":3,"heard":false}']
    assert [*read_truth(lines)] == [Sent("o", "updated", 3, heard=False)]


def test_a_recording_tells_what_must_come_of_it():
    lines = [
        b'{"id":"1","text":"a"}',
        b'[{"id":"2","change":"updated","revision":4},{"id":"2","change":"deleted"}]',
        b"no json",
        b'{"id":7}',
    ]
    assert [*read_recording(lines, "shop")] == [
        Sent("replay:shop:1", "created", 0),
        Sent("replay:shop:2", "updated", 4),
        Sent("replay:shop:2", "deleted", 2**42 - 1),
    ]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([3.0], 0.99, 3.0), ([4, 1, 3, 2], 0.5, 2), (range(1, 101), 0.99, 99)],
)
def test_a_percentile_is_a_value_that_was_measured(values, share, expected):
    assert percentile([*values], share) == expected
