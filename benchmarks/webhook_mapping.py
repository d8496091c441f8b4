"""What the Meta family's mappings cost: microseconds of processor time an object.

    python benchmarks/webhook_mapping.py [--runs 5] [--seconds 0.4] [--json]

An object is exploded, identified and drafted, as gateway and `understand` do it; the raw event
between the two is not counted. Deliveries are the usual ones: one object each, and one of 1,000.
The gate holds for the median of the runs of each; exit code 1 above it.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from klingel_networks.contract import Delivery, NativeObject
from klingel_networks.mapped import raw_event
from klingel_networks.meta import FAMILY
from klingel_networks.registry import installed

GATE_US = 20.0
PAGE, FAN, OWN, PHONE = "12345654332", "987654321432", "106540352242922", "491711234567"
SAID = "Seit gestern kein Netz in Kiel, Kundennummer 4711. Wann geht es wieder? 😡"
MS = 1_783_175_888_130


def _body(of: str, *entries: Any) -> bytes:
    return msgspec.json.encode({"object": of, "entry": list(entries)})


def _message(at: int) -> dict[str, Any]:
    mid = f"m_qN3cBmXlWfK1xY5tVv0aBHTzN1cJ6rN4c9sFzPpZb7zqv9c0Ew8VxqJr5s8Q0a{at}"
    return {
        "sender": {"id": FAN},
        "recipient": {"id": PAGE},
        "timestamp": MS + at,
        "message": {"mid": mid, "text": SAID},
    }


def _comment(at: int) -> dict[str, Any]:
    value = {
        "from": {"id": FAN, "name": "Erika Mustermann"},
        "post": {"status_type": "mobile_status_update", "is_published": True, "id": f"{PAGE}_1"},
        "message": SAID,
        "post_id": f"{PAGE}_901097836652708",
        "comment_id": f"901097836652708_{at}",
        "created_time": MS // 1000,
        "item": "comment",
        "parent_id": f"{PAGE}_901097836652708",
        "verb": "add",
    }
    return {"id": PAGE, "time": MS // 1000, "changes": [{"field": "feed", "value": value}]}


def _whatsapp(at: int) -> dict[str, Any]:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": OWN},
        "contacts": [
            {"profile": {"name": "Erika"}, "wa_id": PHONE, "user_id": "DE.13491208655302741918"}
        ],
        "messages": [
            {
                "from": PHONE,
                "from_user_id": "DE.13491208655302741918",
                "id": f"wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQUFERjg0NDEzNDdFODU3MUMxMAA{at}",
                "timestamp": str(MS // 1000),
                "text": {"body": SAID},
                "type": "text",
            }
        ],
    }
    return {"id": "10229", "changes": [{"field": "messages", "value": value}]}


def _entry(at: int) -> dict[str, Any]:
    return {"id": PAGE, "time": MS, "messaging": [_message(at)]}


DELIVERIES: dict[str, tuple[bytes, int]] = {
    "messenger text": (_body("page", _entry(1)), 1),
    "instagram text": (_body("instagram", _entry(1)), 1),
    "facebook comment": (_body("page", _comment(1)), 1),
    "whatsapp text": (_body("whatsapp_business_account", _whatsapp(1)), 1),
    "messenger batch": (_body("page", *map(_entry, range(1000))), 1000),
    "whatsapp batch": (_body("whatsapp_business_account", *map(_whatsapp, range(1000))), 1000),
}


def step(body: bytes, objects: int) -> Callable[[], None]:
    """Return what is measured: everything that one delivery's objects go through."""
    context = {"hash_key": "0123456789abcdef0123456789abcdef"}
    networks = {name: installed().network(name) for name in FAMILY.networks}
    raws = []
    for name, piece in FAMILY.explode(Delivery(body, context)):
        assert isinstance(piece, NativeObject)
        identity = networks[name].identify(piece.native, piece.context)
        raws.append((networks[name].to_social_event, raw_event(name, piece, identity)))
    assert len(raws) == objects

    def measured() -> None:
        for name, piece in FAMILY.explode(Delivery(body, context)):
            networks[name].identify(piece.native, piece.context)
        for to_social_event, raw in raws:
            to_social_event(raw)

    return measured


def microseconds(measured: Callable[[], None], objects: int, seconds: float) -> float:
    """Return the processor time of one object, over at least so many seconds."""
    rounds, spent = 0, 0.0
    measured()
    while spent < seconds:
        start = time.process_time()
        for _ in range(max(1, 200 // objects)):
            measured()
            rounds += 1
        spent += time.process_time() - start
    return spent / rounds / objects * 1e6


def main() -> int:
    """Measure and tell; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {}
    for name, (body, objects) in DELIVERIES.items():
        measured = step(body, objects)
        runs = [microseconds(measured, objects, given.seconds) for _ in range(given.runs)]
        found[name] = round(statistics.median(runs), 1)
    if given.json:
        print(json.dumps({"gate_us": GATE_US, "us_per_object": found}))
    else:
        for name, value in found.items():
            print(f"{name:20} {value:6.1f} µs an object")
    return 0 if max(found.values()) <= GATE_US else 1


if __name__ == "__main__":
    sys.exit(main())
