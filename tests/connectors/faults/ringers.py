"""The networks that ring by themselves, as they do it: what they send, and how they sign it.

Each says the same: `c<conversation>n<number>e` in the text of an object of its own, whose id follows
from both, so that a later delivery of the same is the same object.
"""

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

from klingel_connectors.hooks import Hook
from klingel_connectors.intake import Intake
from klingel_networks.registry import installed
from klingel_simulator.x_activity import event as activity
from klingel_simulator.x_server import snowflake

SECRET: Final = b"the secret of the tests"
TOKEN: Final = b"our token of the tests"
HASH_KEY: Final = "a key of the tests, long enough"
OWN: Final = "12345654332"


class Said(NamedTuple):
    """One thing that a customer says."""

    conversation: int
    number: int
    at: datetime

    @property
    def text(self) -> str:
        """Return the words by which it is found again."""
        return f"c{self.conversation}n{self.number}e"

    @property
    def milliseconds(self) -> int:
        """Return when it was said."""
        return int(self.at.timestamp() * 1000)


class Ringer(NamedTuple):
    """A network that rings.

    Attributes:
        network: its name.
        shown: in the table.
        family: of its endpoint.
        body: what it sends of one thing.
        missed: why what was not delivered is not read here; empty where it is.
        account: last part of the address that it rings at; empty for none.
    """

    network: str
    shown: str
    family: str
    body: Callable[[Said], bytes]
    missed: str = ""
    account: str = ""

    @property
    def address(self) -> str:
        """Return where it rings."""
        return f"{self.family}/{self.account}" if self.account else self.family

    def headers(self, body: bytes, secret: bytes = SECRET) -> dict[str, str]:
        """Return the proof that a delivery carries."""
        digest = hmac.new(secret, body, sha256)
        return {
            "meta": {"X-Hub-Signature-256": f"sha256={digest.hexdigest()}"},
            "x": {
                "x-twitter-webhooks-signature-oauth2": "sha256="
                + base64.b64encode(digest.digest()).decode()
            },
            "telegram": {"X-Telegram-Bot-Api-Secret-Token": secret.decode()},
        }[self.family]

    def hook(self, intake: Callable[[str], Intake]) -> Hook:
        """Return the endpoint of its family."""
        family = installed().family(self.family)
        intakes: Mapping[str, Intake] = {name: intake(name) for name in family.networks}
        return Hook(family, (SECRET,), TOKEN, intakes, HASH_KEY)


def _entries(of: str, entry: dict[str, Any]) -> bytes:
    return json.dumps({"object": of, "entry": [entry]}).encode()


def _comment(said: Said) -> bytes:
    post = f"{OWN}_{said.conversation}"
    value = {
        "from": {"id": f"98765{said.conversation}", "name": "Erika"},
        "message": said.text,
        "post_id": post,
        "parent_id": post,
        "comment_id": f"{said.conversation}_{said.number}",
        "created_time": said.milliseconds // 1000,
        "item": "comment",
        "verb": "add",
    }
    change = {"field": "feed", "value": value}
    return _entries("page", {"id": OWN, "time": said.milliseconds // 1000, "changes": [change]})


def _message(of: str) -> Callable[[Said], bytes]:
    def body(said: Said) -> bytes:
        item = {
            "sender": {"id": f"98765{said.conversation}"},
            "recipient": {"id": OWN},
            "timestamp": said.milliseconds,
            "message": {"mid": f"m_{said.conversation}x{said.number}", "text": said.text},
        }
        return _entries(of, {"id": OWN, "time": said.milliseconds, "messaging": [item]})

    return body


def _cloud(said: Said) -> bytes:
    phone = f"4917112345{said.conversation}"
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": OWN},
        "contacts": [{"profile": {"name": "Erika"}, "wa_id": phone}],
        "messages": [
            {
                "from": phone,
                "id": f"wamid.{said.conversation}x{said.number}",
                "timestamp": str(said.milliseconds // 1000),
                "text": {"body": said.text},
                "type": "text",
            }
        ],
    }
    change = {"field": "messages", "value": value}
    return _entries("whatsapp_business_account", {"id": "10229", "changes": [change]})


def _mention(said: Said) -> bytes:
    post_id = snowflake(said.at, said.number)
    customer = f"222222222222222222{said.conversation}"
    post = {"id": post_id, "text": f"nordlicht {said.text}", "author_id": customer}
    return activity("post.mention.create", post, user_id=OWN, uuid=said.number)


def _update(said: Said) -> bytes:
    person = 100 + said.conversation
    message = {
        "message_id": said.number,
        "date": said.milliseconds // 1000,
        "chat": {"id": person, "type": "private"},
        "from": {"id": person, "is_bot": False, "first_name": "Erika"},
        "text": said.text,
    }
    return json.dumps({"update_id": 7_000_000 + said.number, "message": message}).encode()


_SAME: Final = (
    "the client is Facebook's with a plan of its own (`tests/networks/test_meta_client.py`)"
)
_NONE: Final = "WhatsApp cannot be asked for what it did not deliver"
RINGERS: Final = (
    Ringer("facebook", "Facebook", "meta", _comment),
    Ringer("instagram", "Instagram", "meta", _message("instagram"), _SAME),
    Ringer("messenger", "Messenger", "meta", _message("page"), _SAME),
    Ringer("whatsapp", "WhatsApp", "meta", _cloud, _NONE),
    Ringer("x", "X, account activity", "x", _mention),
    Ringer("telegram", "Telegram, webhook", "telegram", _update, account="42"),
)
