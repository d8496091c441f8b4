"""Kafka's settings in the words that its client libraries share (kafka-python, aiokafka)."""

import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from klingel.errors import ConfigurationError
from klingel.settings import KafkaSettings

_Client = TypeVar("_Client")


def connection(kafka: KafkaSettings) -> dict[str, Any]:
    """Return addresses, transport and credential: the same for every client of both libraries.

    Reads the files of certificates; both libraries take the context made of them and prove the
    broker's name against its certificate.

    Raises:
        ConfigurationError: a file of a certificate or its key cannot be used; the sentence names the
            setting.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap.split(","),
        "security_protocol": kafka.security_protocol,
    }
    if kafka.sasl_mechanism is not None and kafka.sasl_password is not None:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.sasl_password.get_secret_value()
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = tls_context(kafka)
    return options


@lru_cache(maxsize=8)
def tls_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Return whom we trust and, where brokers ask for it, who we are.

    A process has one: its first client reads the files, and refuses to start where they are wrong. A
    file that is being exchanged later on is no trouble to those that follow.

    Raises:
        ConfigurationError: as `connection`.
    """
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile)
    except OSError:
        raise ConfigurationError(
            "KLINGEL_KAFKA__SSL_CAFILE: the file cannot be read as certificates"
        ) from None
    if kafka.ssl_certfile is not None:
        # An empty password is refused like a wrong one; without any, the library asks at the terminal.
        password = kafka.ssl_key_password
        try:
            context.load_cert_chain(
                kafka.ssl_certfile,
                kafka.ssl_keyfile,
                "" if password is None else password.get_secret_value(),
            )
        except (OSError, ValueError):
            raise ConfigurationError(
                "KLINGEL_KAFKA__SSL_CERTFILE, __SSL_KEYFILE and __SSL_KEY_PASSWORD: "
                "they are not a certificate, its key and the key's password"
            ) from None
    return context


def opened(build: Callable[..., _Client], **options: Any) -> _Client:
    """Return a client of kafka-python; one that reaches nobody leaves nothing behind.

    Where no broker answers, kafka-python 3.0 raises and lets its thread go on for ever: whoever tries
    again and again while Kafka is away would have one more each time.

    Args:
        build: class of the client.
        options: of the client.

    Raises:
        kafka.errors.KafkaError: nobody was reached.
    """
    network = build.DEFAULT_CONFIG["kafka_client"]  # type: ignore[attr-defined] # every client has it
    made: list[Any] = []

    def client(**given: Any) -> Any:
        made.append(network(**given))
        return made[-1]

    try:
        return build(**options, kafka_client=client)
    except Exception as error:  # noqa: BLE001 - raised again
        while made:
            made.pop().close()
        # What was called holds on to the sockets of refused connections.
        raise error.with_traceback(None) from None
