"""Alerts: who is alerted of what, when, with which evidence, and what never alerts."""

import gzip
import json
import random
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from klingel.domain.alert_evidence import Gathered, Row, from_hex, telling_terms, to_hex
from klingel.domain.alerting import WHOLE_BRAND, Alert, AlertPolicy, BrandWatch, watched
from klingel.domain.early_warning import Policy
from klingel.domain.identity import hash64_bytes

SEED = 7
BEGIN = 1_772_409_600.0  # a Monday, 0:00
INTERVAL, HOUR, DAY = 300.0, 3_600.0, 86_400.0
ONSET = BEGIN + 3 * DAY + 9 * HOUR
USUAL = ("Danke für die Hilfe", "Wann kommt meine Rechnung", "Netz ist heute gut", "Tarif wechseln")


def number_of(name: object) -> int:
    """Return 64 bits that are spread evenly."""
    return int.from_bytes(hash64_bytes(str(name)), "big")


def posts(
    begin: float,
    end: float,
    an_hour: float,
    *,
    tone: str | None = None,
    text: str = "",
    seed: int = SEED,
    authors: int = 1 << 30,
    topics: Sequence[str] = (),
    copies: str | None = None,
) -> list[Row]:
    """Return posts at chance moments; of chance tone and usual text unless told otherwise."""
    chance = random.Random(f"{seed} {begin} {text}")
    rows, at = [], begin
    while (at := at + chance.expovariate(an_hour / HOUR)) < end:
        rows.append(
            Row(
                f"x:network:{at:.3f}-{seed}@0",
                at,
                tone or chance.choice(["negative", "neutral", "neutral", "positive"]),
                topics or chance.choice([(), ("billing",), ("outage",)]),
                number_of(chance.randrange(authors)),
                float(chance.randrange(500)),
                chance.choice(["x", "bluesky"]),
                text or chance.choice(USUAL),
                copies,
            )
        )
    return rows


def in_order(*parts: Iterable[Row]) -> list[Row]:
    return sorted((row for part in parts for row in part), key=lambda row: row.at)


def alerts_of(rows: Sequence[Row], policy: AlertPolicy | None = None) -> list[Alert]:
    print(f"seed {SEED}")  # noqa: T201 - shown when a test fails
    return list(watched(rows, BrandWatch("nordlicht", policy)))


def background(days: float = 4, an_hour: float = 20) -> list[Row]:
    return posts(BEGIN, BEGIN + days * DAY, an_hour)


@pytest.fixture(scope="module")
def usual() -> list[Row]:
    """Four days of usual talk."""
    return background()


@pytest.fixture(scope="module")
def crisis(usual) -> list[Row]:
    """Two hours of anger on the fourth day."""
    wave = posts(
        ONSET,
        ONSET + 2 * HOUR,
        400,
        tone="negative",
        text="Totalausfall in Kiel, seit Stunden kein Internet",
        topics=("outage",),
        authors=150,
    )
    return in_order(usual, wave)


def test_usual_talk_alerts_nobody(usual) -> None:
    assert alerts_of(usual) == []


def test_a_crisis_is_one_alert_from_its_first_minutes_to_its_end(crisis) -> None:
    found = alerts_of(crisis)
    assert {alert.alert_id for alert in found} == {found[0].alert_id}
    first, last = found[0], found[-1]
    assert (first.change, first.revision) == ("opened", 1)
    assert first.updated_at - ONSET < 10 * 60
    assert {alert.change for alert in found[1:-1]} == {"updated"}
    assert [alert.revision for alert in found] == list(range(1, len(found) + 1))
    assert [alert.updated_at for alert in found] == sorted(alert.updated_at for alert in found)
    assert last.change == "ended"
    assert ONSET + 1.5 * HOUR < last.ended_at < ONSET + 4 * HOUR
    assert last.longevity_seconds == last.ended_at - last.began_at
    assert last.kind == "negative"
    assert 1 <= first.severity <= last.severity <= 10
    assert last.severity >= 5
    assert len(found) < 20


