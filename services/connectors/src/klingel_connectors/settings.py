"""Settings of the gateway and the connectors that are not common to all services.

KLINGEL_WEBHOOK_SOURCES         comma list of sources that may post signed deliveries
KLINGEL_WEBHOOK_SECRET_<SOURCE> whsec_… secrets, separated by blanks while one is rotated;
                                or …_FILE with a path. <SOURCE>: upper case, `-` and `.` as `_`
KLINGEL_WEBHOOK_LIMIT_BYTES     largest body, 1 MiB by default
KLINGEL_WEBHOOK_WAIT_SECONDS    how long a delivery may wait for Kafka before 503
KLINGEL_HOOKS                   comma list of what rings in its network's own way: `meta`, `x`, or
                                `telegram/<channel>` where each account has secrets of its own
KLINGEL_HOOK_SECRET_<HOOK>      its secrets, separated by blanks while one is rotated: Meta's app
                                secret, X' consumer secret, Telegram's secret token, a key for
                                WebSub; or …_FILE. <HOOK>: as <SOURCE> above, `/` as `_`
KLINGEL_HOOK_VERIFY_<HOOK>      the verify token that Meta's dashboard was given; or …_FILE
KLINGEL_WHATSAPP_HASH_KEY       for hook `meta`: key of 16 to 64 bytes under which phone numbers and
                                the ids that hold them become ids; it must never change; or …_FILE
KLINGEL_HOOK_BASE               public address of the gateway, for answers that name one
KLINGEL_MEDIA_MOST_BYTES        largest medium, 25 MiB by default
KLINGEL_MEDIA_SECONDS           a fetch may take, redirects included, 60 by default
KLINGEL_MEDIA_AT_ONCE           media fetched at the same time, 8 by default
KLINGEL_MEDIA_S3_ENDPOINT       S3-compatible store, such as https://s3.example; the folder
                                KLINGEL_BLOBS__DIR without it
KLINGEL_MEDIA_S3_BUCKET         its bucket
KLINGEL_MEDIA_S3_REGION         its region, us-east-1 by default
KLINGEL_MEDIA_S3_ACCESS_KEY     who writes; or …_FILE
KLINGEL_MEDIA_S3_SECRET_KEY     their secret; or …_FILE
KLINGEL_FORM_SOURCES            comma list of contact forms
KLINGEL_FORM_ORIGINS            comma list of web origins that may post them
KLINGEL_FORM_KEY                key of the address hash, at least 16 bytes; or …_FILE
KLINGEL_FORM_RATE               submissions a second and form, 5 by default
KLINGEL_FORM_LIMIT_BYTES        largest submission, 128 KiB by default
KLINGEL_CHAT_CHANNELS           comma list of web chats; each is a channel of a brand, network `chat`
KLINGEL_CHAT_BASE               public address of the gateway, such as https://chat.example
KLINGEL_CHAT_ORIGINS            comma list of web origins whose pages may show the chat
KLINGEL_CHAT_KEY                16 to 64 bytes for the tokens of sessions, the same for all
                                gateways; or …_FILE
KLINGEL_CHAT_HOURS              a session can be resumed, 24 by default
KLINGEL_CHAT_PROXIES            proxies in front that append to X-Forwarded-For, 0 by default
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from klingel.errors import ConfigurationError
from klingel_networks.object_store import ADDRESS, S3Settings, s3_settings, secret_setting

OWN_NAMES = (
    "KLINGEL_WEBHOOK_*",
    "KLINGEL_FORM_*",
    "KLINGEL_HOOK_*",
    "KLINGEL_HOOKS",
    "KLINGEL_MEDIA_*",
    "KLINGEL_WHATSAPP_HASH_KEY*",
)
"""What `klingel.settings.load_settings` must leave to us."""

HASH_KEY = "KLINGEL_WHATSAPP_HASH_KEY"
SECRET_PREFIX = "whsec_"  # noqa: S105  the standard's prefix, not a secret
_SECRET_BYTES = range(16, 65)
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
_FORM_KEY_BYTES = range(16, 65)
_HOOK = re.compile(r"[a-z][a-z0-9_]{0,39}(/[A-Za-z0-9][A-Za-z0-9._-]{0,119})?")
_HOOK_KEY_BYTES = range(8, 257)
_OURS = ("KLINGEL_WEBHOOK_", "KLINGEL_FORM_", "KLINGEL_HOOK_")
_PLAIN = {
    "KLINGEL_HOOKS",
    "KLINGEL_HOOK_BASE",
    "KLINGEL_WEBHOOK_SOURCES",
    "KLINGEL_WEBHOOK_LIMIT_BYTES",
    "KLINGEL_WEBHOOK_WAIT_SECONDS",
    "KLINGEL_FORM_SOURCES",
    "KLINGEL_FORM_ORIGINS",
    "KLINGEL_FORM_KEY",
    "KLINGEL_FORM_KEY_FILE",
    "KLINGEL_FORM_RATE",
    "KLINGEL_FORM_LIMIT_BYTES",
}


@dataclass(frozen=True, slots=True)
class HookSettings:
    """One endpoint that a network rings at in its own way.

    Attributes:
        family: what rings.
        channel: account with secrets of its own; empty for all.
        keys: secrets, newest first; all are accepted.
        verify_token: of Meta's handshake; empty refuses it.
    """

    family: str
    channel: str
    keys: tuple[bytes, ...]
    verify_token: bytes = b""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Who may ring at the gateway.

    Attributes:
        webhooks: source to its secrets' keys, newest first; all are accepted.
        forms: contact forms.
        origins: web origins that may post forms.
        form_key: key of the address hash.
        limit_bytes: largest signed delivery.
        form_limit_bytes: largest submission.
        form_rate: submissions a second and form.
        wait_seconds: how long a delivery may wait for Kafka.
        hooks: the networks' own endpoints, by `<family>` or `<family>/<channel>`.
        hook_base: public address of the gateway.
        hash_key: under which phone numbers and the ids that hold them become ids.
    """

    webhooks: Mapping[str, tuple[bytes, ...]]
    forms: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    form_key: bytes = b""
    limit_bytes: int = 1 << 20
    form_limit_bytes: int = 128 << 10
    form_rate: float = 5.0
    wait_seconds: float = 10.0
    hooks: Mapping[str, HookSettings] = field(default_factory=dict)
    hook_base: str = ""
    hash_key: str = ""


