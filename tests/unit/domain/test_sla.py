"""SLA clocks and policies: known answers, every state, what `config check` refuses."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from klingel.config.calendars import DEFAULT_CALENDAR, DEFAULT_SLA, BusinessCalendar, SlaPolicy
from klingel.domain.calendar import Calendar, CalendarError, Interval
from klingel.domain.sla import (
    Clock,
    Policies,
    Promise,
    clock_of,
    compile_calendars,
    explain,
    sla_problems,
)

ROOT = Path(__file__).resolve().parents[3]
OFFICE = Calendar.compile(DEFAULT_CALENDAR)
HOUR = 3600


def at(text: str) -> datetime:
    """Read an instant of UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def promise(**fields) -> Promise:
    """Return a promise of an hour for everything, warned at three quarters."""
    usual = {
        "policy": "public",
        "version": "1",
        "calendar": OFFICE,
        "first_response_seconds": HOUR,
        "next_response_seconds": HOUR,
        "resolution_seconds": HOUR,
        "warn_share": 0.75,
    }
    return Promise(**usual | fields)


def derived(start: str, name="first_response", *, of: Promise | None = None, **facts) -> Clock:
    """Derive a clock from facts whose times are written as text."""
    times = {key: at(value) for key, value in facts.items() if isinstance(value, str)}
    clock = clock_of(of or promise(), name, at(start), **facts | times)
    assert clock is not None
    return clock


def stood(*spans: tuple[str, str | None]) -> list[tuple[datetime, datetime | None]]:
    """Read pauses."""
    return [(at(begin), at(end) if end is not None else None) for begin, end in spans]


def test_a_clock_in_hours_counts_at_once() -> None:
    """Friday noon, an hour."""
    clock = derived("2026-11-20 11:00")
    assert clock == Clock(
        name="first_response",
        policy="public",
        version="1",
        target_seconds=HOUR,
        started_at=at("2026-11-20 11:00"),
        counts_from=at("2026-11-20 11:00"),
        out_of_hours=False,
        warn_at=at("2026-11-20 11:45"),
        deadline=at("2026-11-20 12:00"),
        pauses=(),
        met_at=None,
        cancelled_at=None,
        counted_until=None,
        state="running",
        business_seconds=None,
        wall_seconds=None,
    )


def test_a_clock_out_of_hours_counts_from_the_opening_and_is_flagged() -> None:
    """Said on Saturday, due on Monday at nine."""
    clock = derived("2026-11-21 11:00", met_at="2026-11-23 07:20")
    assert clock.out_of_hours
    assert clock.counts_from == at("2026-11-23 07:00")
    assert clock.deadline == at("2026-11-23 08:00")
    assert clock.business_seconds == 20 * 60
    assert clock.wall_seconds == 44 * HOUR + 20 * 60


def test_what_is_said_as_it_opens_is_in_hours() -> None:
    """Eight o'clock belongs to the day, twenty o'clock does not; a fraction changes nothing."""
    assert not derived("2026-11-20 07:00").out_of_hours
    assert not derived("2026-11-20 18:59:59.999999").out_of_hours
    assert derived("2026-11-20 19:00").out_of_hours
    assert derived("2026-11-20 06:59:59.999999").counts_from == at("2026-11-20 07:00")


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ("2026-11-20 10:00", "running"),
        ("2026-11-20 11:44:59", "running"),
        ("2026-11-20 11:45", "warned"),
        ("2026-11-20 11:59:59.9", "warned"),
        ("2026-11-20 12:00", "breached"),
        ("2026-12-20 12:00", "breached"),
    ],
)
def test_the_state_of_a_clock_that_runs(now, state) -> None:
    """A deadline that comes is a breach."""
    assert derived("2026-11-20 11:00", now=now).state == state


