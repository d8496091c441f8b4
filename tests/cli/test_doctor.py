"""`klingel doctor`: every finding that is not well says what to do."""

import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from klingel.contracts.topics import Topic
from klingel.model import ConnectorStatus, LedgerLine
from klingel.model.connector_status import GapRecord, Spent
from klingel.stage.ledger import ledger_output
from klingel_cli.commands import doctor
from klingel_cli.doctoring import judge
from klingel_cli.kafka import publish, reading
from klingel_networks.arrival import Finding
from klingel_networks.examining import clock_finding, permissions_finding
from klingel_networks.registry import installed

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
START = "start it: `klingel-connector run x`"


def status(**more):
    """Return a status of ten seconds ago."""
    given = {
        "instance": "x-main",
        "connector": "x",
        "network": "x",
        "state": "running",
        "at": NOW - timedelta(seconds=10),
        "credential": "ok",
        "last_event_at": NOW - timedelta(seconds=30),
    }
    return ConnectorStatus(**given | more)


def gap(outcome, opened_at):
    """Return a gap's record."""
    record = GapRecord(channel="", cause="disconnected", outcome=outcome, opened_at=opened_at)
    return status(instance="x-main/gap/1", state="failed", gap=record, last_event_at=None)


def states(*told):
    """Return the state of each check."""
    found = judge("x", START, told, NOW)
    assert all(each.remedy for each in found if each.state != "ok")
    return {each.check: each.state for each in found}


def test_all_is_well():
    assert set(states(status()).values()) == {"ok"}


@pytest.mark.parametrize(
    ("told", "check", "state"),
    [
        ((), "running", "failed"),
        ((status(at=NOW - timedelta(minutes=5)),), "running", "failed"),
        ((status(state="failed", reason="no such mailbox"),), "running", "failed"),
        ((status(state="waiting", reason="waiting for Kafka"),), "running", "warning"),
        ((status(state="stopped", at=NOW - timedelta(days=1)),), "running", "warning"),
        ((status(credential="expiring", credential_days=4.0),), "credentials", "warning"),
        ((status(credential="refresh_failed"),), "credentials", "warning"),
        ((status(credential="revoked"),), "credentials", "failed"),
        ((status(credential=None),), "credentials", "ok"),
        ((status(last_event_at=None),), "last event", "unknown"),
        ((status(last_event_at=NOW - timedelta(days=3)),), "last event", "warning"),
        ((status(channels=9, channels_waiting=2),), "channels", "warning"),
        ((status(spent=Spent(month="2026-11", units=95, budget=100)),), "cost", "warning"),
        ((status(spent=Spent(month="2026-11", units=100, budget=100)),), "cost", "failed"),
        (
            (status(spent=Spent(month="2026-11", units=9, budget=100, shared=95)),),
            "cost",
            "warning",
        ),
        ((status(), gap("open", NOW)), "gaps", "warning"),
        ((status(), gap("unrecoverable", NOW - timedelta(hours=2))), "gaps", "warning"),
        ((status(), gap("unrecoverable", NOW - timedelta(days=9))), "gaps", "ok"),
        ((status(), gap("filled", NOW)), "gaps", "ok"),
    ],
)
def test_what_is_wrong_is_found(told, check, state):
    assert states(*told)[check] == state


