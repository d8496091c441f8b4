"""Figures of answers: hand-computed tables, and what holds for every table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klingel.language.evaluation import (
    agreement,
    calibration_error,
    rejection,
    report,
    reports_of_sets,
    threshold_for,
)

TRUTH = ["a", "a", "a", "b", "b", "c"]
SAID = ["a", "a", "b", "b", "a", "b"]


def test_a_table_computed_by_hand() -> None:
    found = report(TRUTH, SAID, [0.9, 0.9, 0.9, 0.6, 0.6, 0.6])
    assert found.accuracy == pytest.approx(3 / 6)
    assert found.of("a")[1:] == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        3,
        3,
    )
    assert found.of("b")[1:] == (
        pytest.approx(1 / 3),
        pytest.approx(1 / 2),
        pytest.approx(0.4),
        2,
        3,
    )
    assert found.of("c")[1:] == (0.0, 0.0, 0.0, 1, 0)
    assert found.macro_f1 == pytest.approx((2 / 3 + 0.4 + 0) / 3)
    assert found.confusion == {
        ("a", "a"): 2,
        ("a", "b"): 1,
        ("b", "b"): 1,
        ("b", "a"): 1,
        ("c", "b"): 1,
    }
    # Two bins of three: .9 promises 2.7 and keeps 2, .6 promises 1.8 and keeps 1.
    assert found.ece == pytest.approx((0.7 + 0.8) / 6)
    with pytest.raises(KeyError):
        found.of("d")


def test_a_class_without_rows_does_not_count_in_the_mean() -> None:
    found = report(["a", "a"], ["a", "b"], labels=["a", "b"])
    assert found.macro_f1 == pytest.approx(2 / 3)
    assert found.ece is None


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        report([], [])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        report(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="nothing to compare"):
        agreement([], [])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_right_answers_add_up(pairs) -> None:
    truth, said = [a for a, _ in pairs], [b for _, b in pairs]
    found = report(truth, said)
    assert sum(found.confusion.values()) == len(pairs)
    assert sum(each.support for each in found.classes) == len(pairs)
    assert 0 <= found.macro_f1 <= 1
    assert (found.macro_f1 == 1) == (truth == said)


def test_sets_are_compared_label_by_label() -> None:
    truth = [frozenset("ab"), frozenset("b"), frozenset()]
    said = [frozenset("a"), frozenset("ab"), frozenset("b")]
    a, b = reports_of_sets(truth, said, "ab")
    assert (a.precision, a.recall, a.support, a.answered) == (0.5, 1.0, 1, 2)
    assert (b.precision, b.recall, b.support, b.answered) == (0.5, 0.5, 2, 2)


def test_probabilities_that_keep_their_promise_have_no_error() -> None:
    assert calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert calibration_error([1.0, 1.0], [False, False]) == pytest.approx(1)
    assert calibration_error([], []) == 0


def test_rejection_counts_inside_and_outside() -> None:
    sure = np.array([0.9, 0.2, 0.8, 0.7, 0.1])
    right = np.array([True, True, False, False, False])
    inside = np.array([True, True, True, False, False])
    found = rejection(sure, right, inside, 0.5)
    assert found.inside == pytest.approx(1 / 3)
    assert found.outside == pytest.approx(1 / 2)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=1, max_size=200),
    st.floats(0, 0.5),
)
def test_a_threshold_costs_no_more_than_allowed(rows, loss) -> None:
    sure = np.array([value for value, _ in rows])
    right = np.array([yes for _, yes in rows])
    limit = threshold_for(sure, right, loss=loss)
    kept = (right & (sure >= limit)).sum()
    assert kept >= min(right.sum(), max(right.sum() - int(loss * len(rows)), 1))


def test_agreement_is_corrected_by_chance() -> None:
    equal, kappa = agreement(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    assert equal == pytest.approx(0.75)
    assert kappa == pytest.approx((0.75 - 0.5) / 0.5)
    assert agreement(["a"], ["a"]) == (1.0, 1.0)
