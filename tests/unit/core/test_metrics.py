"""Metrics: a closed set of names and labels; nobody's words in a label."""

import re
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from klingel.metrics import DEFINITIONS, Metric, Metrics

LABELS = {"component", "network", "reason", "error_type", "topic", "partition", "outcome", "state"}


def test_every_metric_is_defined_once() -> None:
    """The enum and the definitions are the same set."""
    assert set(DEFINITIONS) == set(Metric)
    assert len({str(metric) for metric in Metric}) == len(Metric)


@pytest.mark.parametrize("metric", list(Metric))
def test_names_follow_the_convention(metric: Metric) -> None:
    """`klingel_` before, `_total` behind counters alone, base units for durations."""
    definition = DEFINITIONS[metric]
    assert re.fullmatch(r"klingel(_[a-z]+)+", metric)
    assert metric.endswith("_total") == (definition.kind is Counter)
    if definition.kind is Histogram:
        assert metric.endswith("_seconds")
    assert definition.meaning.endswith(".")


@pytest.mark.parametrize("metric", list(Metric))
def test_labels_are_of_a_closed_set(metric: Metric) -> None:
    """No label could hold a person; the component always comes first."""
    labels = DEFINITIONS[metric].labels
    assert labels[0] == "component"
    assert set(labels) <= LABELS


def test_what_is_counted_is_rendered() -> None:
    """Counter, gauge and histogram, with the component."""
    metrics = Metrics("care")
    metrics.count(Metric.DISCARDED, 3, reason="not_heard")
    metrics.set(Metric.PARTITIONS, 4)
    metrics.observe(Metric.BATCH_SECONDS, 0.2)
    samples = {(name, labels.get("reason")): value for name, labels, value in metrics.samples()}
    assert samples["klingel_discarded_total", "not_heard"] == 3
    assert samples["klingel_partitions_owned", None] == 4
    assert samples["klingel_batch_seconds_count", None] == 1
    assert b'klingel_discarded_total{component="care",reason="not_heard"} 3.0' in metrics.render()


def test_what_our_own_code_raised_is_one_kind() -> None:
    """The label is a closed set; the class of the exception stands in the dead letter."""
    metrics = Metrics("understand")
    for kind in ("unhandled:KeyError", "unhandled:ValueError", "wrong_type", "anything"):
        metrics.count(Metric.DEAD_LETTERED, error_type=kind)
    counted = {
        labels["error_type"]: value
        for name, labels, value in metrics.samples()
        if name == Metric.DEAD_LETTERED
    }
    assert counted == {"unhandled": 3, "wrong_type": 1}


def test_every_metric_is_set_somewhere() -> None:
    """A name that nothing sets is a promise to whoever draws a panel of it."""
    sources = Path(__file__).resolve().parents[3]
    written = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("core/src", "services", "cli/src")
        for path in (sources / folder).rglob("*.py")
        if path.name != "metrics.py"
    )
    assert [metric for metric in Metric if f"Metric.{metric.name}" not in written] == []


def test_a_count_of_nothing_is_shown() -> None:
    """Prometheus sees no increase from absent to 1: the first breach of all would be missed."""
    shown = {(name, *labels.values()): value for name, labels, value in Metrics("x").samples()}
    assert shown["klingel_gap_seconds_total", "x"] == 0
    assert shown["klingel_requests_total", "x", "failed"] == 0
    assert shown["klingel_sla_breaches_total", "x", "resolution"] == 0
    assert shown["klingel_deletion_seconds_count", "x"] == 0
    gauges = {str(metric) for metric in Metric if DEFINITIONS[metric].kind is Gauge}
    assert not gauges & {name for name, *_ in shown}, "0 days left would be an alarm"


def test_an_unknown_label_is_refused() -> None:
    """A slip is found where it is made."""
    with pytest.raises(ValueError, match="label"):
        Metrics("care").count(Metric.DISCARDED, reason="x", handle="erika")
    with pytest.raises(ValueError, match="label"):
        Metrics("care").count(Metric.DELIVERED, reason="x")


def test_two_processes_in_one_interpreter_do_not_share() -> None:
    """Each has a registry of its own; nothing is registered at import."""
    one, two = Metrics("one"), Metrics("two")
    one.count(Metric.DELIVERED)
    assert all(labels["component"] == "two" for _, labels, _ in two.samples())


def test_kinds_are_kept_apart() -> None:
    """Counting a gauge is an error, not a silent nothing."""
    assert DEFINITIONS[Metric.LAG].kind is Gauge
    with pytest.raises(AssertionError):
        Metrics("care").count(Metric.LAG, partition="0")
