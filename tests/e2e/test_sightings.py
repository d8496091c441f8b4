"""Received → searchable is measured by searching: each version once, also one that was overtaken."""

from datetime import UTC, datetime, timedelta

from klingel_cli.demo.index import Sight, Sightings


class Shelf:
    """Answers as an index does: everything above the mark of its place."""

    def __init__(self):
        self.sights = []
        self.asked = []

    def put(self, place, sequence, seconds_ago):
        """Make a version searchable."""
        received_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        self.sights.append(Sight(place, sequence, received_at))

    def seen_since(self, marks):
        """Return what lies above the marks."""
        self.asked.append(dict(marks))
        return [each for each in self.sights if each.sequence > marks.get(each.place, -1)]


def test_each_version_is_counted_once_with_its_time_from_receipt():
    shelf = Shelf()
    sightings = Sightings(shelf)
    shelf.put("a", 0, seconds_ago=3)
    sightings.look()
    shelf.put("a", 1, seconds_ago=1)
    sightings.look()
    sightings.look()
    assert [round(each) for each in sightings.latencies] == [3, 1]
    assert sightings.count == 2
    assert sightings.first_received == shelf.sights[0].received_at
    assert sightings.last_seen > sightings.first_received


def test_a_write_that_was_overtaken_is_still_seen():
    shelf = Shelf()
    sightings = Sightings(shelf)
    shelf.put("a", 300, seconds_ago=1)
    sightings.look()
    shelf.put("a", 150, seconds_ago=2)
    sightings.look()
    assert sightings.count == 2
    assert shelf.asked[-1] == {"a": 100}


def test_what_was_seen_long_ago_is_not_asked_for_again():
    shelf = Shelf()
    sightings = Sightings(shelf)
    for sequence in range(1_000):
        shelf.put("a", sequence, seconds_ago=1)
    shelf.put("b", 5, seconds_ago=1)
    sightings.look()
    sightings.look()
    assert shelf.asked[-1] == {"a": 799, "b": -1}
    assert sightings.count == 1_001


def test_a_window_keeps_the_newest_latencies_alone():
    shelf = Shelf()
    sightings = Sightings(shelf, round_seconds=0.001, window=10)
    sightings.start()
    sightings.stop()
    for sequence in range(30):
        shelf.put("a", sequence, seconds_ago=sequence)
    sightings.look()
    assert len(sightings.latencies) == 10
    assert sightings.count == 30