def test_an_alert_shows_evidence(crisis) -> None:
    evidence = alerts_of(crisis)[-1].evidence
    terms = [term.term for term in evidence.terms]
    assert {"Totalausfall", "Kiel"} & set(" ".join(terms).split())
    assert evidence.terms[0].share > 0.5 > evidence.terms[0].before
    assert "Danke" not in terms
    assert 120 <= evidence.unique_authors <= 200
    assert 0.8 < evidence.negative_share <= 1
    assert set(evidence.networks) == {"x", "bluesky"}
    assert next(iter(evidence.topics)) == "outage"
    assert evidence.reach > 10_000
    reaches = {row.event_id: row.reach for row in crisis}
    assert len(evidence.examples) == 5
    assert all(reaches[example] > 400 for example in evidence.examples)


def test_the_same_wave_of_praise_is_a_kind_of_its_own_and_needs_more(usual) -> None:
    praise = posts(ONSET, ONSET + 2 * HOUR, 600, tone="positive", text="Was für ein toller Spot!")
    found = alerts_of(in_order(usual, praise))
    assert "positive" in {alert.kind for alert in found}
    assert "negative" not in {alert.kind for alert in found}
    policy = AlertPolicy()
    assert policy.bars["negative"] < policy.bars["volume"] < policy.bars["positive"]


def opening(rows: Sequence[Row], kind: str) -> float:
    return next((a.updated_at for a in alerts_of(rows) if a.kind == kind), float("inf"))


def test_negative_fires_earlier_than_positive(usual) -> None:
    kept = [row for row in usual if row.tone not in {"negative", "positive"}]
    both = [row for row in usual if row.tone == "negative"]
    both = [*both, *(row._replace(tone="positive", event_id=f"p{row.event_id}") for row in both)]
    wave = posts(ONSET, ONSET + 2 * HOUR, 150, tone="negative", text="hm")
    angry = in_order(kept, both, wave)
    happy = in_order(kept, both, [row._replace(tone="positive") for row in wave])
    assert opening(angry, "negative") < opening(happy, "positive")


@pytest.mark.exhaustive
def test_few_authors_alert_nobody(usual) -> None:
    alone = [row for row in usual if not ONSET <= row.at < ONSET + 3 * HOUR]
    loud = posts(ONSET, ONSET + 2 * HOUR, 2_000, tone="negative", text="hört mich an", authors=4)
    assert alerts_of(in_order(alone, loud)) == []
    heard = AlertPolicy(least_authors=4)
    assert alerts_of(in_order(alone, loud), heard) != []


def test_who_repeats_himself_counts_once_an_interval(usual) -> None:
    one = posts(ONSET, ONSET + HOUR, 2_000, tone="neutral", text="hört mich an", authors=1)
    many = posts(ONSET, ONSET + HOUR, 2_000, tone="neutral", text="hört uns an")
    anyone = AlertPolicy(least_authors=1)
    whole = [row._replace(topics=()) for row in in_order(usual, one)]
    assert alerts_of(whole, anyone) == []
    whole = [row._replace(topics=()) for row in in_order(usual, many)]
    assert alerts_of(whole, anyone) != []


def test_a_small_brand_needs_authors_too() -> None:
    quiet = background(days=6, an_hour=3)
    four = posts(ONSET, ONSET + 600, 240, tone="negative", text="kaputt", authors=4)
    many = posts(ONSET, ONSET + 600, 240, tone="negative", text="kaputt")
    assert alerts_of(in_order(quiet, four)) == []
    found = alerts_of(in_order(quiet, many))
    assert found[0].updated_at < ONSET + 600
    assert found[0].evidence.unique_authors >= 5


def test_a_matter_is_told_by_its_topic_and_once(crisis) -> None:
    found = alerts_of(crisis)
    assert len({(alert.topic, alert.kind) for alert in found}) == 1


def test_two_topics_are_two_matters(crisis) -> None:
    bills = posts(
        ONSET,
        ONSET + 2 * HOUR,
        400,
        tone="negative",
        text="doppelt abgebucht",
        topics=("billing",),
        seed=8,
    )
    found = alerts_of(in_order(crisis, bills))
    assert {alert.topic for alert in found} - {WHOLE_BRAND} == {"billing", "outage"}


