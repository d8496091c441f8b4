"""`klingel-connector run <network>` and `klingel-connector gateway`."""

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

import click
import uvloop

from klingel import tracing
from klingel.clock import Clock, SystemClock
from klingel.contracts.blobs import BlobStore
from klingel.errors import ConfigurationError, InvalidMessage
from klingel.logs import configure_logs
from klingel.metrics import Metrics
from klingel.settings import Settings, load_settings
from klingel_connectors.chat_settings import CHAT_NAMES, chat_settings
from klingel_connectors.permits import RuntimePermits
from klingel_connectors.runner import POLL_SECONDS, Plan
from klingel_connectors.service import Job, run_connector, run_gateway, run_media
from klingel_connectors.settings import OWN_NAMES, gateway_settings, media_settings
from klingel_networks.arrival import MediaAddresses, Mode, Tools
from klingel_networks.bluesky.account import BlueskyAccount
from klingel_networks.bluesky.client import (
    COLLECTIONS,
    JETSTREAM,
    BlueskyClient,
    connect_account,
    connect_stream,
)
from klingel_networks.contract import Network
from klingel_networks.manifest import Manifest
from klingel_networks.options import app_of, budget_of, own_pattern, read_options, setting_name
from klingel_networks.registry import installed
from klingel_networks.replay.client import ReplayClient, ReplayOptions

_SWITCH_SECONDS = 0.0003
"""Between the gateway's event loop and kafka-python's thread: more often than usual (5 ms), because an
answer waits whenever the loop has let go of the interpreter for a system call."""

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run connectors: they read networks and publish raw events to Kafka.

    Settings common to all services come from KLINGEL_* (docs/reference/settings.md).
    """


class _Networks(click.Group):
    """The connectors with commands of their own, and one for every other manifest that is installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all connectors that read by themselves."""
        return sorted({*super().list_commands(ctx), *(n for n in installed().names if _reads(n))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a connector's command, made from its manifest."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in installed().names and _reads(cmd_name):
            found = _command(installed().manifest(cmd_name))
        return found


def _reads(name: str) -> bool:
    manifest = installed().manifest(name)
    return bool({"poll", "stream"} & {manifest.mode, *manifest.also})


@main.group(cls=_Networks)
def run() -> None:
    """Run one connector until SIGTERM, or until its source ends."""


def _command(manifest: Manifest) -> click.Command:
    """Make the command of a connector: its description and settings are the manifest's."""
    params: list[click.Parameter] = [
        click.Option(
            [f"--{name.replace('_', '-')}", name],
            help=f"{setting.description} [{setting_name(manifest.name, name)}]",
            default=None,
            show_default=str(setting.default) if setting.default not in {None, ""} else False,
        )
        for name, setting in manifest.config.items()
        if not setting.secret
    ]
    params += [
        click.Option(["--filter"], is_flag=True, help="Publish only what may concern a brand."),
        click.Option(["--instance-name"], help="Name of this instance."),
        click.Option(["--holder"], help="Lasting, unique name of this process, such as a pod's."),
    ]
    secrets = [setting_name(manifest.name, n) for n, each in manifest.config.items() if each.secret]
    told = f"\n\nSecrets: {', '.join(secrets)}, each also with _FILE." if secrets else ""

    def start(**given: Any) -> None:
        _start(manifest, given)

    return click.Command(
        manifest.name, params=params, callback=start, help=manifest.description + told
    )


def _start(manifest: Manifest, given: dict[str, Any]) -> None:
    filtered, instance, holder = (given.pop(name) for name in ("filter", "instance_name", "holder"))
    try:
        settings = load_settings(os.environ, also=(*OWN_NAMES, own_pattern(manifest.name)))
        options = read_options(manifest, os.environ, given)
    except ConfigurationError as error:
        _refuse(error)

    def job() -> Job:
        client = installed().client(manifest.name)
        return Job(
            connector=manifest.name,
            network=_network(manifest.name),
            connect=lambda tools: client.connect(options, tools),
            instance=instance or settings.connector.instance or manifest.name,
            holder=_holder(holder),
            static_holder=holder is not None,
            filtered=filtered,
            plan=plan_of(manifest),
            budget=budget_of(manifest, options),
            cost_unit="" if manifest.cost is None else manifest.cost.unit,
            app=app_of(manifest, options),
        )

    _run_job(settings, job)


def plan_of(manifest: Manifest) -> Plan:
    """Return how a connector runs, from its manifest."""
    chance = random.Random()  # noqa: S311  spreads reconnects; nothing secret depends on it
    return Plan(
        tables=dict(manifest.back_off),
        jitter=lambda: chance.uniform(1.0, 1.25),
        poll_seconds=manifest.poll_seconds or POLL_SECONDS,
        credential="ok" if any(each.secret for each in manifest.config.values()) else "none",
    )


