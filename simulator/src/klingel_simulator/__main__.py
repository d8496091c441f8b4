"""The ``klingel-simulator`` command."""

import argparse
import asyncio
import gzip
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from klingel_simulator import networks
from klingel_simulator.brand import Brand, to_brand
from klingel_simulator.generic import GenericRenderer
from klingel_simulator.jetstream_server import Faults, JetstreamServer, Limits
from klingel_simulator.jetstream_source import JetstreamSource
from klingel_simulator.receiver import Receiver, mail_server
from klingel_simulator.traffic import BLUESKY, GENERIC, Dialect, Mix, Traffic
from klingel_simulator.truth import Sent, TruthFile
from klingel_simulator.webhook import Posting, WebhookSender, to_key

_COUNTS = frozenset({"people", "period"})
_FRACTIONS = [field.name for field in fields(Mix) if field.name not in _COUNTS]


def _say(stream: IO[str], **event: Any) -> None:
    stream.write(json.dumps(event, separators=(",", ":")) + "\n")
    stream.flush()


def _now_us() -> int:
    return time.time_ns() // 1_000


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(
        prog="klingel-simulator", description="Local stand-ins for networks, with seeded traffic."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = _shared_options()
    _add_jetstream(commands.add_parser("jetstream", parents=[shared], help="serve Jetstream"))
    _add_webhook(commands.add_parser("webhook", parents=[shared], help="send signed webhooks"))
    _add_ndjson(commands.add_parser("ndjson", parents=[shared], help="write generic events"))
    networks.add_options(
        commands.add_parser("networks", parents=[shared], help="X, WhatsApp, Facebook and mail")
    )
    _add_receiver(commands.add_parser("receiver", help="receive what the notifier tells"))
    return parser


def _add_receiver(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6080, help="of chats and webhooks")
    parser.add_argument("--smtp-port", type=int, default=0, help="of mail; 0: no mail")


def _shared_options() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--seed", type=int, default=1, help="same seed, same traffic (default 1)")
    shared.add_argument("--events", type=int, default=10_000, help="how many; 0: without end")
    shared.add_argument("--rate", type=float, default=100.0, help="events a second; 0: full speed")
    shared.add_argument("--truth", type=Path, help="write the list of what was sent (NDJSON)")
    shared.add_argument("--brand", type=Path, help="brand description (JSON), else the example")
    mix = shared.add_argument_group("mix (shares between 0 and 1)")
    for name in _FRACTIONS:
        default = getattr(Mix(), name)
        mix.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=default, help=f"default {default}"
        )
    mix.add_argument("--people", type=int, default=Mix().people, help="size of the public")
    mix.add_argument(
        "--period", type=int, default=Mix().period, help="objects from crisis to crisis, --events 0"
    )
    return shared


def _add_jetstream(parser: argparse.ArgumentParser) -> None:
    limits, faults = Limits(), Faults()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6008, help="0: any free port, told on stderr")
    parser.add_argument(
        "--wait-for-subscriber", action="store_true", help="begin when somebody has subscribed"
    )
    parser.add_argument("--look-back-seconds", type=float, default=limits.look_back_seconds)
    parser.add_argument("--log-events", type=int, default=limits.max_events, help="log size")
    parser.add_argument(
        "--refuse-old-cursor",
        action="store_true",
        help="refuse a too old cursor on both paths, times included (CursorTooOld)",
    )
    parser.add_argument("--fault-seed", type=int, default=0)
    for field in fields(Faults):
        default = getattr(faults, field.name)
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(default), default=default
        )


def _add_webhook(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, help="where to post")
    parser.add_argument("--secret-env", required=True, help="variable that holds whsec_<base64>")
    parser.add_argument("--source", required=True, help="name of the authenticated source")
    parser.add_argument("--network", default="community", help="network label in the events")
    parser.add_argument("--batch", type=int, default=20, help="events a delivery at most")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--redeliver", type=float, default=0.01, help="share sent twice")


def _add_ndjson(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="file (.gz: compressed), - for stdout")
    parser.add_argument("--source", default="simulator", help="source name of the replay")
    parser.add_argument("--network", default="community", help="network label in the events")
    parser.add_argument("--start", help="time of the first event (RFC 3339), else so as to end now")


def _to_brand(options: argparse.Namespace) -> Brand:
    if options.brand is None:
        return Brand()
    description = json.loads(options.brand.read_text(encoding="utf-8"))
    if not isinstance(description, dict):
        raise ValueError("brand description: it must be a JSON object")  # noqa: TRY004 - of options
    return to_brand(description)


def _to_mix(options: argparse.Namespace) -> Mix:
    return Mix(**{name: getattr(options, name) for name in (*_COUNTS, *_FRACTIONS)})