def gateway_settings(environ: Mapping[str, str], *, chat: bool = False) -> GatewaySettings:
    """Read the gateway's settings; with a `chat` it may have nothing else to listen to.

    Raises:
        ConfigurationError: a source without a secret, a secret that is none, an unknown name, no
            source at all. The sentence names the setting, never its value.
    """
    sources = _names(environ, "KLINGEL_WEBHOOK_SOURCES")
    forms = _names(environ, "KLINGEL_FORM_SOURCES")
    hooks = _hook_names(environ)
    if not sources and not forms and not hooks and not chat:
        raise ConfigurationError(
            "KLINGEL_WEBHOOK_SOURCES: the gateway has nobody to listen to; name a source there, "
            "a network's endpoint in KLINGEL_HOOKS, or a form in KLINGEL_FORM_SOURCES"
        )
    _check_known(environ, sources, hooks)
    origins = tuple(_list(environ, "KLINGEL_FORM_ORIGINS"))
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigurationError(
                "KLINGEL_FORM_ORIGINS: an origin is a scheme and a host, such as https://www.example"
            )
    if forms and not origins:
        raise ConfigurationError(
            "KLINGEL_FORM_ORIGINS: a form needs the web origins that may post it"
        )
    return GatewaySettings(
        webhooks={source: _secrets(environ, source) for source in sources},
        forms=forms,
        origins=origins,
        form_key=_form_key(environ) if forms else b"",
        limit_bytes=int(_number(environ, "KLINGEL_WEBHOOK_LIMIT_BYTES", 1 << 20, 1024, 64 << 20)),
        form_limit_bytes=int(
            _number(environ, "KLINGEL_FORM_LIMIT_BYTES", 128 << 10, 1024, 8 << 20)
        ),
        form_rate=_number(environ, "KLINGEL_FORM_RATE", 5.0, 0.01, 10_000),
        wait_seconds=_number(environ, "KLINGEL_WEBHOOK_WAIT_SECONDS", 10.0, 0.1, 300),
        hooks={hook: _hook(environ, hook) for hook in hooks},
        hash_key=_hash_key(environ),
        hook_base=_hook_base(environ),
    )


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """How the media worker fetches and where it keeps.

    Attributes:
        most_bytes: of one medium.
        seconds: a fetch may take.
        at_once: media fetched at the same time.
        s3: a bucket; None keeps media in the blob store's folder.
    """

    most_bytes: int = 25 << 20
    seconds: float = 60.0
    at_once: int = 8
    s3: S3Settings | None = None


_MEDIA = {
    f"KLINGEL_MEDIA_{name}"
    for name in (
        "MOST_BYTES",
        "SECONDS",
        "AT_ONCE",
        "S3_ENDPOINT",
        "S3_BUCKET",
        "S3_REGION",
        "S3_ACCESS_KEY",
        "S3_ACCESS_KEY_FILE",
        "S3_SECRET_KEY",
        "S3_SECRET_KEY_FILE",
    )
}


def media_settings(environ: Mapping[str, str]) -> MediaSettings:
    """Read the media worker's settings.

    Raises:
        ConfigurationError: an unknown name, a bad number, a store without bucket or credential.
    """
    for name in sorted(environ):
        if name.startswith("KLINGEL_MEDIA_") and name not in _MEDIA:
            raise ConfigurationError(f"{name}: unknown setting")
    return MediaSettings(
        most_bytes=int(_number(environ, "KLINGEL_MEDIA_MOST_BYTES", 25 << 20, 1024, 1 << 30)),
        seconds=_number(environ, "KLINGEL_MEDIA_SECONDS", 60.0, 1, 3600),
        at_once=int(_number(environ, "KLINGEL_MEDIA_AT_ONCE", 8, 1, 256)),
        s3=s3_settings(environ),
    )


