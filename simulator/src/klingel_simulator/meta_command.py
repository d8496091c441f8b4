"""Lets Meta ring: ``python -m klingel_simulator.meta_command --url … --secret-env META_SECRET``.

Seeded talk becomes posts and comments of a Facebook page and messages of a WhatsApp number; with
``--variants`` everything that the family's webhooks can tell comes first, once each.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from klingel_simulator.meta_sender import MetaSender, Posting
from klingel_simulator.meta_traffic import BATCH_MOST, Update, to_comment, variants
from klingel_simulator.traffic import GENERIC, Traffic
from klingel_simulator.truth import TruthFile
from klingel_simulator.whatsapp_traffic import Customer, to_message
from klingel_simulator.whatsapp_traffic import variants as whatsapp_variants

_TOLD = frozenset({"post", "reply"})


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(
        prog="klingel_simulator.meta_command", description="Send Meta's webhooks, seeded."
    )
    parser.add_argument("--url", required=True, help="such as http://127.0.0.1:8080/hook/meta")
    parser.add_argument("--secret-env", required=True, help="variable that holds the app secret")
    parser.add_argument("--key-env", default="", help="variable with the key of WhatsApp's hashes")
    parser.add_argument(
        "--networks", default="facebook,whatsapp", help="facebook, whatsapp or both"
    )
    parser.add_argument("--page", default="12345654332", help="id of the page")
    parser.add_argument("--instagram", default="17841452691600098", help="id of the account")
    parser.add_argument("--number", default="106540352242922", help="id of the phone number")
    parser.add_argument("--account", default="102290129340398", help="id of the business account")
    parser.add_argument("--variants", action="store_true", help="everything once, first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=1_000, help="of the talk")
    parser.add_argument("--rate", type=float, default=50.0, help="updates a second; 0: full speed")
    parser.add_argument(
        "--batch", type=int, default=1, help=f"updates a delivery, 1 to {BATCH_MOST}"
    )
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--redeliver", type=float, default=0.01, help="share sent twice")
    parser.add_argument("--truth", type=Path, help="write the list of what was sent (NDJSON)")
    return parser


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def updates_of(options: argparse.Namespace, key: bytes) -> Iterator[Update]:
    """Yield what is to be sent; the times are those of the moment at which it is asked for."""
    networks = set(options.networks.split(","))
    if options.variants:
        now = _now_ms()
        yield from variants(options.page, options.instagram, "987654321432", now)
        customer = Customer("491711234567", "DE.13491208655302741918", "@erika")
        yield from whatsapp_variants(options.account, options.number, customer, now, key)
    for said in Traffic(options.seed, count=options.events, dialect=GENERIC):
        if said.kind not in _TOLD:
            continue
        by_page = "facebook" in networks and ("whatsapp" not in networks or said.key % 2)
        told: Update | None
        if by_page:
            told = to_comment(said, options.page, _now_ms())
        else:
            told = to_message(said, options.account, options.number, _now_ms(), key)
        if told is not None:
            yield told


async def _send(options: argparse.Namespace, secret: bytes, key: bytes) -> MetaSender:
    posting = Posting(
        options.url,
        secret,
        batch=options.batch,
        connections=options.connections,
        redeliver=options.redeliver,
    )
    with TruthFile(options.truth) as truth:
        sender = MetaSender(posting, truth, now_us=lambda: _now_ms() * 1_000, seed=options.seed)
        await sender.run(updates_of(options, key), options.rate)
    return sender


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 2 for bad options, with one sentence."""
    options = build_parser().parse_args(arguments)
    secret = os.environ.get(options.secret_env, "").encode()
    key = os.environ.get(options.key_env, "").encode() if options.key_env else b""
    problem = ""
    if not secret:
        problem = f"{options.secret_env} is not set: deliveries are signed with the app secret"
    elif not 1 <= options.batch <= BATCH_MOST:
        problem = f"--batch must lie between 1 and {BATCH_MOST}"
    elif not set(options.networks.split(",")) <= {"facebook", "whatsapp"}:
        problem = "--networks: facebook, whatsapp or both"
    if problem:
        sys.stderr.write(problem + "\n")
        return 2
    tally = asyncio.run(_send(options, secret, key)).tally
    told = {
        "event": "source_finished",
        "sent": tally.sent,
        "refused": tally.refused,
        "deliveries": tally.deliveries,
        "attempts": tally.attempts,
        "redelivered": tally.redelivered,
    }
    sys.stdout.write(json.dumps(told, separators=(",", ":")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