def test_talk_that_turns_negative_stays_one_alert(usual) -> None:
    puzzled = posts(ONSET, ONSET + HOUR, 300, tone="neutral", text="was ist da los", topics=("a",))
    angry = posts(
        ONSET + 900, ONSET + 2 * HOUR, 500, tone="negative", text="frech", topics=("a",), seed=8
    )
    found = [each for each in alerts_of(in_order(usual, puzzled, angry)) if each.topic == "a"]
    assert len({alert.alert_id for alert in found}) == 1
    assert [found[0].kind, found[-1].kind] == ["volume", "negative"]


def test_the_same_matter_does_not_alert_twice_a_day_unless_it_is_worse(usual) -> None:
    def wave(hours: float, an_hour: float) -> list[Row]:
        begin = ONSET + hours * HOUR
        return posts(begin, begin + 1_800, an_hour, tone="negative", text="wieder weg", seed=9)

    once = alerts_of(in_order(usual, wave(0, 300), wave(5, 300)))
    assert len({alert.alert_id for alert in once}) == 1
    worse = alerts_of(in_order(usual, wave(0, 150), wave(5, 4_000)))
    assert len({alert.alert_id for alert in worse}) > 1


@pytest.mark.parametrize(("cool_down", "alerts"), [(2 * HOUR, 2), (6 * HOUR, 1)])
def test_a_cool_down_begins_with_the_end(usual, cool_down: float, alerts: int) -> None:
    """Seven hours after its opening, five after its end, the same matter comes back."""
    waves = [
        posts(
            ONSET + begin,
            ONSET + begin + 2 * HOUR,
            400,
            tone="negative",
            text="Ausfall",
            topics=("outage",),
        )
        for begin in (0.0, 7 * HOUR)
    ]
    rows = [row for row in in_order(usual, *waves) if row.at < ONSET + 7.5 * HOUR]
    found = alerts_of(rows, AlertPolicy(cool_down_seconds=cool_down))
    assert len({alert.alert_id for alert in found}) == alerts


def test_a_gap_and_what_piled_up_alert_nobody(usual) -> None:
    away, back = ONSET, ONSET + 3 * HOUR
    piled = posts(back, back + HOUR, 400, text="aufgestaut")
    rows = in_order([row for row in usual if not away <= row.at < back], piled)
    watch = BrandWatch("nordlicht")
    watch.note_gap(away, None)
    watch.note_gap(away, back)
    assert list(watched(rows, watch)) == []
    assert alerts_of(rows) != [], "without the gap it is a wave"


def test_a_gap_that_nobody_told_alerts_nobody_either(usual) -> None:
    rows = [row for row in usual if not ONSET <= row.at < ONSET + 6 * HOUR]
    assert alerts_of(rows) == []


def test_the_end_of_the_data_is_the_end_of_nothing(crisis) -> None:
    cut = [row for row in crisis if row.at < ONSET + HOUR]
    watch = BrandWatch("nordlicht")
    found = list(watched(cut, watch))
    assert {alert.change for alert in found} == {"opened", "updated"}
    assert len(watch.open_alerts()) == 1
    later = watch.advance(ONSET + 5 * HOUR, until=ONSET + 5 * HOUR)
    assert [alert.change for alert in later] == ["ended"]
    assert watch.advance(ONSET + 9 * DAY, until=ONSET + 9 * DAY) == []


def test_catching_up_does_not_ring_for_what_is_long_over(crisis) -> None:
    watch = BrandWatch("nordlicht")
    now = crisis[-1].at
    assert [alert for row in crisis for alert in watch.add(row, now)] == []
    assert watch.counters.stale > 0
    assert watch.counters.late == 0


def test_who_catches_up_in_the_middle_of_a_crisis_is_alerted(crisis) -> None:
    watch, now = BrandWatch("nordlicht"), ONSET + 1.5 * HOUR
    found = [alert for row in crisis if row.at < now for alert in watch.add(row, now)]
    assert found[0].change == "opened"
    assert found[0].updated_at > now - HOUR - INTERVAL
    assert found[0].began_at < ONSET + 900


