"""Settings of the local stack, read once from `KLINGEL_*` variables."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from klingel_local.errors import SettingError

EsVersion = Literal["8", "9"]

# Variables of other parts of klingel begin otherwise, so a misspelt one is recognised by prefix.
PREFIX = "KLINGEL_LOCAL_"
NAMES = (
    "KLINGEL_LOCAL_ES",
    "KLINGEL_LOCAL_ES_SECURITY",
    "KLINGEL_LOCAL_ES_HEAP",
    "KLINGEL_LOCAL_KAFKA_HEAP",
    "KLINGEL_LOCAL_KAFKA_SECURITY",
    "KLINGEL_LOCAL_JAVA_HOME",
)
_HEAP = re.compile(r"[1-9][0-9]*[mg]")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may choose.

    Attributes:
        repository: Base address of an artifact repository, without a closing slash; `None` asks
            the Maven settings, then the public default.
        cache: Folder of downloads; `None` for the usual one of this user.
        es_version: Major version of Elasticsearch; `None` takes 9 where a suitable JDK is found.
        es_security: Whether Elasticsearch asks for a user and a password; `None` keeps what the
            instance has, which begins without.
        es_heap: Heap of Elasticsearch in Java notation; `None` fits it to the free memory.
        kafka_heap: Heap of Kafka in Java notation.
        java_home: The Java to try first.
        kafka_security: Whether Kafka asks who is there; `None` keeps what the instance has, which
            begins without.
    """

    repository: str | None = field(default=None, repr=False)
    cache: Path | None = None
    es_version: EsVersion | None = None
    es_security: bool | None = None
    es_heap: str | None = None
    kafka_heap: str = "384m"
    java_home: Path | None = None
    kafka_security: bool | None = None


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables; an empty one counts as absent.

    Raises:
        SettingError: a `KLINGEL_LOCAL_*` name is unknown, or a value is not understood.
    """
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in NAMES:
            raise SettingError(f"Unknown setting {name}: did you mean {_nearest(name)}?")
    version = _choice(environ, "KLINGEL_LOCAL_ES", {"8": "8", "9": "9"})
    security = _switch(environ, "KLINGEL_LOCAL_ES_SECURITY")
    cache = environ.get("KLINGEL_CACHE_DIR")
    java_home = environ.get("KLINGEL_LOCAL_JAVA_HOME")
    return Settings(
        repository=_repository(environ.get("KLINGEL_MAVEN_REPOSITORY")),
        cache=Path(cache).expanduser().absolute() if cache else None,
        es_version="8" if version == "8" else "9" if version == "9" else None,
        es_security=security,
        es_heap=_heap(environ, "KLINGEL_LOCAL_ES_HEAP"),
        kafka_heap=_heap(environ, "KLINGEL_LOCAL_KAFKA_HEAP") or "384m",
        java_home=Path(java_home).expanduser() if java_home else None,
        kafka_security=_switch(environ, "KLINGEL_LOCAL_KAFKA_SECURITY"),
    )


def heap_bytes(heap: str) -> int:
    """Return the number of bytes that a heap such as `512m` or `1g` stands for."""
    return int(heap[:-1]) << (30 if heap.endswith("g") else 20)


def _nearest(name: str) -> str:
    return difflib.get_close_matches(name, NAMES, n=1, cutoff=0.0)[0]


def _switch(environ: Mapping[str, str], name: str) -> bool | None:
    chosen = _choice(environ, name, {"on": "on", "off": "off"})
    return None if chosen is None else chosen == "on"


def _choice(environ: Mapping[str, str], name: str, values: Mapping[str, str]) -> str | None:
    value = environ.get(name) or None
    if value is not None and value not in values:
        raise SettingError(f"{name} must be one of {', '.join(values)}.")
    return value


def _heap(environ: Mapping[str, str], name: str) -> str | None:
    value = environ.get(name) or None
    if value is not None and not _HEAP.fullmatch(value):
        raise SettingError(f"{name} must be a size such as 512m or 1g.")
    return value


def _repository(address: str | None) -> str | None:
    if not address:
        return None
    if urlsplit(address).scheme not in {"http", "https"}:
        raise SettingError("KLINGEL_MAVEN_REPOSITORY must be an http or https address.")
    return address.rstrip("/")
