"""A calm day before the crisis: what is written, under which brand it is heard, who rings after it."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from klingel.config.loader import load_brand
from klingel.contracts.partition import partition_for
from klingel_cli.demo.processes import PARTITIONS
from klingel_cli.demo.rehearsal import (
    AT_A_CALM_DAY,
    CALM,
    CALM_SOURCE,
    CALM_SPEED,
    SERVICES,
    Traffic,
    brand_file,
    calm_brand,
    write_brief_calm_day,
    write_calm_day,
)


def test_the_brand_of_a_calm_day_lacks_its_outreach_and_nothing_else(lone_fleet):
    whole = load_brand(brand_file()).brand
    calm = load_brand(calm_brand(lone_fleet, brand_file())).brand
    assert whole.outreach.queue is not None
    assert calm.outreach.queue is None
    rest = {"exclude": {"outreach"}}
    assert calm.model_dump(**rest) == whole.model_dump(**rest)


def test_a_calm_day_ends_when_its_replay_ends_and_is_talk_about_the_brand(lone_fleet):
    before = datetime.now(UTC)
    path = write_calm_day(lone_fleet, Traffic(3, 0, 0, rate=20.0, calm_day=True))
    events = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(events) == round(CALM.total_seconds() * 20.0 / 300)
    said = [datetime.fromisoformat(each["published_at"]) for each in events]
    replayed = CALM / CALM_SPEED
    assert abs(min(said) - (before - CALM + replayed)) < timedelta(minutes=2)
    assert abs(max(said) - (before + replayed)) < timedelta(minutes=2)
    assert not any(each.get("direction") == "inbound" for each in events)
    assert {each["change"] for each in events} == {"created"}
    # The processes that remain are those that the board shows.
    assert lone_fleet.children == {}


def test_a_brief_calm_day_lies_on_one_partition_and_keeps_its_order(lone_fleet):
    """However fast it is replayed, watch reads it in the order in which it was said."""
    end = datetime(2026, 3, 2, 12, tzinfo=UTC)
    path = write_brief_calm_day(lone_fleet, 7, end)
    events = [json.loads(line) for line in path.read_bytes().splitlines()]
    places = {
        partition_for(f"replay:{CALM_SOURCE}:{each['id']}".encode(), PARTITIONS) for each in events
    }
    assert len(places) == 1
    assert 100 < len(events) < 200
    said = [datetime.fromisoformat(each["published_at"]) for each in events]
    assert end - CALM - timedelta(minutes=1) <= min(said)
    assert max(said) <= end
    # Early warning learns for a day, and takes what comes up to ten minutes late.
    assert max(said) - min(said) > timedelta(hours=24)
    assert all(later - earlier > -timedelta(minutes=1) for earlier, later in pairwise(said))
    assert lone_fleet.children == {}


def test_nothing_of_a_calm_day_comes_before_its_time():
    """Early warning leaves out what is dated ahead of the clock."""
    for share in (0.0, 0.5, 1.0):
        heard_at = share * (CALM / CALM_SPEED)
        said_at = -CALM + CALM / CALM_SPEED + share * CALM
        assert said_at <= heard_at


def test_watch_alone_begins_after_a_calm_day():
    assert set(SERVICES) - set(AT_A_CALM_DAY) == {"watch"}