def with_history(
    history: Sequence[Row], rows: Sequence[Row], *, cut: bool = False, now: float = ONSET - HOUR
) -> list[Alert]:
    """Return what is alerted of rows after history was imported within a moment, at `now`."""
    watch = BrandWatch("nordlicht")
    for row in history:
        watch.learn(row, now)
        if cut:
            watch = BrandWatch.from_plain(json.loads(json.dumps(watch.to_plain())))
            cut = False
    found: list[Alert] = []
    for row in rows:
        found += watch.add(row, row.at)
        found += watch.advance(row.at, until=row.at)
    return found


def test_a_brand_that_imports_its_last_weeks_has_a_baseline_on_the_first_day(crisis) -> None:
    """It begins to listen an hour before the wave; without the import it would learn for a day."""
    history = [row for row in crisis if row.at < ONSET - HOUR]
    live = [row for row in crisis if row.at >= ONSET - HOUR / 2]
    assert with_history([], live) == []
    found = with_history(history, live)
    assert {alert.alert_id for alert in found} == {found[0].alert_id}
    opened = found[0]
    assert (opened.kind, opened.change) == ("negative", "opened")
    assert ONSET <= opened.updated_at <= ONSET + 900
    assert opened.baseline > 0
    told = {term.term.casefold() for term in found[-1].evidence.terms}
    assert any("totalausfall" in term for term in told)
    assert not any("rechnung" in term for term in told)


def test_history_alerts_nobody_in_any_order_and_a_restart_changes_nothing(crisis) -> None:
    """A wave that is imported is no news; what follows it is judged alike."""
    after = posts(BEGIN + 4.2 * DAY, BEGIN + 4.3 * DAY, 20)
    now = BEGIN + 4.1 * DAY
    assert with_history(crisis, after, now=now) == []
    live = [row for row in crisis if row.at >= ONSET - HOUR / 2]
    history = [row for row in crisis if row.at < ONSET - HOUR]
    expected = with_history(history, live)
    assert expected
    assert with_history(history[::-1], live) == expected
    assert with_history(history, live, cut=True) == expected


def test_a_history_of_much_talk_is_used_to_much_talk(usual) -> None:
    """What rings after quiet weeks is usual where it never was quiet."""

    def anger(begin: float, end: float) -> list[Row]:
        return posts(begin, end, 240, tone="negative", text="Netz weg", authors=300)

    live = in_order(posts(ONSET - HOUR / 2, ONSET + HOUR, 20), anger(ONSET, ONSET + HOUR))
    quiet = [row for row in usual if row.at < ONSET - HOUR]
    assert with_history(quiet, live)
    assert with_history(in_order(quiet, anger(BEGIN, ONSET - HOUR)), live) == []


def test_history_teaches_what_watching_would_have_taught(crisis) -> None:
    """The same alert, at the same time, with nearly the same baseline."""
    (watched_alert, *_) = alerts_of(crisis)
    history = [row for row in crisis if row.at < ONSET - HOUR]
    (learned, *_) = with_history(history, [row for row in crisis if row.at >= ONSET - HOUR / 2])
    assert (learned.topic, learned.kind) == (watched_alert.topic, watched_alert.kind)
    assert abs(learned.opened_at - watched_alert.opened_at) <= INTERVAL
    assert learned.baseline == pytest.approx(watched_alert.baseline, rel=0.1)


def test_history_of_a_time_that_was_watched_teaches_nothing(crisis) -> None:
    """It was counted when it was news; nor does what lies in the future, or too far back."""
    watch = BrandWatch("nordlicht")
    list(watched(crisis, watch))
    before = watch.to_plain()
    now = crisis[-1].at + DAY
    for row in crisis:
        watch.learn(row, now)
        watch.learn(row._replace(at=now + 1), now)
        watch.learn(row._replace(at=now - 29 * DAY), now)
        watch.learn(row._replace(at=-1.0), now)
    assert watch.to_plain()["past"] == before["past"]