@run.command()
@click.option("--endpoint", show_default=JETSTREAM, help="Jetstream address.")
@click.option("--collections", show_default=",".join(COLLECTIONS), help="Comma list.")
@click.option("--overlap-events", default=20, show_default=True, help="Heard again on resume.")
@click.option(
    "--deadline-seconds", default=30.0, show_default=True, help="Silence until reconnect."
)
@click.option("--compress", is_flag=True, help="Ask for the server's zstd dictionary.")
@click.option("--everything", is_flag=True, help="Publish all, not only what may concern a brand.")
@click.option(
    "--account", is_flag=True, help="Read the account of KLINGEL_BLUESKY_IDENTIFIER instead."
)
@click.option("--instance", help="Name of this instance; KLINGEL_CONNECTOR__INSTANCE otherwise.")
@click.option("--holder", help="Lasting, unique name of this process, such as a pod's.")
def bluesky(
    endpoint: str | None,
    collections: str | None,
    overlap_events: int,
    deadline_seconds: float,
    *,
    compress: bool,
    everything: bool,
    account: bool,
    instance: str | None,
    holder: str | None,
) -> None:
    """Listen to Bluesky's Jetstream, or with --account to an account's notifications and messages.

    Settings: KLINGEL_BLUESKY_*; an account needs KLINGEL_BLUESKY_IDENTIFIER and
    KLINGEL_BLUESKY_APP_PASSWORD (or …_FILE). The stream, where they are set, asks the account what a
    gap took.
    """
    manifest = installed().manifest("bluesky")
    try:
        settings = load_settings(os.environ, also=(*OWN_NAMES, own_pattern("bluesky")))
        given = {"endpoint": endpoint, "collections": collections}
        options = read_options(manifest, os.environ, given)
        if account:
            connect_account(options, Tools())
    except ConfigurationError as error:
        _refuse(error)

    def connect(tools: Tools) -> BlueskyClient | BlueskyAccount:
        if account:
            return connect_account(options, tools)
        return connect_stream(
            options,
            tools,
            overlap_events=overlap_events,
            deadline_seconds=deadline_seconds,
            compress=compress,
        )

    def job() -> Job:
        return Job(
            connector="bluesky",
            network=_network("bluesky"),
            connect=connect,
            instance=(
                instance
                or settings.connector.instance
                or ("bluesky-account" if account else "bluesky")
            ),
            holder=_holder(holder),
            static_holder=holder is not None,
            filtered=not everything and not account,
            plan=plan_of(manifest) if account else Plan(),
        )

    _run_job(settings, job)


@run.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--network", default="replay", show_default=True, help="Whose deliveries these are.")
@click.option("--source", default="replay", show_default=True, help="Part of generic events' ids.")
@click.option("--rate", type=float, help="Events a second; as fast as they are taken without it.")
@click.option("--recorded-times", is_flag=True, help="Keep intervals; received_at is the recorded.")
@click.option("--shift-to-now", is_flag=True, help="Move times so that the newest is now.")
@click.option("--backfill", is_flag=True, help="Import history: opens no cases.")
@click.option("--exit", "ends", is_flag=True, help="Exit after the last line is acknowledged.")
@click.option("--instance", help="Name of this instance; KLINGEL_CONNECTOR__INSTANCE otherwise.")
@click.option("--holder", help="Lasting, unique name of this process, such as a pod's.")
def replay(
    files: tuple[Path, ...],
    network: str,
    source: str,
    rate: float | None,
    *,
    recorded_times: bool,
    shift_to_now: bool,
    backfill: bool,
    ends: bool,
    instance: str | None,
    holder: str | None,
) -> None:
    """Ring with recorded events: NDJSON files, plain or .gz."""
    settings = _settings()
    mode: Mode = "backfill" if backfill else "live"

    def job() -> Job:
        generic = network in {"replay", "webhook"}
        options = ReplayOptions(
            files=files,
            network="replay" if generic else network,
            context={"source": source} if generic else {},
            rate=rate,
            recorded_times=recorded_times,
            shift_to_now=shift_to_now,
            mode=mode,
        )
        return Job(
            connector="replay",
            network=_network(options.network),
            connect=lambda tools: ReplayClient(options, tools.clock),
            instance=instance or settings.connector.instance or "replay",
            holder=_holder(holder),
            static_holder=holder is not None,
            channel=source if generic else None,
            plan=Plan(exit_when_finished=ends),
        )

    _run_job(settings, job)


