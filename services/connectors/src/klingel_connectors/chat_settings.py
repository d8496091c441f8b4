"""Settings of the web chat; the gateway serves it where a chat is named.

KLINGEL_CHAT_CHANNELS           comma list of chats; each is a channel of a brand, network `chat`
KLINGEL_CHAT_BASE               public address of the gateway, such as https://chat.example
KLINGEL_CHAT_ORIGINS            comma list of web origins whose pages may show the chat
KLINGEL_CHAT_KEY                16 to 64 bytes for the tokens of sessions, the same for all
                                gateways; or …_FILE
KLINGEL_CHAT_HOURS              a session can be resumed, 24 by default
KLINGEL_CHAT_PROXIES            proxies in front that append to X-Forwarded-For, 0 by default
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from klingel.errors import ConfigurationError
from klingel_networks.chat.sessions import CHANNEL, session_hours

CHAT_NAMES = "KLINGEL_CHAT_*"
"""What `klingel.settings.load_settings` must leave to us."""

_KNOWN = {
    f"KLINGEL_CHAT_{name}"
    for name in ("CHANNELS", "BASE", "ORIGINS", "KEY", "KEY_FILE", "HOURS", "PROXIES")
}
_ORIGIN = re.compile(r"https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?")
_KEY_BYTES = range(16, 65)
_MOST_PROXIES = 10


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Whose chats are served, and within what bounds.

    Attributes:
        channels: chats.
        base: public origin of the gateway; its page opens the websocket.
        origins: web origins whose pages may show the chat.
        key: of the sessions' tokens.
        hours: a session can be resumed, from its beginning.
        proxies: in front of the gateway, each appending to X-Forwarded-For.
        wait_seconds: a message may wait for Kafka.
        say_rate: messages a second and session.
        say_burst: as many at once.
        frame_rate: frames a second and connection, whatever they hold.
        frame_burst: as many at once.
        session_rate: new sessions a second and address.
        session_burst: as many at once.
        most_open: connections of the process.
        most_of_address: connections of one address.
        hello_seconds: within which a connection says who it is.
        heartbeat_seconds: between two pings.
    """

    channels: tuple[str, ...]
    base: str
    origins: tuple[str, ...]
    key: bytes
    hours: int = 24
    proxies: int = 0
    wait_seconds: float = 10.0
    say_rate: float = 1.0
    say_burst: float = 10.0
    frame_rate: float = 20.0
    frame_burst: float = 100.0
    session_rate: float = 0.2
    session_burst: float = 12.0
    most_open: int = 10_000
    most_of_address: int = 50
    hello_seconds: float = 10.0
    heartbeat_seconds: float = 20.0


def chat_settings(environ: Mapping[str, str]) -> ChatSettings | None:
    """Read the chat's settings; None where no chat is named.

    Raises:
        ConfigurationError: something is missing or malformed; the sentence names the setting, never
            its value.
    """
    for name in sorted(environ):
        if name.startswith("KLINGEL_CHAT_") and name not in _KNOWN:
            raise ConfigurationError(f"{name}: unknown setting")
    channels = _list(environ, "KLINGEL_CHAT_CHANNELS")
    if not channels:
        return None
    for channel in channels:
        if not CHANNEL.fullmatch(channel):
            raise ConfigurationError(
                "KLINGEL_CHAT_CHANNELS: a chat is letters, digits, dots, dashes or underscores"
            )
    base = environ.get("KLINGEL_CHAT_BASE", "").strip().rstrip("/").lower()
    if not _ORIGIN.fullmatch(base):
        raise ConfigurationError(
            "KLINGEL_CHAT_BASE: the gateway's public scheme and host, such as https://chat.example"
        )
    origins = tuple(each.lower() for each in _list(environ, "KLINGEL_CHAT_ORIGINS"))
    if not origins or not all(_ORIGIN.fullmatch(each) for each in origins):
        raise ConfigurationError(
            "KLINGEL_CHAT_ORIGINS: the web origins that may show the chat, each a scheme and a "
            "host, such as https://www.example"
        )
    return ChatSettings(
        channels=channels,
        base=base,
        origins=origins,
        key=_key(environ),
        hours=session_hours(environ),
        proxies=_whole(environ, "KLINGEL_CHAT_PROXIES", 0, 0, _MOST_PROXIES),
    )


def _key(environ: Mapping[str, str]) -> bytes:
    path = environ.get("KLINGEL_CHAT_KEY_FILE")
    if path is None:
        found = environ.get("KLINGEL_CHAT_KEY", "")
    else:
        try:
            found = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError("KLINGEL_CHAT_KEY_FILE: the file cannot be read") from None
    key = found.strip().encode()
    if len(key) not in _KEY_BYTES:
        raise ConfigurationError(
            "KLINGEL_CHAT_KEY: the chat needs a key of 16 to 64 bytes for the tokens of its sessions"
        )
    return key


def _list(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in environ.get(name, "").split(",") if part.strip())


def _whole(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environ.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise ConfigurationError(f"{name}: must be a whole number from {least} to {most}")
    return int(text)
