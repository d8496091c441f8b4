"""Kafka's settings in the words that its client libraries share (kafka-python, aiokafka)."""

import ssl
from typing import Any

from klingel.settings import KafkaSettings


def connection(kafka: KafkaSettings) -> dict[str, Any]:
    """Return addresses, transport and credential, as both libraries name them.

    Encryption is theirs to add: kafka-python takes `ssl_cafile`, aiokafka a context (`tls_context`).
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap.split(","),
        "security_protocol": kafka.security_protocol,
    }
    if kafka.sasl_mechanism is not None and kafka.sasl_password is not None:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.sasl_password.get_secret_value()
    return options


def tls_file(kafka: KafkaSettings) -> dict[str, Any]:
    """Return what kafka-python needs to trust the broker's certificate."""
    return {} if kafka.ssl_cafile is None else {"ssl_cafile": str(kafka.ssl_cafile)}


def tls_context(kafka: KafkaSettings) -> dict[str, Any]:
    """Return what aiokafka needs to trust the broker's certificate; reads the authority's file.

    Raises:
        OSError: the file cannot be read.
    """
    if not kafka.security_protocol.endswith("SSL"):
        return {}
    return {"ssl_context": ssl.create_default_context(cafile=kafka.ssl_cafile)}
