"""`klingel doctor`: what is wrong with a connector, and what to do about it."""

import asyncio
import http.client
import os
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

import click
import msgspec
from kafka import errors as kafka_errors

from klingel.contracts import codec
from klingel.contracts.envelope import Output
from klingel.contracts.outputs import raw_output
from klingel.contracts.topics import Topic
from klingel.domain.identity import event_id
from klingel.errors import ConfigurationError, CredentialsRejected, InvalidMessage, RetryableError
from klingel.model import ConnectorStatus, LedgerLine, RawEvent
from klingel.settings import KafkaSettings
from klingel_cli.doctoring import judge
from klingel_cli.kafka import Log, Slot, publish, reading
from klingel_cli.shell import Seconds, Shell, as_json, pass_shell
from klingel_networks.arrival import Finding, Options, Tools
from klingel_networks.examining import clock_finding
from klingel_networks.manifest import Manifest
from klingel_networks.options import read_options, setting_name
from klingel_networks.registry import installed

_EXAMINE_SECONDS = 60.0
_ANSWER_SECONDS = 10.0
_UNDERSTAND = "understand"
_SIGNS = {"ok": "ok", "warning": "warning", "failed": "FAILED", "unknown": "unknown"}


@click.command("doctor")
@click.argument("connector")
@click.option("--base", help="Public address of the gateway; KLINGEL_HOOK_BASE otherwise.")
@click.option(
    "--wait",
    type=Seconds(0, 3600),
    default=30.0,
    show_default=True,
    help="Seconds for the synthetic event.",
)
@click.option("--no-event", is_flag=True, help="Send no synthetic event.")
@as_json
@pass_shell
def doctor(
    shell: Shell,
    connector: str,
    base: str | None,
    wait: float,
    *,
    no_event: bool,
    as_json: bool,
) -> None:
    """Examine CONNECTOR: settings, credentials, permissions, subscription, webhook, clock, events.

    Give it the connector's own environment (KLINGEL_<CONNECTOR>_*), so that it can ask the network;
    without, it tells what the connector says of itself.
    Each finding that is not ok says what to do. A synthetic event that no brand hears proves the way
    through Kafka to `understand`. Exit code 1 when something failed.
    """
    manifest = installed().manifest(connector)
    found = _settings(manifest)
    found += _webhook(manifest, base or os.environ.get("KLINGEL_HOOK_BASE", ""))
    kafka = shell.settings.kafka
    with reading(kafka) as log:
        of = _tellers(manifest)
        told = [each for each in statuses(log).values() if each.connector in of]
    found += judge(connector, _start(manifest), told, shell.now())
    if not no_event:
        found.append(_round_trip(kafka, wait))
    if as_json:
        shell.tell([msgspec.to_builtins(each) for each in found])
    else:
        shell.table(
            ("check", "", "finding", "what to do"),
            [(each.check, _SIGNS[each.state], each.sentence, each.remedy) for each in found],
        )
    if any(each.state == "failed" for each in found):
        shell.found_wrong()


def _tellers(manifest: Manifest) -> set[str]:
    """Return the connectors whose status concerns this one; webhooks come through the gateway."""
    ways = {manifest.mode, *manifest.also}
    found = {manifest.name} if ways - {"webhook"} else set()
    return found | ({"webhook"} if "webhook" in ways else set())


def _start(manifest: Manifest) -> str:
    if manifest.mode == "webhook":
        return "start it: `klingel-connector gateway`"
    return f"start it: `klingel-connector run {manifest.name}`"


def statuses(log: Log) -> dict[str, ConnectorStatus]:
    """Return the newest status of every key."""
    found: dict[str, ConnectorStatus] = {}
    for message in log.read_whole(Topic.CONNECTOR_STATUS):
        key = (message.key or b"").decode("utf-8", "replace")
        found.pop(key, None)
        if message.value is not None:
            found[key] = codec.decode(ConnectorStatus, message.value)
    return found


# --- settings and the network itself -----------------------------------------------------------


def _settings(manifest: Manifest) -> list[Finding]:
    """Check the settings and, where they are right, ask the network."""
    if not _is_set_here(manifest):
        return [
            Finding(
                "settings",
                "unknown",
                "none of its settings is here: the network was not asked",
                "run it with the connector's own settings and credentials",
            )
        ]
    try:
        options = read_options(manifest, os.environ, {})
    except ConfigurationError as error:
        return [
            Finding(
                "settings",
                "failed",
                str(error),
                "set it as docs/reference/connectors.md says; nothing else could be asked",
            )
        ]
    return [Finding("settings", "ok", "every setting can be read"), *_asked(manifest, options)]


def _is_set_here(manifest: Manifest) -> bool:
    """Whether we run in the connector's environment; one that needs no setting is at home anywhere."""
    needed = any(each.required for each in manifest.config.values())
    own = {setting_name(manifest.name, each) for each in manifest.config}
    return not needed or any(each.removesuffix("_FILE") in own for each in os.environ)


def _asked(manifest: Manifest, options: Options) -> list[Finding]:
    try:
        examine = getattr(installed().client(manifest.name), "examine", None)
    except ConfigurationError:
        examine = None
    if examine is None:
        return []
    try:
        return list(asyncio.run(asyncio.wait_for(examine(options, Tools()), _EXAMINE_SECONDS)))
    except CredentialsRejected as error:
        return [
            Finding(
                "credentials",
                "failed",
                str(error),
                f"make a new credential and set {setting_name(manifest.name, '...')}",
            )
        ]
    except (RetryableError, TimeoutError) as error:
        said = str(error) or "the network did not answer in time"
        return [Finding("network", "unknown", said, "try again; look at the network's status page")]
    except ConfigurationError as error:
        return [Finding("settings", "failed", str(error), "change the setting that it names")]