def test_repeated_late_and_future_rows_are_counted_and_change_nothing(crisis) -> None:
    expected = alerts_of(crisis)
    watch, found, now = BrandWatch("nordlicht"), [], 0.0
    for at, row in enumerate(crisis):
        now = max(now, row.at)
        found += watch.add(row, now)
        found += watch.add(row, now)
        found += watch.add(row._replace(event_id=f"late {at}", at=row.at - 2 * HOUR), now)
        found += watch.add(row._replace(event_id=f"ahead {at}", at=now + HOUR), now)
        found += watch.add(row._replace(event_id=f"never {at}", at=float("nan")), now)
        found += watch.advance(now, until=now)
    assert found == expected
    assert watch.counters.repeated == len(crisis)
    assert watch.counters.ahead == 2 * len(crisis)
    assert watch.counters.late >= len(crisis) - 100
    assert watch.counters.rows == 5 * len(crisis)


def test_rows_out_of_order_within_the_bound_count(crisis) -> None:
    chance = random.Random(SEED)
    shuffled = sorted(crisis, key=lambda row: row.at + chance.uniform(0, 500))
    found = alerts_of(shuffled)
    assert {alert.alert_id for alert in found} == {alert.alert_id for alert in alerts_of(crisis)}
    watch = BrandWatch("nordlicht")
    list(watched(shuffled, watch))
    assert watch.counters.late == 0


def test_the_row_that_opens_an_alert_is_not_what_is_usual(usual) -> None:
    """Else the telling terms would depend on which of the wave's rows came when."""
    watch = BrandWatch("nordlicht")
    list(watched(usual, watch))
    # The smallest numbers are those whose texts are kept.
    told, now = [], usual[-1].at + 60
    for n in range(60):
        author, text = number_of(f"w{n}"), f"Ausfall in Kiel, Haus {n}"
        row = Row(f"w:{n}", now + n, "negative", ("outage",), author, 1.0, "x", text)
        told.append(bool(watch.add(row, now + n, n)))
    opener = told.index(True)
    kept = {text for texts in watch._usual for text in texts.texts()}
    assert not {f"Ausfall in Kiel, Haus {n}" for n in range(opener, 60)} & kept


def test_a_restart_anywhere_changes_nothing(crisis) -> None:
    expected = alerts_of(crisis)
    watch, found = BrandWatch("nordlicht"), []
    for at in range(0, len(crisis), 701):
        found += watched(crisis[at : at + 701], watch)
        watch = BrandWatch.from_plain(json.loads(json.dumps(watch.to_plain())))
    assert found == expected