@main.command()
@click.option("--port", type=int, help="Port; KLINGEL_HTTP__PORT otherwise.")
@click.option("--host", help="Address to listen on; KLINGEL_HTTP__HOST otherwise.")
def gateway(port: int | None, host: str | None) -> None:
    """Answer signed webhooks and contact forms (KLINGEL_WEBHOOK_*, KLINGEL_FORM_*)."""
    settings = _settings()
    http = settings.http.model_copy(
        update={key: value for key, value in (("port", port), ("host", host)) if value is not None}
    )
    settings = settings.model_copy(update={"http": http})
    try:
        chat = chat_settings(os.environ)
        own = gateway_settings(os.environ, chat=chat is not None)
        network = _network("webhook")
    except ConfigurationError as error:
        _refuse(error)
    _configure_logs("gateway", settings)
    sys.setswitchinterval(_SWITCH_SECONDS)
    _run(
        lambda stop: run_gateway(
            settings, own, network, _holder(None), SystemClock(), stop, chat=chat
        ),
        # More deliveries a core than asyncio's own, and late ones less late: see docs/sizing.md.
        loop=uvloop.new_event_loop,
    )


@main.command()
def media() -> None:
    """Fetch what events refer to, and complete the events (KLINGEL_MEDIA_*).

    A network's credentials are needed here too where its media have to be asked for: give the same
    KLINGEL_<CONNECTOR>_* as to its connector.
    """
    networks = tuple(own_pattern(name) for name in installed().names)
    try:
        settings = load_settings(os.environ, also=(*OWN_NAMES, *networks))
        own = media_settings(os.environ)
        if own.s3 is None:
            BlobStore(settings.blobs.dir).require()
    except ConfigurationError as error:
        _refuse(error)
    _configure_logs("media", settings)
    clock = SystemClock()
    metrics = Metrics("media")
    permits: list[RuntimePermits] = []
    addresses = _addresses(clock, metrics, permits)
    _run(
        lambda stop: run_media(
            settings, own, addresses, _holder(None), clock, stop, permits=permits, metrics=metrics
        )
    )


def _addresses(
    clock: Clock, metrics: Metrics, permits: list[RuntimePermits]
) -> dict[str, MediaAddresses]:
    """Return who knows the present addresses of media: the networks that are configured here.

    Args:
        clock: time.
        metrics: where waits and spending are counted.
        permits: those that they ask are added to it, within each network's limits and budget.
    """
    found: dict[str, MediaAddresses] = {}
    for name in installed().names:
        manifest = installed().manifest(name)
        if not any(key.startswith(setting_name(name, "")) for key in os.environ):
            continue
        try:
            build = getattr(installed().client(name), "addresses", None)
        except ConfigurationError:
            continue
        if build is not None:
            options = read_options(manifest, os.environ, {})
            cost = manifest.cost
            leave = RuntimePermits(
                clock,
                metrics,
                budget=budget_of(manifest, options),
                unit="" if cost is None else cost.unit,
                app=app_of(manifest, options),
            )
            permits.append(leave)
            found[name] = build(options, Tools(clock=clock, permits=leave))
    return found


def _settings() -> Settings:
    try:
        return load_settings(os.environ, also=(*OWN_NAMES, CHAT_NAMES))
    except ConfigurationError as error:
        _refuse(error)


def _network(name: str) -> Network:
    try:
        return installed().network(name)
    except InvalidMessage:
        known = ", ".join(installed().names)
        raise ConfigurationError(f"no network {name!r} is installed; known: {known}") from None


def _holder(given: str | None) -> str:
    return given or f"{socket.gethostname()}-{os.getpid()}"


def _configure_logs(component: str, settings: Settings) -> None:
    configure_logs(component, settings.logs.level)
    try:
        tracing.begin(component)
    except ConfigurationError as error:
        _refuse(error)
    # kafka-python logs every attempt to connect; we say ourselves what we wait for, and how long
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def _run_job(settings: Settings, build: Callable[[], Job]) -> None:
    try:
        job = build()
    except ConfigurationError as error:
        _refuse(error)
    _configure_logs(f"connector-{job.connector}", settings)
    _run(lambda stop: run_connector(settings, job, SystemClock(), stop))


def _run(
    service: Main, loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
) -> None:
    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stop.set)
        await service(stop)

    # thousands of records are alive while in flight: collecting them often costs a quarter
    gc.set_threshold(50_000, 20, 20)
    try:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(until_stopped())
    except ConfigurationError as error:
        _refuse(error)


def _refuse(error: ConfigurationError) -> NoReturn:
    click.echo(f"klingel-connector: {error}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
