"""Seeded traffic through the stand-in, the client and the mapping: heard is what must be heard."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from klingel.config.brand import Account, ListeningRule
from klingel.config.loader import load_brand
from klingel_networks.arrival import Arrival, Away, Tools
from klingel_networks.mapped import raw_event
from klingel_networks.x import NETWORK
from klingel_networks.x.client import XClient, XOptions
from klingel_simulator.traffic import Traffic
from klingel_simulator.truth import TruthFile
from klingel_simulator.x_server import TOKEN
from klingel_simulator.x_source import BRAND_ID, HANDLE, X_DIALECT, serve

SEED, COUNT = 20260704, 600
FILE = Path(__file__).resolve().parents[2] / "brands" / "nordlicht.yaml"
BRAND = load_brand(FILE).brand.model_copy(
    update={
        "accounts": (Account(network="x", id=BRAND_ID, handle=HANDLE),),
        "listening": (ListeningRule(id="name", query="nordlicht OR nordbox"),),
    }
)


async def test_every_object_that_must_be_heard_arrives_with_the_identity_that_the_source_knows(
    tmp_path,
):
    """Posts, replies, quotes, reposts and edits; the truth file counts independently."""
    traffic = Traffic(SEED, count=COUNT, dialect=X_DIALECT, account=HANDLE)
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    heard: dict[tuple[str, int], str] = {}
    with TruthFile(tmp_path / "truth.jsonl") as truth:
        serving = asyncio.create_task(
            serve(
                traffic,
                truth,
                host="127.0.0.1",
                port=0,
                rate=0,
                now=lambda: datetime.now(UTC),
                on_listening=listening.set_result,
            )
        )
        options = XOptions(
            SecretStr(TOKEN), f"http://127.0.0.1:{await listening}", deadline_seconds=1.0
        )
        client = XClient(options, Tools(brands=lambda: [BRAND]))
        # The source falls silent when all is said, and the client's deadline ends the reading.
        with contextlib.suppress(Away):
            async for each in client.arrivals(None):
                if not isinstance(each, Arrival) or each.delivery is None:
                    continue
                (piece,) = NETWORK.explode(each.delivery)
                identity = NETWORK.identify(piece.native, piece.context)
                draft = NETWORK.to_social_event(raw_event("x", piece, identity))
                heard[identity.object_id, identity.revision] = draft.kind
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    told = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    wanted = {(each["object_id"], each["revision"]) for each in told if each["heard"]}
    assert len(told) > COUNT / 2, f"seed {SEED}"
    assert wanted
    assert wanted <= set(heard), f"seed {SEED}"
    assert {"post", "reply", "repost"} <= set(heard.values())
    assert any(revision for _, revision in heard)