def secret_name(source: str) -> str:
    """Return the setting that holds a source's secrets."""
    return "KLINGEL_WEBHOOK_SECRET_" + re.sub(r"[^A-Z0-9]", "_", source.upper())


def signing_key(secret: str, name: str) -> bytes:
    """Decode `whsec_<base64 of 16 to 64 bytes>`; raises ConfigurationError naming the setting."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) not in _SECRET_BYTES:
        raise ConfigurationError(
            f"{name}: a secret is {SECRET_PREFIX} and the base64 of 16 to 64 bytes"
        )
    return key


def hook_setting(purpose: str, hook: str) -> str:
    """Return the setting of a hook's `SECRET` or `VERIFY` token."""
    return f"KLINGEL_HOOK_{purpose}_" + re.sub(r"[^A-Z0-9]", "_", hook.upper())


def _hook(environ: Mapping[str, str], hook: str) -> HookSettings:
    name = hook_setting("SECRET", hook)
    keys = tuple(secret.encode() for secret in secret_setting(environ, name).split())
    if not keys:
        raise ConfigurationError(
            f"{name}: hook {hook} has no secret; set it, or {name}_FILE "
            "(an endpoint without a secret does not start)"
        )
    if any(len(key) not in _HOOK_KEY_BYTES for key in keys):
        raise ConfigurationError(f"{name}: a secret has 8 to 256 bytes")
    family, _, channel = hook.partition("/")
    verify = secret_setting(environ, hook_setting("VERIFY", hook)).strip().encode()
    return HookSettings(family, channel, keys, verify)


def _hook_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    found = _list(environ, "KLINGEL_HOOKS")
    for hook in found:
        if not _HOOK.fullmatch(hook):
            raise ConfigurationError(
                "KLINGEL_HOOKS: a hook is a family such as meta, or family/channel"
            )
    settings = [hook_setting("SECRET", hook) for hook in found]
    if len(set(settings)) != len(settings):
        raise ConfigurationError("KLINGEL_HOOKS: two hooks share the name of their secret")
    return tuple(found)


def _hook_base(environ: Mapping[str, str]) -> str:
    base = environ.get("KLINGEL_HOOK_BASE", "").rstrip("/")
    if base and not ADDRESS.fullmatch(base):
        raise ConfigurationError(
            "KLINGEL_HOOK_BASE: an address such as https://hooks.example, without a query"
        )
    return base


def _secrets(environ: Mapping[str, str], source: str) -> tuple[bytes, ...]:
    name = secret_name(source)
    secrets = secret_setting(environ, name).split()
    if not secrets:
        raise ConfigurationError(
            f"{name}: source {source} has no secret; set it, or {name}_FILE "
            "(a webhook without a secret does not start)"
        )
    return tuple(signing_key(secret, name) for secret in secrets)


def _form_key(environ: Mapping[str, str]) -> bytes:
    key = secret_setting(environ, "KLINGEL_FORM_KEY").strip().encode()
    if len(key) not in _FORM_KEY_BYTES:
        raise ConfigurationError(
            "KLINGEL_FORM_KEY: a form needs a key of 16 to 64 bytes for the hash of addresses"
        )
    return key


def _hash_key(environ: Mapping[str, str]) -> str:
    key = secret_setting(environ, HASH_KEY).strip()
    if key and len(key.encode()) not in _FORM_KEY_BYTES:
        raise ConfigurationError(f"{HASH_KEY}: a key has 16 to 64 bytes")
    return key


def _list(environ: Mapping[str, str], name: str) -> list[str]:
    return [part.strip() for part in environ.get(name, "").split(",") if part.strip()]


def _names(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    found = _list(environ, name)
    for source in found:
        if not _SOURCE.fullmatch(source):
            raise ConfigurationError(
                f"{name}: a source is letters, digits, dots, dashes or underscores"
            )
    settings = [secret_name(source) for source in found]
    if len(set(settings)) != len(settings):
        raise ConfigurationError(f"{name}: two sources share the name of their secret")
    return tuple(found)


def _check_known(
    environ: Mapping[str, str], sources: tuple[str, ...], hooks: tuple[str, ...]
) -> None:
    secrets = {secret_name(source) for source in sources}
    secrets |= {hook_setting(purpose, hook) for hook in hooks for purpose in ("SECRET", "VERIFY")}
    known = _PLAIN | secrets | {f"{name}_FILE" for name in secrets}
    for name in sorted(environ):
        if name.startswith(_OURS) and name not in known:
            raise ConfigurationError(
                f"{name}: unknown setting; a secret's source must stand in KLINGEL_WEBHOOK_SOURCES,"
                " a hook's in KLINGEL_HOOKS"
            )


def _number(
    environ: Mapping[str, str], name: str, default: float, least: float, most: float
) -> float:
    text = environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise ConfigurationError(f"{name}: must be a number from {least:g} to {most:g}")
    return value