def test_a_finding_without_a_remedy_cannot_be_made():
    with pytest.raises(ValueError, match="says what to do"):
        Finding("clock", "failed", "wrong")


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "ok"), (-29, "ok"), (31, "failed"), (-3600, "failed")]
)
def test_a_clock_that_is_wrong_is_found(seconds, state):
    theirs = (NOW + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert clock_finding(theirs, NOW).state == state
    assert clock_finding("soon", NOW).state == "unknown"
    assert clock_finding("", NOW).state == "unknown"


def test_permissions_that_are_missing_are_named():
    found = permissions_finding({"read"}, ("read", "pages_messaging"))
    assert "pages_messaging" in found.sentence
    assert permissions_finding({"a", "b"}, ("a",)).state == "ok"


class Door(BaseHTTPRequestHandler):
    """A gateway's endpoint as it stands in the internet."""

    status = 401

    def do_POST(self):
        """Refuse what is unsigned."""
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        """Answer the handshake."""
        query = parse_qs(urlsplit(self.path).query)
        good = query.get("hub.verify_token") == ["right"]
        body = query["hub.challenge"][0].encode() if good else b""
        self.send_response(200 if good else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        """Say nothing."""


@pytest.fixture
def door():
    """A handler class and the address of its server."""

    class Own(Door):
        pass

    server = HTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Own, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def webhook(base, name="whatsapp"):
    """Return the state of each check of a webhook."""
    return {each.check: each.state for each in doctor._webhook(installed().manifest(name), base)}


def test_the_endpoint_is_rung_as_the_network_does(door, monkeypatch):
    own, base = door
    assert webhook(base) == {"clock": "ok", "webhook": "ok"}
    monkeypatch.setenv("KLINGEL_HOOK_VERIFY_META", "right")
    assert webhook(base)["handshake"] == "ok"
    monkeypatch.setenv("KLINGEL_HOOK_VERIFY_META", "wrong")
    assert webhook(base)["handshake"] == "failed"
    own.status = 404
    assert webhook(base)["webhook"] == "failed"
    assert webhook("http://127.0.0.1:1") == {"webhook": "failed"}
    assert webhook("") == {"webhook": "unknown"}
    assert webhook(base, "bluesky") == {}


def test_an_unknown_connector_is_one_sentence(run):
    result = run("doctor", "orkut")
    assert result.exit_code == 2
    assert "no network is called 'orkut'" in result.output


def test_where_a_connectors_settings_are_not_it_is_told_and_nothing_has_failed(monkeypatch):
    """In a pod for commands: what the connector says of itself is still told."""
    mastodon = installed().manifest("mastodon")
    (found,) = doctor._settings(mastodon)
    assert (found.check, found.state) == ("settings", "unknown")
    monkeypatch.setenv("KLINGEL_MASTODON_ACCESS_TOKEN", "canary")
    (found,) = doctor._settings(mastodon)
    assert (found.check, found.state) == ("settings", "failed")
    assert "mastodon.instance is missing" in found.sentence


@pytest.mark.servers
def test_a_connector_that_does_not_run_is_told_and_the_synthetic_event_too(run, env):
    """Kafka answers, nobody understands: two failures, each with its remedy, exit code 1."""
    assert run("topics", "apply", env=env).exit_code == 0
    result = run("doctor", "bluesky", "--wait", "1", env=env)
    assert result.exit_code == 1
    told = re.sub(r"\s+", " ", result.output)
    assert "no instance of bluesky has told its state" in told
    assert "not understood in 1 s" in told
    assert run("connectors", "gaps", env=env).output.strip() == "no gap is known"


@pytest.mark.servers
def test_the_synthetic_event_is_found_and_counts_once_understand_accounts_for_it(run, env, kafka):
    """A line of `understand` over its offset, and no other line, is the end of its way."""
    assert run("topics", "apply", env=env).exit_code == 0
    now = datetime.now(UTC)
    publish(kafka, [doctor._synthetic("webhook:klingel-doctor:1", now)])
    with reading(kafka) as log:
        since = log.ends(log.slots(Topic.STAGE_LEDGER))
        partition, offset = doctor._find(log, "webhook:klingel-doctor:1", now)
        assert doctor._find(log, "webhook:klingel-doctor:2", now) is None

        def told(stage, before, after):
            line = LedgerLine(
                stage=stage,
                topic=Topic.RAW_EVENTS,
                partition=partition,
                before=before,
                after=after,
                received=after - before,
                redone=0,
                fates={},
                emitted={},
                holder="h",
                written_at=now,
            )
            publish(kafka, [ledger_output(line)])
            return doctor._accounted(log, since, (partition, offset))

        assert not told("care", offset, offset + 1)
        assert not told("understand", offset + 1, offset + 2)
        assert told("understand", offset, offset + 1)
