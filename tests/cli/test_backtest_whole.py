"""`klingel backtest` on days of posts: routes, promises, escalations, what brews, what is left out."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

SEED = 20260823
BRAND = """brand: nordlicht
name: Nordlicht
accounts: [{network: webhook, id: "desk:nordlicht"}, {network: bluesky, id: "did:plc:brand"}]
channels: [{network: webhook, id: desk}]
listening: [{id: name, query: nordlicht}]
topics: [{id: outage, query: ausfall OR "kein internet"}]
queues: [{id: service}, {id: outages}, {id: billing}]
routing:
  - {id: outage, when: ausfall OR "kein internet", queue: outages, priority: 40}
  - {id: money, when: rechnung*, queue: billing, priority: 20}
calendars: [{id: day, zone: Europe/Berlin, hours: {mon-fri: ["08:00-20:00"]}}]
sla:
  - {id: outages, queues: [outages], calendar: always, first_response: 60m}
  - {id: public, calendar: day, first_response: 4h}
targets: [{id: chat, kind: slack, url_setting: chat}]
escalation:
  - {id: lead, on: [warned], notify: [chat]}
  - {id: head, on: [breached], queue: service, notify: [chat]}
alerts: {notify: [chat], incident_notify: [chat]}
"""
MONDAY = datetime(2026, 3, 2, 6, tzinfo=UTC)
WAVE = MONDAY + timedelta(days=1, hours=8)
USUAL = (
    "Wann öffnet euer Laden in Kiel wieder?",
    "Meine Rechnung ist doppelt gekommen, bitte prüfen.",
    "Wie lange läuft mein Vertrag noch?",
    "Die neue App gefällt mir gut, danke.",
    "Kann ich meinen Router selbst tauschen?",
)
OUTAGE = (
    "Kein Internet in ganz Kiel seit heute früh, das ist eine Frechheit!",
    "Ausfall in Kiel, kein Internet, und niemand bei euch sagt etwas. Unmöglich.",
    "Schon wieder Ausfall! Kiel hat seit Stunden kein Internet, es reicht mir.",
    "Ich bin stinksauer: Kiel ohne Netz, kein Internet, Ausfall seit Stunden.",
)
FIRST_ANSWERED = 30


def event(number: str, at: datetime, text: str, author: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "network": "forum",
        "author": {"id": author},
        "text": text,
        "published_at": at.isoformat(),
        "lang": "de",
        **more,
    }


def two_days() -> list[dict[str, Any]]:
    """A usual day of a post in ten minutes, of which the first are answered, and a wave on the next.

    Between them a post twice, an edit, a deletion, a like and something that is no event.
    """
    chance = random.Random(SEED)
    found = []
    for number in range(170):
        at = MONDAY + number * timedelta(minutes=10)
        found.append(event(f"u{number}", at, USUAL[number % 5], f"anna{number}"))
        if number < FIRST_ANSWERED:
            answer = {"in_reply_to": f"u{number}", "conversation_id": f"u{number}"}
            later = at + timedelta(minutes=chance.choice((9, 90, 500)))
            found.append(event(f"a{number}", later, "Wir schauen nach.", "nordlicht", **answer))
    for number in range(40):
        at = WAVE + number * timedelta(seconds=20)
        text = OUTAGE[number % 4] + f" {chance.choice(('Bitte!', 'Warum?', 'Unfassbar.', ''))}"
        found.append(event(f"w{number}", at, text, f"bert{number}"))
    # The time passes on, so that what is promised falls due.
    found += [
        event(f"z{number}", WAVE + timedelta(hours=number), "Habt ihr heute offen?", f"cem{number}")
        for number in range(1, 6)
    ]
    found.append(dict(found[0]))
    edited = {"revision": 1, "change": "updated", "changed_at": (MONDAY).isoformat()}
    found.append(found[2] | edited | {"text": "Wann öffnet euer Laden in Lübeck?"})
    gone = {"change": "deleted", "revision": 1, "id": "u150", "network": "forum"}
    found.append(gone | {"changed_at": (WAVE + timedelta(hours=1)).isoformat()})
    found.append(event("like", WAVE, "", "dora", kind="reaction", target="w0"))
    return found


def written(path: Path, events: list[dict[str, Any]], *broken: str) -> Path:
    lines = [*(json.dumps(each, ensure_ascii=False) for each in events), *broken]
    random.Random(SEED).shuffle(lines)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def brand(tmp_path: Path) -> Path:
    path = tmp_path / "brand.yaml"
    path.write_text(BRAND, encoding="utf-8")
    return path


@pytest.fixture
def days(tmp_path: Path) -> Path:
    return written(tmp_path / "days.ndjson", two_days(), '{"id": "torn', '{"id": "lacks"}')


def told(run, *arguments: object) -> dict[str, Any]:
    result = run("backtest", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.exhaustive
def test_two_days_come_to_routes_breaches_escalations_an_alert_and_an_incident(
    run, brand: Path, days: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ("backtest", "--brand", brand, "--input", days, "--source", "desk", "--json")
    result = run(*arguments, "--events", out)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)

    assert report["events"]["refused"] == {"malformed_json": 1, "missing_field": 1}
    assert report["events"]["read"] == len(two_days())
    assert report["routing"]["outage"] == 40
    assert report["routing"]["money"] >= 34
    # A breach moves a case to the queue of its level.
    queues = report["cases"]["by_queue"]
    assert sum(queues.values()) == report["cases"]["opened"]
    assert queues["service"] > queues["billing"] > 0
    assert report["case_events"]["breached"] > 40
    first = report["clocks"]["first_response"]
    assert first["in_time"] >= 10
    assert first["late"] >= 1
    assert first["breached"] >= 40
    levels = {(each["level"], each["reason"]) for each in report["escalations"]}
    assert {level for level, _ in levels} == {"lead", "head"}

    (alert,) = report["alerts"]
    assert (alert["kind"], alert["topic"], alert["tone"]) == ("negative", "outage", "negative")
    opened = datetime.fromisoformat(alert["opened_at"])
    ended = datetime.fromisoformat(alert["ended_at"])
    assert WAVE - timedelta(minutes=5) <= opened <= WAVE + timedelta(minutes=5)
    assert timedelta(minutes=10) <= ended - opened <= timedelta(hours=2)
    assert {"Internet", "Kiel"} <= set(alert["terms"])
    assert alert["authors"] == 40
    (incident,) = report["incidents"]
    assert incident["kind"] == "same_question"
    assert incident["authors"] == report["cases"]["in_incidents"] == 40

    again = tmp_path / "again.jsonl"
    assert run(*arguments, "--events", again).stdout == result.stdout
    assert again.read_bytes() == out.read_bytes()
    routed = [json.loads(line) for line in out.read_bytes().splitlines()]
    decided: dict[str, int] = {}
    for each in routed:
        reason = each["decision"]["triage"]
        decided[reason] = decided.get(reason, 0) + 1
    assert decided == report["triage"]
    waves = [each for each in routed if "/webhook:desk:w" in each["event"]["event_id"]]
    assert {each["decision"]["rule"] for each in waves} == {"outage"}


def test_what_no_brand_hears_and_what_came_before_is_discarded_by_reason(
    run, brand: Path, tmp_path: Path
) -> None:
    """Nothing vanishes: each event that was read was heard, discarded or repeated, and is counted."""
    heard = [event(f"h{n}", MONDAY, "nordlicht, hallo?", f"anna{n}") for n in range(3)]
    others = [event(f"o{n}", MONDAY, "Guten Morgen zusammen", f"bert{n}") for n in range(5)]
    file = written(tmp_path / "mixed.ndjson", [*heard, *others, dict(heard[0])])
    report = told(run, "--brand", brand, "--input", file, "--source", "elsewhere")
    events = report["events"]
    assert (events["read"], events["heard"]) == (9, 3)
    assert events["dead_lettered"] == {}
    assert events["discarded"] == {"understand: duplicate": 1, "understand: not_heard": 5}
    assert report["triage"] == {"indirect": 3}


@pytest.mark.exhaustive
def test_two_brand_files_side_by_side_as_data(run, brand: Path, tmp_path: Path) -> None:
    """Both on the same input, one line each; what differs follows from what the files say."""
    since = (MONDAY + timedelta(hours=26)).isoformat()
    late = [each for each in two_days() if each.get("published_at", "") >= since]
    days = written(tmp_path / "late.ndjson", late)
    other = tmp_path / "patient.yaml"
    text = BRAND.replace("first_response: 60m", "first_response: 9h")
    other.write_text(text.replace("queue: billing,", "queue: service,"), encoding="utf-8")
    arguments = ("--brand", brand, "--compare", other, "--input", days, "--source", "desk")
    result = run("backtest", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    first, second = [json.loads(line) for line in result.stdout.splitlines()]
    assert first["config_version"] != second["config_version"]
    assert first["events"] == second["events"]
    assert first["triage"] == second["triage"]
    breached = [each["clocks"]["first_response"]["breached"] for each in (first, second)]
    assert breached[0] - breached[1] >= 40
    assert "billing" not in second["cases"]["by_queue"]


def bluesky() -> list[bytes]:
    record = {
        "$type": "app.bsky.feed.post",
        "text": "nordlicht: kein Internet",
        "createdAt": "2026-03-02T08:00:00Z",
        "langs": ["de"],
    }
    commit = {
        "rev": "3l",
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": "3lbk2jxanbk2j",
        "record": record,
        "cid": "bafyreib2rxk3rh6kzwq",
    }
    frame = {
        "did": "did:plc:xuwanuehnd4ccp5zu6qykall",
        "time_us": 1772438400000000,
        "kind": "commit",
        "commit": commit,
    }
    return [json.dumps(frame).encode()]


def mastodon() -> list[bytes]:
    status = {
        "id": "110",
        "created_at": "2026-03-02T08:00:00.000Z",
        "in_reply_to_id": None,
        "in_reply_to_account_id": None,
        "spoiler_text": "",
        "visibility": "public",
        "language": "de",
        "url": "https://elsewhere.example/@anna/110",
        "uri": "https://elsewhere.example/users/anna/statuses/110",
        "content": "<p>nordlicht: kein Internet</p>",
        "reblog": None,
        "quote": None,
        "edited_at": None,
        "account": {"id": "2", "acct": "anna@elsewhere.example", "display_name": "Anna"},
        "mentions": [],
        "tags": [],
        "media_attachments": [],
        "replies_count": 0,
    }
    return [json.dumps(status).encode()]


def telegram() -> list[bytes]:
    anna = {"id": 7, "is_bot": False, "first_name": "Anna", "language_code": "de"}
    message = {
        "message_id": 10,
        "from": anna,
        "chat": {"id": -1001, "type": "supergroup", "title": "Kiel"},
        "date": int(datetime(2026, 3, 2, 8, tzinfo=UTC).timestamp()),
        "text": "nordlicht: kein Internet",
    }
    return [json.dumps({"update_id": 1, "message": message}).encode()]


@pytest.mark.parametrize("native", [bluesky, mastodon, telegram])
def test_native_deliveries_of_networks_go_the_whole_way(
    run, brand: Path, tmp_path: Path, native
) -> None:
    """The same words, as each network sends them, are heard by the same rule and routed alike."""
    file = tmp_path / "deliveries.ndjson"
    file.write_bytes(b"".join(each + b"\n" for each in native()))
    out = tmp_path / "out.jsonl"
    name = native.__name__
    arguments = ("--brand", brand, "--input", file, "--network", name, "--source", "s.example")
    report = told(run, *arguments, "--events", out)
    assert report["events"] | {"discarded": {}} == {
        "read": 1,
        "refused": {},
        "heard": 1,
        "discarded": {},
        "dead_lettered": {},
    }
    assert report["from"] == "2026-03-02T08:00:00+00:00"
    (routed,) = [json.loads(line) for line in out.read_bytes().splitlines()]
    heard = routed["event"]
    assert (heard["network"], heard["text"]) == (name, "nordlicht: kein Internet")
    assert [each.get("rule") for each in heard["matches"]] == ["name"]