def _to_traffic(options: argparse.Namespace, dialect: Dialect) -> Traffic:
    """Build the traffic; raises ``ValueError`` with one sentence for impossible options."""
    brand = _to_brand(options)
    if options.events < 0 or options.rate < 0:
        raise ValueError("--events and --rate must not be negative")
    mix = _to_mix(options)
    account = brand.handle if dialect is BLUESKY else brand.account
    return Traffic(
        options.seed, count=options.events, dialect=dialect, brand=brand, account=account, mix=mix
    )


async def _until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Run until the work ends (True) or SIGTERM or SIGINT asks to stop (False)."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    task = asyncio.ensure_future(work)
    waiter = asyncio.ensure_future(stopped.wait())
    await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


async def _serve_jetstream(options: argparse.Namespace) -> None:
    traffic = _to_traffic(options, BLUESKY)
    server = JetstreamServer(
        now_us=_now_us,
        seed=options.fault_seed,
        limits=Limits(
            max_events=options.log_events,
            look_back_seconds=options.look_back_seconds,
            refuse_old_cursor=options.refuse_old_cursor,
        ),
        faults=Faults(**{field.name: getattr(options, field.name) for field in fields(Faults)}),
    )
    runner = web.AppRunner(server.app(), shutdown_timeout=2.0)
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port)
    await site.start()
    _say(sys.stderr, event="listening", host=options.host, port=runner.addresses[0][1])
    try:
        with TruthFile(options.truth) as truth:
            source = JetstreamSource(traffic, server, truth, now_us=_now_us)

            async def ring() -> None:
                if options.wait_for_subscriber:
                    await server.first_subscriber.wait()
                await source.run(options.rate)
                server.finished = True
                _say(sys.stdout, event="source_finished", sent=source.sent)
                await asyncio.Event().wait()

            await _until_stopped(ring())
    finally:
        await runner.cleanup()


async def _send_webhooks(options: argparse.Namespace) -> None:
    traffic = _to_traffic(options, GENERIC)
    secret = os.environ.get(options.secret_env, "")
    posting = Posting(
        url=options.url,
        key=to_key(secret),
        source=options.source,
        batch=options.batch,
        connections=options.connections,
        redeliver=options.redeliver,
    )
    renderer = GenericRenderer(options.seed, options.network)
    with TruthFile(options.truth) as truth:
        sender = WebhookSender(traffic, renderer, truth, posting, now_us=_now_us)
        finished = await _until_stopped(sender.run(options.rate))
    tally = sender.tally
    _say(
        sys.stdout,
        event="source_finished" if finished else "source_stopped",
        sent=tally.sent,
        refused=tally.refused,
        unanswered=tally.unanswered,
        deliveries=tally.deliveries,
        attempts=tally.attempts,
        redelivered=tally.redelivered,
    )


async def _write_ndjson(options: argparse.Namespace) -> None:
    traffic = _to_traffic(options, GENERIC)
    if not options.events:
        raise ValueError("ndjson needs --events")
    step_us = int(1_000_000 / options.rate) if options.rate else 1_000
    start_us = _now_us() - step_us * options.events
    if options.start:
        start_us = int(datetime.fromisoformat(options.start).timestamp() * 1_000_000)
    renderer = GenericRenderer(options.seed, options.network)
    with ExitStack() as stack:
        truth = stack.enter_context(TruthFile(options.truth))
        out = stack.enter_context(_open_out(options.out))
        for index, said in enumerate(traffic):
            now_us = start_us + index * step_us
            out.write(renderer.to_event(said, now_us) + b"\n")
            truth.record(
                Sent(
                    network="replay",
                    object_id=f"replay:{options.source}:{renderer.native_id(said.key)}",
                    operation=said.operation,
                    revision=said.revision,
                    heard=said.heard,
                    sent_us=now_us,
                )
            )
    _say(sys.stderr, event="source_finished", sent=options.events)


def _open_out(name: str) -> Any:
    if name == "-":
        return open(sys.stdout.fileno(), "wb", closefd=False)
    if name.endswith(".gz"):
        return gzip.open(name, "wb", compresslevel=5)
    return Path(name).open("wb")


async def _ring_networks(options: argparse.Namespace) -> None:
    await networks.run(options, _to_mix(options), _to_brand(options), _until_stopped)


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _receive(options: argparse.Namespace) -> None:
    receiver = Receiver()
    runner = web.AppRunner(receiver.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port).start()
    mail = None
    if options.smtp_port:
        mail = await mail_server(receiver, options.host, options.smtp_port)
    try:
        await _until_stopped(_for_ever())
    finally:
        if mail is not None:
            mail.close()
            await mail.wait_closed()
        await runner.cleanup()


_COMMANDS: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, None]]] = {
    "jetstream": _serve_jetstream,
    "webhook": _send_webhooks,
    "ndjson": _write_ndjson,
    "networks": _ring_networks,
    "receiver": _receive,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 for bad options, with one sentence on stderr."""
    options = build_parser().parse_args(arguments)
    try:
        asyncio.run(_COMMANDS[options.command](options))
    except BrokenPipeError:
        return 0
    except (ValueError, OSError) as error:
        sys.stderr.write(f"klingel-simulator: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
