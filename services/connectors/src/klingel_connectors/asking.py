"""Whether Kafka answers: one small request on a connection of its own.

A client of kafka-python that cannot connect leaves a thread and its sockets behind; a probe asks
every ten seconds. `ApiVersions` is what any broker answers first, also to whom it does not know yet.
"""

import asyncio
import ssl
import struct

from klingel.contracts.connection import tls_context
from klingel.errors import ConfigurationError
from klingel.settings import KafkaSettings

ANSWER_SECONDS = 2.0
"""For all bootstrap addresses together: a probe waits five seconds at most."""

_API_VERSIONS, _VERSION, _CORRELATION = 18, 0, 7
_NAME = b"klingel-probe"
_REQUEST = struct.pack(">hhih", _API_VERSIONS, _VERSION, _CORRELATION, len(_NAME)) + _NAME
_LONGEST_ANSWER = 1 << 20


async def answers(kafka: KafkaSettings) -> bool:
    """Ask the bootstrap addresses; whether one of them answered as a broker does."""
    context = None
    if kafka.security_protocol.endswith("SSL"):
        try:
            context = tls_context(kafka)
        except ConfigurationError:
            return False
    asking = [
        asyncio.create_task(_asked(address.strip(), context))
        for address in kafka.bootstrap.split(",")
    ]
    try:
        for answer in asyncio.as_completed(asking, timeout=ANSWER_SECONDS):
            if await answer:
                return True
    except TimeoutError:
        return False
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return False


async def _asked(address: str, context: ssl.SSLContext | None) -> bool:
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return False
    writer = None
    try:
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
        writer.write(struct.pack(">i", len(_REQUEST)) + _REQUEST)
        size, correlation = struct.unpack(">ii", await reader.readexactly(8))
    except (OSError, EOFError, OverflowError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
    return bool(correlation == _CORRELATION and 8 <= size <= _LONGEST_ANSWER)