@pytest.mark.parametrize(
    ("facts", "state", "seconds"),
    [
        ({"met_at": "2026-11-20 12:00"}, "met", HOUR),
        ({"met_at": "2026-11-20 12:00:00.9"}, "met", HOUR),
        ({"met_at": "2026-11-20 12:00:01"}, "met_late", HOUR + 1),
        ({"met_at": "2026-11-20 10:59"}, "met", 0),
        ({"cancelled_at": "2026-11-20 11:10"}, "cancelled", 600),
        ({"cancelled_at": "2026-11-20 12:10"}, "cancelled", HOUR + 600),
        ({"met_at": "2026-11-20 11:10", "cancelled_at": "2026-11-20 11:10"}, "met", 600),
        ({"met_at": "2026-11-20 11:20", "cancelled_at": "2026-11-20 11:10"}, "cancelled", 600),
        ({"met_at": "2026-11-20 11:10", "cancelled_at": "2026-11-20 11:20"}, "met", 600),
    ],
)
def test_how_a_clock_ends(facts, state, seconds) -> None:
    """Met at the deadline is met; of two endings the earlier counts, of two at once the answer."""
    clock = derived("2026-11-20 11:00", **facts)
    assert (clock.state, clock.business_seconds) == (state, seconds)
    assert (clock.met_at is None) == (state == "cancelled")
    assert (clock.cancelled_at is None) == (state != "cancelled")
    assert derived("2026-11-20 11:00", **facts, now="2030-01-01") == clock


def test_an_answer_after_closing_is_late_where_closing_was_the_deadline() -> None:
    """Though no second more was counted."""
    clock = derived("2026-11-20 18:00", met_at="2026-11-20 20:00")
    assert clock.deadline == at("2026-11-20 19:00")
    assert (clock.state, clock.business_seconds) == ("met_late", HOUR)


def test_a_policy_may_promise_nothing_of_a_kind() -> None:
    """Then there is no clock."""
    assert clock_of(promise(resolution_seconds=None), "resolution", at("2026-11-20 11:00")) is None


def test_a_warning_by_a_time_before_the_deadline_counts_open_time() -> None:
    """Ten minutes before a deadline at 8:05 are on the evening before."""
    clock = derived("2026-11-19 18:05", of=promise(warn_share=None, warn_seconds=600))
    assert clock.deadline == at("2026-11-20 07:05")
    assert clock.warn_at == at("2026-11-19 18:55")
    assert derived("2026-11-20 11:00", of=promise(warn_share=None)).warn_at is None


def test_a_pause_moves_the_deadline_by_its_open_time() -> None:
    """Twenty minutes and, over the weekend, an hour: the closed time in it moves nothing."""
    pauses = stood(
        ("2026-11-20 11:10", "2026-11-20 11:30"), ("2026-11-20 18:30", "2026-11-23 07:30")
    )
    short = derived("2026-11-20 11:00", "resolution", pauses=pauses)
    assert short.deadline == at("2026-11-20 12:20")
    long = derived(
        "2026-11-20 11:00", "resolution", pauses=pauses, of=promise(resolution_seconds=8 * HOUR)
    )
    assert long.deadline == at("2026-11-23 08:20")
    assert long.warn_at == at("2026-11-20 17:20")


@pytest.mark.parametrize(
    ("now", "state", "seconds"),
    [
        ("2026-11-20 11:09", "running", 540),
        ("2026-11-20 11:10", "paused", 600),
        ("2026-11-20 11:29:59", "paused", 600),
        ("2026-11-20 11:30", "running", 600),
        ("2026-11-20 12:05", "warned", 600 + 35 * 60),
        ("2026-11-20 12:20", "breached", HOUR),
    ],
)
def test_a_clock_stands_during_a_pause(now, state, seconds) -> None:
    """And goes on after it from where it was."""
    pauses = stood(("2026-11-20 11:10", "2026-11-20 11:30"))
    clock = derived("2026-11-20 11:00", "resolution", pauses=pauses, now=now)
    assert (clock.state, clock.business_seconds) == (state, seconds)
    assert clock.paused == (state == "paused")


def test_a_clock_that_stands_without_an_end_is_not_breached() -> None:
    """Its deadline is the earliest that it can be; it is met in time whenever it is met."""
    pauses = stood(("2026-11-20 11:10", None))
    for now in (None, "2026-11-20 12:00", "2027-11-20 12:00"):
        facts = {} if now is None else {"now": now}
        clock = derived("2026-11-20 11:00", "resolution", pauses=pauses, **facts)
        assert clock.state == "paused"
        assert clock.deadline == at("2026-11-20 12:00")
    met = derived("2026-11-20 11:00", "resolution", pauses=pauses, met_at="2027-11-20")
    assert (met.state, met.business_seconds) == ("met", 600)


