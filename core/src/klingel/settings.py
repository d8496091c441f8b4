"""Settings from `KLINGEL_*`: one frozen class per concern, nested names joined by `__`.

`KLINGEL_KAFKA__BOOTSTRAP=host:9092` sets `settings.kafka.bootstrap`. An unknown name with our prefix
is a start-up error that suggests the nearest. Secrets may come from a file: `<NAME>_FILE`.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from klingel.errors import ConfigurationError

PREFIX = "KLINGEL_"
SPACE = r"^[a-z0-9_-]{1,100}$"
"""What names a space of Kibana."""
ELSEWHERE = (
    "KLINGEL_LOCAL_",
    "KLINGEL_MAVEN_REPOSITORY",
    "KLINGEL_CACHE_DIR",
    "KLINGEL_NOTIFIER__TARGETS__",
)
"""Beginnings of names that others read by themselves: `deploy/local`, which starts servers and
knows no service, and the notifier, whose targets' addresses have the names that brand files give
them."""


class Part(BaseModel):
    """One concern; frozen and strict."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Part):
    """How to reach Kafka."""

    bootstrap: str = Field("127.0.0.1:9092", description="host:port, comma separated.")
    topic_prefix: str = Field("", pattern=r"^[a-z0-9-]*$", description="Before every topic name.")
    group_prefix: str = Field(
        "klingel-", pattern=r"^[a-z0-9-]*$", description="Before every group."
    )
    partitions: int = Field(
        24, ge=1, le=96, description="Partitions of a topic by default; a ledger line names each."
    )
    replication: int = Field(1, ge=1, le=9, description="Replicas of each partition.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Transport."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism."
    )
    sasl_username: str | None = Field(None, description="SASL user.")
    sasl_password: SecretStr | None = Field(None, description="SASL password.")
    ssl_cafile: Path | None = Field(
        None, description="Certificate authority of the brokers; the system's own without it."
    )
    ssl_certfile: Path | None = Field(
        None, description="Our certificate with its chain, where brokers ask for one (mutual TLS)."
    )
    ssl_keyfile: Path | None = Field(None, description="Private key of our certificate.")
    ssl_key_password: SecretStr | None = Field(None, description="Password of that key.")
    session_timeout_seconds: float = Field(
        10.0, ge=1, le=300, description="A worker silent for longer loses its partitions."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Refuse what would be ignored or cannot work: half a credential, one without its transport."""
        protocol = f"{PREFIX}KAFKA__SECURITY_PROTOCOL"
        sasl = ("sasl_mechanism", "sasl_username", "sasl_password")
        if self.security_protocol.startswith("SASL"):
            self._need(sasl, f"{protocol}={self.security_protocol} needs it")
        else:
            self._forbid(
                sasl, f"{protocol} is {self.security_protocol}, which asks for no password"
            )
        tls = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password")
        if not self.security_protocol.endswith("SSL"):
            self._forbid(tls, f"{protocol} is {self.security_protocol}, which does not encrypt")
        if self.ssl_certfile is not None:
            self._need(("ssl_keyfile",), f"{PREFIX}KAFKA__SSL_CERTFILE needs its key")
        else:
            self._forbid(tls[2:], f"{PREFIX}KAFKA__SSL_CERTFILE is not set")
        return self

    def _need(self, fields: Iterable[str], why: str) -> None:
        for field in fields:
            if getattr(self, field) is None:
                raise ValueError(f"{PREFIX}KAFKA__{field.upper()} is not set: {why}")

    def _forbid(self, fields: Iterable[str], why: str) -> None:
        for field in fields:
            if getattr(self, field) is not None:
                raise ValueError(f"{PREFIX}KAFKA__{field.upper()} is set, but {why}")


class ServerSettings(Part):
    """How to reach a server that speaks HTTP, and who we are there."""

    group: ClassVar[str]
    names_port: ClassVar[bool] = False
    """Whether the address must name its port; the client of Elasticsearch knows none by itself."""
    url: str = Field(description="Address of the HTTP interface.")
    username: str | None = Field(None, description="User.")
    password: SecretStr | None = Field(None, description="Password.")
    api_key: SecretStr | None = Field(None, description="API key, instead of user and password.")
    ca_certs: Path | None = Field(
        None, description="Certificate authority of the server; the system's own without it."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Refuse what is no address, half a credential, two of them, an authority that nothing asks."""
        before = f"{PREFIX}{self.group}__"
        if not self._is_address():
            raise ValueError(
                f"{before}URL: give http:// or https://, a host and a port, and the credential "
                "by settings of its own"
            )
        if (self.username is None) != (self.password is None):
            raise ValueError(
                f"{before}USERNAME and {before}PASSWORD are set together or not at all"
            )
        if self.api_key is not None and self.username is not None:
            raise ValueError(f"{before}API_KEY is set, and so is {before}USERNAME: choose one")
        if self.ca_certs is not None and not self.url.startswith("https:"):
            raise ValueError(f"{before}CA_CERTS is set, but {before}URL does not begin with https:")
        return self

    def _is_address(self) -> bool:
        """Whether a client can use the address; a credential in it would stand in every error."""
        try:
            where = urlsplit(self.url)
            port = where.port  # a bad one raises here
        except ValueError:
            return False
        usable = where.scheme in {"http", "https"} and bool(where.hostname)
        return usable and where.username is None and not (self.names_port and port is None)


class ElasticsearchSettings(ServerSettings):
    """How to reach Elasticsearch."""

    group = "ELASTICSEARCH"
    names_port = True
    url: str = Field("http://127.0.0.1:9200", description="Address of the HTTP interface.")
    index_prefix: str = Field(
        "klingel-", pattern=r"^[a-z0-9-]*$", description="Before every index."
    )
    refresh_interval: str = Field("5s", description="How soon a document is searchable.")
    replicas: int = Field(0, ge=0, le=9, description="Replicas of each index.")
    dead_letters_days: int = Field(
        90, ge=1, le=3650, description="How long `klingel index age` leaves dead letters."
    )
    status_days: int = Field(
        30, ge=1, le=3650, description="How long it leaves the status of a silent connector."
    )


class KibanaSettings(ServerSettings):
    """How to reach Kibana, which `klingel kibana apply` gives its objects."""

    group = "KIBANA"
    url: str = Field("http://127.0.0.1:5601", description="Address of Kibana, with its base path.")
    space: str = Field("default", pattern=SPACE, description="Space of the objects.")


class HttpSettings(Part):
    """The service's own HTTP port."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port; 0 takes a free one.")


class LogSettings(Part):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")


class BlobSettings(Part):
    """Where originals above 512 KiB lie."""

    dir: Path = Field(Path(".klingel/blobs"), description="Folder.")


class ProcessorSettings(Part):
    """A processor worker."""

    state_dir: Path = Field(Path(".klingel/state"), description="Folder of the local state.")
    instance: str | None = Field(
        None, max_length=120, description="Static member name; a pod's name. None joins afresh."
    )
    models_dir: Path | None = Field(
        None, description="Folder of the brands' own models: NAME/model.klm each."
    )
    batch_messages: int = Field(1000, ge=1, le=100_000, description="Messages of one batch.")
    batch_wait_seconds: float = Field(0.1, gt=0, le=10, description="Longest wait for a batch.")


class IndexerSettings(Part):
    """The indexer."""

    instance: str | None = Field(None, max_length=120, description="Static member name.")
    bulk_documents: int = Field(2000, ge=1, le=20_000, description="Documents of one request.")
    bulk_bytes: int = Field(8 << 20, ge=1024, description="Bytes of one request.")
    requests_in_flight: int = Field(3, ge=1, le=16, description="Requests at once at most.")


class NotifierSettings(Part):
    """The notifier; addresses and secrets of targets are `KLINGEL_NOTIFIER__TARGETS__<NAME>`."""

    instance: str | None = Field(None, max_length=120, description="Static member name.")
    timeout_seconds: float = Field(10.0, gt=0, le=120, description="Longest wait for a receiver.")
    first_pause_seconds: float = Field(
        1.0, gt=0, le=60, description="Pause after a first failed attempt; it doubles."
    )
    longest_pause_seconds: float = Field(300.0, gt=0, le=3600, description="Longest such pause.")
    circuit_after: int = Field(
        5, ge=1, le=100, description="Failures in a row that open a target's circuit."
    )
    circuit_seconds: float = Field(
        30.0, gt=0, le=3600, description="Least time until an open circuit is probed."
    )
    give_up_hours: float = Field(
        24.0,
        gt=0,
        le=168,
        description="What cannot be told for so long becomes a dead letter; quiet hours not counted.",
    )
    waiting_bytes: int = Field(
        128 << 20, ge=65_536, description="Bytes that wait in memory, at most."
    )
    seed: int | None = Field(None, description="Start of the jitter's random numbers.")
    ca_certs: Path | None = Field(None, description="Certificate authority of HTTP receivers.")
    smtp_host: str | None = Field(None, description="Mail server; without one no mail is sent.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port.")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How mail is encrypted on its way."
    )
    smtp_username: str | None = Field(None, description="User of the mail server.")
    smtp_password: SecretStr | None = Field(None, description="Password of that user.")
    smtp_from: str = Field(
        "klingel@localhost", pattern=r"^[^@\s]+@[^@\s]+$", description="Sender's address."
    )
    smtp_ca_certs: Path | None = Field(None, description="Certificate authority of the server.")


class ConnectorSettings(Part):
    """What every connector shares; its own settings stand in its manifest."""

    instance: str | None = Field(None, max_length=120, description="Name of this instance.")
    in_flight_messages: int = Field(10_000, ge=1, description="Not yet acknowledged, at most.")
    in_flight_bytes: int = Field(32 << 20, ge=1024, description="Bytes of these, at most.")


class ErasureSettings(Part):
    """What was erased, and stays erased."""

    key: SecretStr | None = Field(
        None,
        min_length=16,
        description="Key of the hashes by which erased people are known; it never changes.",
    )


class Settings(Part):
    """Everything that services read from the environment."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    elasticsearch: ElasticsearchSettings = Field(default_factory=ElasticsearchSettings)
    kibana: KibanaSettings = Field(default_factory=KibanaSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    logs: LogSettings = Field(default_factory=LogSettings)
    blobs: BlobSettings = Field(default_factory=BlobSettings)
    processor: ProcessorSettings = Field(default_factory=ProcessorSettings)
    indexer: IndexerSettings = Field(default_factory=IndexerSettings)
    notifier: NotifierSettings = Field(default_factory=NotifierSettings)
    connector: ConnectorSettings = Field(default_factory=ConnectorSettings)
    erasure: ErasureSettings = Field(default_factory=ErasureSettings)
    schemas_dir: Path | None = Field(
        None, description="Folder `schemas`, where not found by itself."
    )


def names() -> dict[str, str]:
    """Return every setting's environment name and its description."""
    found = {}
    for group, field in Settings.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            for name, leaf in inner.model_fields.items():
                found[f"{PREFIX}{group}__{name}".upper()] = leaf.description or ""
        else:
            found[f"{PREFIX}{group}".upper()] = field.description or ""
    return found


def load_settings(environ: Mapping[str, str], *, also: Iterable[str] = ()) -> Settings:
    """Read the settings.

    Args:
        environ: the environment; read here and nowhere else.
        also: further names with our prefix that the caller reads by itself; one ending in `*` is
            a prefix (a connector's own settings).

    Raises:
        ConfigurationError: an unknown name, an invalid value, an unreadable secret file.
    """
    known = names()
    extra = tuple(also)
    data: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or _elsewhere(name, extra):
            continue
        setting, value = _value(name, environ[name], known)
        if setting != name and setting in environ:
            raise ConfigurationError(f"{setting}: given twice, also by {name}")
        _place(data, setting.removeprefix(PREFIX).lower().split("__"), value)
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        if first["type"] == "value_error":  # of several settings together; it names them itself
            raise ConfigurationError(str(first["ctx"]["error"])) from None
        name = PREFIX + "__".join(str(part) for part in first["loc"]).upper()
        if first["type"] == "too_short" and _is_secret(name):
            least = first["ctx"]["min_length"]
            raise ConfigurationError(f"{name}: give at least {least} characters") from None
        raise ConfigurationError(f"{name}: {first['msg']}") from None


def _elsewhere(name: str, extra: tuple[str, ...]) -> bool:
    if name.startswith(ELSEWHERE):
        return True
    return any(
        name.startswith(other[:-1]) if other.endswith("*") else name == other for other in extra
    )


def _value(name: str, value: str, known: Mapping[str, str]) -> tuple[str, str]:
    if name in known:
        return name, value
    plain = name.removesuffix("_FILE")
    if name.endswith("_FILE") and plain in known and _is_secret(plain):
        try:
            return plain, Path(value).read_text(encoding="utf-8").strip()
        except OSError:
            raise ConfigurationError(f"{name}: the file cannot be read") from None
        except ValueError:
            raise ConfigurationError(f"{name}: the file is not UTF-8 text") from None
    # Without what all have in common, which would make everything near.
    bare = [each.removeprefix(PREFIX) for each in known]
    own = name.removeprefix(PREFIX)
    near = difflib.get_close_matches(own, bare, n=1, cutoff=0.6)
    near = near or [each for each in bare if own and each.startswith(own)][:1]
    hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
    raise ConfigurationError(f"{name}: unknown setting{hint}")


def _is_secret(name: str) -> bool:
    group, _, leaf = name.removeprefix(PREFIX).lower().partition("__")
    inner = Settings.model_fields[group].annotation
    if not (isinstance(inner, type) and issubclass(inner, BaseModel)) or not leaf:
        return False
    annotation = inner.model_fields[leaf].annotation
    return annotation is SecretStr or SecretStr in get_args(annotation)


def _place(data: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        data = data.setdefault(part, {})
    data[path[-1]] = value