def as_written_earlier(plain: Any) -> Any:
    """Return a state with 64-bit numbers as lists of hex numbers, as versions before wrote them."""
    if isinstance(plain, list):
        return [as_written_earlier(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    changed = {name: as_written_earlier(each) for name, each in plain.items()}
    if "authors" in plain:
        changed["authors"] = [f"{each:x}" for each in from_hex(plain["authors"])]
    if "ids" in plain:
        changed["ids"] = {at: [f"{n:x}" for n in from_hex(ids)] for at, ids in plain["ids"].items()}
    return changed


def test_a_state_that_an_earlier_version_wrote_is_read(crisis) -> None:
    expected = alerts_of(crisis)
    cut = next(at for at, row in enumerate(crisis) if row.at > ONSET + 600)
    watch = BrandWatch("nordlicht")
    found = list(watched(crisis[:cut], watch))
    plain = watch.to_plain()
    earlier = json.loads(json.dumps(as_written_earlier(plain)))
    assert earlier != plain
    watch = BrandWatch.from_plain(earlier)
    assert watch.to_plain() == plain
    assert found + list(watched(crisis[cut:], watch)) == expected


def test_numbers_of_64_bits_are_carried_whole() -> None:
    numbers = [0, 1, (1 << 64) - 1, 1 << 53]
    assert list(from_hex(json.loads(json.dumps(to_hex(numbers))))) == numbers
    with pytest.raises(ValueError, match="bytes length"):
        from_hex("00")


def test_late_posts_of_the_interval_before_help_to_open(usual) -> None:
    """The newest interval is asked about anew: it is told by the post that makes them enough."""
    begin = ONSET - ONSET % INTERVAL
    wave = posts(begin, begin + HOUR, 3_000, tone="negative", text="Alles kaputt", topics=("x",))
    early = [row for row in wave if row.at < begin + INTERVAL][:3]
    head = [row for row in wave if row.at >= begin + INTERVAL]
    watch = BrandWatch("nordlicht")
    list(watched([row for row in usual if row.at < begin], watch))
    now = head[1].at
    assert not [alert for row in (*head[:2], *early) for alert in watch.add(row, now)]
    opened = {
        alert.topic: at
        for at, row in enumerate(head[2:])
        for alert in watch.add(row, row.at)
        if alert.change == "opened" and alert.topic == "x"
    }
    assert opened == {"x": 0}


@pytest.mark.parametrize("plain", [{}, {"version": 2}, {"version": 1, "brand": "x"}])
def test_what_is_no_state_is_refused(plain) -> None:
    with pytest.raises(ValueError, match="watch"):
        BrandWatch.from_plain(plain)


@pytest.mark.exhaustive
def test_hostile_rows_are_bounded(usual) -> None:
    tracemalloc.start()
    watch = BrandWatch("nordlicht")
    list(watched(usual, watch))
    chance = random.Random(SEED)
    for number in range(3_000):
        row = Row(
            f"x:{number}",
            ONSET + 5 * DAY + number / 10,
            chance.choice(["negative", "angry", "", None]),
            tuple(f"topic {chance.getrandbits(40)}" for _ in range(4)),
            chance.choice([None, chance.getrandbits(64)]),
            chance.choice([float("nan"), float("inf"), -5.0, 1e308]),
            f"network {number}",
            chance.choice(["\u202e\u0301" * 2_000, "🔥" * 3_000, "a" * 30_000, "@" * 9_999, ""]),
            f"copy {number}",
        )
        for alert in watch.add(row, row.at):
            assert alert.evidence.reach >= 0
            assert len(alert.evidence.networks) <= 32
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert watch.counters.unlisted_topics > 0
    assert size < 40_000_000


@pytest.mark.exhaustive
def test_quiet_brands_stay_small() -> None:
    """A thousand brands of twenty topics: what a series keeps when nothing is going on."""
    rows = posts(BEGIN, BEGIN + 20 * DAY, 4, topics=("a", "b", "c", "d"))
    tracemalloc.start()
    watch = BrandWatch("nordlicht")
    size = []
    for row in rows:
        watch.add(row, row.at)
        if row.at > BEGIN + (1 + len(size)) * 5 * DAY:
            size.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert len(size) == 3
    assert max(size) < 250_000
    assert max(size) < 1.5 * min(size)


def test_impossible_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="bar"):
        AlertPolicy(bars={"negative": 1.0})
    with pytest.raises(ValueError, match="author"):
        AlertPolicy(least_authors=0)
    with pytest.raises(ValueError, match="zero"):
        AlertPolicy(detection=Policy(threshold=-1.0))


def test_telling_terms_are_what_the_usual_posts_lack() -> None:
    now = [
        "Störung in Kiel!",
        "@nordlicht störungen in Kiel https://x.y/z",
        "Störung hier auch",
    ] * 4
    before = ["Danke, das Netz in Kiel ist gut", "Hier alles gut"] * 20
    terms = telling_terms(now, before)
    assert terms[0].term == "Störung"
    assert terms[0].share == 1.0
    assert terms[0].before == 0.0
    assert not {"nordlicht", "x", "in", "und", "gut"} & {term.term for term in terms}
    assert telling_terms([], before) == []


def test_two_words_that_belong_together_are_one_term() -> None:
    now = ["Cancelled Flight again", "my cancelled flight", "Cancelled Flights everywhere"] * 3
    assert telling_terms(now, ["nice crew"] * 30)[0].term.casefold() == "cancelled flight"


@pytest.mark.parametrize(("written", "shown"), [(2, "cancelled flight"), (1, "cancelled flights")])
def test_a_term_is_shown_without_its_ending_where_several_posts_write_it_so(
    written: int, shown: str
) -> None:
    """One post alone may have been cut off; of several one is known to be a word."""
    now = ["Cancelled Flights again"] * 20 + ["Cancelled Flight"] * written
    assert telling_terms(now, ["nice crew"] * 30)[0].term.casefold() == shown


def test_gathered_parts_are_the_whole() -> None:
    rows = [(number_of(row.event_id), row) for row in posts(BEGIN, BEGIN + DAY, 200)]
    whole, first, second = Gathered(), Gathered(), Gathered()
    whole.add_rows(rows)
    chance = random.Random(SEED)
    chance.shuffle(rows)
    first.add_rows(rows[:999])
    second.add_rows(rows[999:])
    first.add_all(second)
    assert first.to_plain() == whole.to_plain()
    authors = len({row.author for _, row in rows})
    assert abs(whole.authors.count() - authors) < 0.15 * authors
    assert Gathered.from_plain(json.loads(json.dumps(whole.to_plain()))).to_plain() == (
        whole.to_plain()
    )


def airlines(folder: Path) -> dict[str, list[Row]]:
    """Read the posts to six airlines, with their real seconds."""
    found: dict[str, list[Row]] = defaultdict(list)
    path = folder / "nc" / "text" / "airline_us_sentiment.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            post = json.loads(line)
            meta = post["meta"]
            if meta["created_at"] is None:
                continue
            found[meta["brand"]].append(
                Row(
                    f"x:{number}",
                    datetime.strptime(meta["created_at"], "%Y-%m-%d %H:%M:%S %z").timestamp(),
                    post["labels"]["sentiment"],
                    (),
                    number_of(meta["author"]),
                    1.0 + (meta["retweet_count"] or 0),
                    "x",
                    post["text"],
                )
            )
    return {brand: sorted(rows, key=lambda row: row.at) for brand, rows in found.items()}


def at(told: str) -> float:
    """Return seconds of a time of the Pacific coast."""
    return datetime.fromisoformat(f"2015-02-{told[:2]}T{told[3:]}:00-08:00").timestamp()


def test_the_airlines_crisis_of_february_2015(shared_data) -> None:
    """Storms grounded flights on 21 and 22 February; the data of American begin in their midst."""
    found: dict[str, list[Alert]] = {}
    for brand, rows in airlines(shared_data).items():
        watch = BrandWatch(brand)
        found[brand] = list(watched(rows, watch))
        end = rows[-1].at
        after = [
            a for day in range(9) for a in watch.advance(end + day * DAY, until=end + day * DAY)
        ]
        assert {alert.change for alert in after} <= {"ended"}, "the end of the data opens nothing"

    american = found["American"]
    assert american[0].change == "opened"
    assert at("22 12:00") <= american[0].updated_at < at("22 12:30")
    first_hour = [alert for alert in american if alert.updated_at < at("22 13:00")]
    terms = {term.term.casefold() for alert in first_hour for term in alert.evidence.terms}
    assert "cancelled flight" in terms
    negative = [alert for alert in american if alert.kind == "negative"]
    assert negative[-1].alert_id == american[0].alert_id
    assert negative[-1].severity == 10

    for brand in ("US Airways", "Delta"):
        opened = [a for a in found[brand] if a.change == "opened" and a.kind == "negative"]
        assert any(at("22 06:00") <= alert.updated_at < at("22 10:30") for alert in opened), brand
    assert found["Virgin America"] == []
    opened = [a for alerts in found.values() for a in alerts if a.change == "opened"]
    assert len(opened) <= 12
    assert min(alert.evidence.unique_authors for alert in opened) >= 5


def test_an_airline_away_for_hours_alerts_nobody(shared_data) -> None:
    """The same posts with a hole in usual days, told and not told."""
    rows = airlines(shared_data)["Southwest"]
    begin, end = at("18 09:00"), at("19 15:00")
    kept = [row for row in rows if row.at < at("20 12:00") and not begin <= row.at < end]
    assert list(watched(kept, BrandWatch("southwest"))) == []
    watch = BrandWatch("southwest")
    watch.note_gap(begin, end)
    assert list(watched(kept, watch)) == []