def test_a_pause_after_the_deadline_changes_nothing() -> None:
    """What is breached stays breached."""
    pauses = stood(("2026-11-20 12:00", None))
    clock = derived("2026-11-20 11:00", "resolution", pauses=pauses, now="2026-11-20 13:00")
    assert (clock.state, clock.business_seconds) == ("breached", HOUR)
    met = derived("2026-11-20 11:00", "resolution", pauses=pauses, met_at="2026-11-20 13:00")
    assert met.state == "met_late"


def test_pauses_are_merged_and_those_before_the_start_left_out() -> None:
    """In whatever order they are told."""
    pauses = stood(
        ("2026-11-20 11:40", "2026-11-20 11:50"),
        ("2026-11-20 10:00", "2026-11-20 10:30"),
        ("2026-11-20 11:45", None),
        ("2026-11-20 12:45", "2026-11-20 12:50"),
        ("2026-11-20 10:50", "2026-11-20 11:10"),
        ("2026-11-20 11:05", "2026-11-20 11:20"),
        ("2026-11-20 11:25", "2026-11-20 11:25"),
    )
    wanted = stood(("2026-11-20 11:00", "2026-11-20 11:20"), ("2026-11-20 11:40", None))
    for told in (pauses, pauses[::-1], [*pauses, *pauses]):
        assert derived("2026-11-20 11:00", "resolution", pauses=told).pauses == tuple(wanted)


def test_only_the_resolution_stands_in_the_states_of_the_policy() -> None:
    """A customer who waits for an answer is not paused by a snooze."""
    own = promise(pause_when=("snoozed",))
    assert own.stands_in("resolution", "snoozed")
    assert not own.stands_in("resolution", "waiting")
    assert not own.stands_in("first_response", "snoozed")


def test_an_explanation_lists_what_was_counted() -> None:
    """Over a weekend and a pause."""
    clock = derived(
        "2026-11-20 18:30",
        "resolution",
        pauses=stood(("2026-11-23 07:10", "2026-11-23 07:20")),
        met_at="2026-11-23 07:30",
    )
    friday = Interval(at("2026-11-20 18:30"), at("2026-11-20 19:00"))
    monday = Interval(at("2026-11-23 07:00"), at("2026-11-23 07:10"))
    to_deadline, to_end = explain(clock, OFFICE)
    assert to_end == (friday, monday, Interval(at("2026-11-23 07:20"), at("2026-11-23 07:30")))
    assert to_deadline == (
        friday,
        monday,
        Interval(at("2026-11-23 07:20"), at("2026-11-23 07:40")),
    )
    assert [each.seconds for each in to_deadline] == [1800, 600, 1200]
    assert explain(derived("2026-11-20 11:00"), OFFICE).to_end == ()


def test_the_explanation_of_the_documentation() -> None:
    """Friday 19:30, an hour, answered on Monday at 8:20."""
    clock = derived("2026-11-20 18:30", met_at="2026-11-23 07:20")
    to_deadline, to_end = explain(clock, OFFICE)
    assert [each.seconds for each in to_end] == [1800, 1200]
    assert [each.seconds for each in to_deadline] == [1800, 1800]
    assert clock.deadline == at("2026-11-23 07:30")


def test_the_example_of_the_documentation_compiles() -> None:
    """As it stands there."""
    block = (ROOT / "docs/reference/sla.md").read_text(encoding="utf-8")
    written = yaml.safe_load(block[block.index("    calendars:") : block.index("A brand that")])
    calendars = tuple(map(BusinessCalendar.model_validate, written["calendars"]))
    sla = tuple(map(SlaPolicy.model_validate, written["sla"]))
    assert sla_problems(sla, calendars, ["press"]) == []
    policies = Policies.compile(sla, calendars, "1")
    assert policies.choose({"press"}, "press", 0, "post").promise.calendar.id == "always"
    assert policies.choose((), "press", 0, "post").promise.calendar.id == "service-hours"