# --- the webhook -------------------------------------------------------------------------------


def _webhook(manifest: Manifest, base: str) -> list[Finding]:
    """Ring at the public address as the network does: with the handshake, and without a signature."""
    if manifest.family is None:
        return []
    if not base:
        return [
            Finding(
                "webhook",
                "unknown",
                "nobody told the gateway's public address",
                "give --base, or set KLINGEL_HOOK_BASE",
            )
        ]
    family = installed().family(manifest.family)
    path = f"/hook/{family.name}"
    status, headers = _ring(base, "POST", path, b"{}")
    if status is None:
        return [
            Finding(
                "webhook",
                "failed",
                "the gateway's public address does not answer",
                "check DNS, certificate, firewall and that `klingel-connector gateway` runs",
            )
        ]
    found = [clock_finding(headers.get("date", ""), datetime.now(UTC))]
    if status == http.client.UNAUTHORIZED:
        found.append(Finding("webhook", "ok", "the endpoint answers and refuses what is unsigned"))
    else:
        found.append(
            Finding(
                "webhook",
                "failed",
                f"an unsigned delivery is answered {status} instead of 401",
                f"name {family.name} in the gateway's KLINGEL_HOOKS, and let the address lead to it",
            )
        )
    token = os.environ.get(f"KLINGEL_HOOK_VERIFY_{family.name.upper()}", "")
    if family.endpoint.handshake == "meta" and token:
        found.append(_handshake(base, path, token))
    return found


def _handshake(base: str, path: str, token: str) -> Finding:
    query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": "klingel"}
    status, _ = _ring(base, "GET", f"{path}?{urlencode(query)}", b"")
    if status == http.client.OK:
        return Finding("handshake", "ok", "the verify token is the gateway's")
    return Finding(
        "handshake",
        "failed",
        "the gateway has another verify token",
        "give gateway and network console the same KLINGEL_HOOK_VERIFY token",
    )


def _ring(base: str, method: str, path: str, body: bytes) -> tuple[int | None, Mapping[str, str]]:
    """Return status and headers of an answer; None when nobody answers."""
    place = urlsplit(base)
    if place.scheme not in {"http", "https"} or not place.hostname:
        raise ConfigurationError("--base: an address such as https://hooks.example")
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname, place.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request(method, place.path.rstrip("/") + path, body or None)
        answer = connection.getresponse()
        answer.read(4096)
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    except (OSError, http.client.HTTPException):
        return None, {}
    finally:
        connection.close()


# --- a synthetic event -------------------------------------------------------------------------


def _round_trip(kafka: KafkaSettings, wait: float) -> Finding:
    """Send an event that no brand hears, and wait until `understand` has accounted for it."""
    began = time.monotonic()
    name = f"webhook:klingel-doctor:{secrets.token_hex(8)}"
    now = datetime.now(UTC)
    try:
        with reading(kafka) as log:
            since = log.ends(log.slots(Topic.STAGE_LEDGER))
            publish(kafka, [_synthetic(name, now)])
            written = time.monotonic() - began
            place = _find(log, name, now)
            while time.monotonic() - began < wait:
                if place is not None and _accounted(log, since, place):
                    took = time.monotonic() - began
                    return Finding(
                        "event",
                        "ok",
                        f"a synthetic event was understood {took:.1f} s after it was sent",
                    )
                time.sleep(0.2)
    except (kafka_errors.KafkaError, RetryableError):
        return Finding(
            "event", "failed", "Kafka does not answer", "check KLINGEL_KAFKA__* and the brokers"
        )
    return Finding(
        "event",
        "failed",
        f"a synthetic event was in Kafka after {written:.1f} s, and not understood in {wait:.0f} s",
        "start `understand`, or let it catch up: `klingel status` says how much waits",
    )


def _synthetic(name: str, now: datetime) -> Output:
    native = {
        "id": name.rpartition(":")[2],
        "network": "klingel",
        "kind": "unknown",
        "author": {"id": "klingel-doctor"},
        "text": "",
        "published_at": now.isoformat(),
    }
    raw = RawEvent(
        event_id=event_id(name, 0),
        object_id=name,
        revision=0,
        network="webhook",
        connector="klingel-doctor",
        kind="unknown",
        change="created",
        mode="backfill",
        received_at=now,
        channel="klingel-doctor",
        native=msgspec.Raw(msgspec.json.encode(native)),
        context={"source": "klingel-doctor"},
    )
    return raw_output(raw, "klingel/doctor")


def _find(log: Log, name: str, since: datetime) -> tuple[int, int] | None:
    """Return partition and offset of our event."""
    begins = log.first_since(log.slots(Topic.RAW_EVENTS), since)
    starts = {slot: offset for slot, offset in begins.items() if offset is not None}
    for message in log.read(_to_the_end(log, starts)):
        if message.key == name.encode():
            return message.partition, message.offset
    return None


def _accounted(log: Log, since: Mapping[Slot, int], place: tuple[int, int]) -> bool:
    """Whether a line of `understand` covers an offset of raw-events."""
    partition, offset = place
    for message in log.read(_to_the_end(log, since)):
        if message.value is None:
            continue
        try:
            line = codec.decode(LedgerLine, message.value)
        except InvalidMessage:
            continue
        where = (line.stage, line.topic, line.partition)
        if (
            where == (_UNDERSTAND, Topic.RAW_EVENTS, partition)
            and line.before <= offset < line.after
        ):
            return True
    return False


def _to_the_end(log: Log, starts: Mapping[Slot, int]) -> dict[Slot, tuple[int, int]]:
    ends = log.ends(list(starts))
    return {slot: (start, ends[slot]) for slot, start in starts.items()}