def policy(name="all", **fields) -> SlaPolicy:
    """Return a policy that promises an answer within the hour."""
    return SlaPolicy(id=name, **{"first_response": "1h"} | fields)


def test_the_defaults_are_an_hour_and_a_quarter_for_messengers() -> None:
    """Monday to Friday 8 to 20, the next answers too."""
    policies = Policies.compile((), (), "7")
    public = policies.choose((), "care", 0, "post").promise
    direct = policies.choose((), "care", 0, "direct_message").promise
    assert policies.choose((), "care", 0, "chat").promise is direct
    assert (public.policy, public.first_response_seconds, public.next_response_seconds) == (
        "public",
        HOUR,
        HOUR,
    )
    assert (direct.policy, direct.first_response_seconds, direct.next_response_seconds) == (
        "messengers",
        900,
        900,
    )
    assert public.calendar is direct.calendar is OFFICE
    assert public.resolution_seconds is None
    assert public.version == "7"
    assert sla_problems(DEFAULT_SLA, (DEFAULT_CALENDAR,), ()) == []


def test_the_first_policy_that_fits_decides() -> None:
    """All conditions of a policy have to be met."""
    policies = Policies.compile(
        (
            policy("vip", when="followers:>=100000", priority_from=50),
            policy("legal", queues=("legal", "press")),
            policy("mail", kinds=("email",), when="lang:de"),
            policy(),
        ),
        (),
        "1",
    )

    def chosen(hits=(), queue="care", priority=0, kind="post") -> str:
        return policies.choose(hits, queue, priority, kind).promise.policy

    assert policies.queries == (("vip", "followers:>=100000"), ("mail", "lang:de"))
    assert chosen({"vip"}, priority=50) == "vip"
    assert chosen({"vip"}, priority=49) == "all"
    assert chosen(priority=50) == "all"
    assert chosen({"vip"}, "legal", 50) == "vip"
    assert chosen(queue="press") == "legal"
    assert chosen({"mail"}, kind="email") == "mail"
    assert chosen({"mail"}) == "all"
    assert chosen(kind="email") == "all"


NIGHTS = BusinessCalendar(id="nights", zone="Etc/UTC", hours={"mon-sun": ("20:00-24:00",)})
DAYS = DEFAULT_CALENDAR.model_copy(update={"id": "days"})


def test_a_policy_without_a_calendar_has_the_first() -> None:
    """`always` is there without being declared, and so are the defaults where nothing is."""
    sla = (
        policy("night", calendar="nights", queues=("a",)),
        policy("on", calendar="always", queues=("b",)),
        policy(),
    )
    found = [
        each.promise.calendar.id for each in Policies.compile(sla, (DAYS, NIGHTS), "1").policies
    ]
    assert found == ["nights", "always", "days"]
    assert [*compile_calendars(())] == ["service-hours", "always"]
    assert [*compile_calendars((DAYS, NIGHTS))] == ["days", "nights", "always"]
    assert Policies.compile((policy(calendar="service-hours"),), (), "1").policies


def test_targets_and_warnings_are_read() -> None:
    """As seconds, a share or a time before."""
    part = policy(next_response="4h", resolution="2d", warn_at="10m", pause_when=("waiting",))
    read = Policies.compile((part,), (), "1").policies[0].promise
    assert (read.first_response_seconds, read.next_response_seconds) == (HOUR, 4 * HOUR)
    assert read.resolution_seconds == 48 * HOUR
    assert (read.warn_share, read.warn_seconds, read.pause_when) == (None, 600, ("waiting",))
    read = Policies.compile((policy(warn_at=0.5),), (), "1").policies[0].promise
    assert (read.warn_share, read.warn_seconds) == (0.5, None)
    assert read.warned_after(1) == 1


@pytest.mark.parametrize(
    ("sla", "path", "sentence"),
    [
        (
            [policy("a", when="lang:de", queues=("care",))],
            ("sla", 0),
            (
                "the last policy has to take every case; leave out `when:` and `queues:`, "
                "or add a policy without conditions below"
            ),
        ),
        (
            [policy("a", kinds=("post",)), policy("a")],
            ("sla", 1, "id"),
            "'a' stands twice; each needs an id of its own",
        ),
        (
            [policy(calendar="nigths")],
            ("sla", 0, "calendar"),
            "there is no calendar 'nigths'; did you mean 'nights'?",
        ),
        (
            [policy(calendar="service-hours")],
            ("sla", 0, "calendar"),
            "there is no calendar 'service-hours'; known are always, days, nights",
        ),
        (
            [policy("a", queues=("care", "cares")), policy()],
            ("sla", 0, "queues", 1),
            "there is no queue 'cares'; did you mean 'care'?",
        ),
        (
            [SlaPolicy(id="a")],
            ("sla", 0),
            "it promises nothing; add `first_response:`, `next_response:` or `resolution:`",
        ),
        (
            [policy(pause_when=("snoozed",))],
            ("sla", 0, "pause_when"),
            "only the resolution clock stands; add `resolution:`, or leave this out",
        ),
        (
            [policy(warn_at="60m")],
            ("sla", 0, "warn_at"),
            (
                "'60m' before the deadline is before `first_response: 1h` begins; "
                "write a shorter time, or a share"
            ),
        ),
        (
            [policy(resolution="90d", calendar="rare")],
            ("sla", 0, "resolution"),
            (
                "'90d' of open time take the calendar 'rare' more than 1095 days; "
                "a day here is 24 open hours: write a shorter time"
            ),
        ),
    ],
)
def test_policies_that_cannot_be_kept_are_refused(sla, path, sentence) -> None:
    """One sentence, with its path from the brand on."""
    calendars = [DAYS, NIGHTS]
    if sla[0].calendar == "rare":
        calendars.append(
            NIGHTS.model_copy(update={"id": "rare", "hours": {"mon": ("00:00-00:01",)}})
        )
    assert sla_problems(sla, calendars, ["care", "billing"]) == [(path, sentence)]


def test_a_warning_that_comes_too_early_is_told_once() -> None:
    """However many targets it is too early for."""
    sla = (policy(first_response="5m", next_response="10m", warn_at="10m"),)
    assert [problem.path for problem in sla_problems(sla, ())] == [("sla", 0, "warn_at")]


def test_calendars_are_checked_with_the_policies() -> None:
    """Paths begin at the brand; a policy is not blamed for its calendar."""
    wrong = DAYS.model_copy(update={"zone": "Berlin"})
    named = NIGHTS.model_copy(update={"id": "always"})
    problems = sla_problems((policy(resolution="90d"),), (wrong, NIGHTS, NIGHTS, named), ())
    assert [problem.path for problem in problems] == [
        ("calendars", 0, "zone"),
        ("calendars", 2, "id"),
        ("calendars", 3, "id"),
    ]
    assert problems[2].sentence == (
        "'always' is built in and open day and night; name yours otherwise"
    )
    with pytest.raises(CalendarError, match=r"^calendars\.0\.zone: there is no time zone"):
        Policies.compile((), (wrong,), "1")


def test_policies_that_do_not_cover_each_other_may_stand_in_any_order() -> None:
    """A queue, a kind, a query, a priority: each takes what the other does not."""
    sla = (
        policy("a", queues=("care",)),
        policy("b", kinds=("post",)),
        policy("c", when="lang:de"),
        policy("d", when="lang:en", priority_from=5),
        policy("e", when="lang:en"),
        policy("f", priority_from=5),
        policy("g", priority_from=4),
        policy(),
    )
    assert sla_problems(sla, (), ["care"]) == []


@pytest.mark.parametrize(
    ("written", "right"),
    [
        (0.0, "write a share between 0 and 1"),
        (1.0, "write a share between 0 and 1"),
        (75.0, "write a share between 0 and 1"),
        ("75%", "write a number and a unit"),
    ],
)
def test_a_warning_is_a_share_or_a_time(written, right) -> None:
    """What would be right is said."""
    with pytest.raises(ValidationError, match=right):
        policy(warn_at=written)


def test_what_is_derived_twice_is_the_same() -> None:
    """Nothing of a clock depends on what was derived before."""
    starts = [at("2026-01-01") + timedelta(hours=37 * number) for number in range(300)]
    first = [clock_of(promise(), "resolution", start) for start in starts]
    assert [clock_of(promise(), "resolution", start) for start in reversed(starts)] == first[::-1]
