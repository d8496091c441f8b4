"""Kafka's partitioner, so that any client puts a key where every other client does."""

from struct import Struct

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_WORD = Struct("<I")


def murmur2(data: bytes) -> int:
    """Return Kafka's murmur2 of `data`, as an unsigned 32-bit integer.

    Source: `org.apache.kafka.common.utils.Utils.murmur2`.
    """
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for (word,) in _WORD.iter_unpack(data[:whole]):
        k = word * _M & _MASK
        h = h * _M & _MASK ^ (k ^ k >> 24) * _M & _MASK
    tail = data[whole:]
    if tail:
        h = ((h ^ int.from_bytes(tail, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives `key`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def conversation_key(brand: str, conversation_id: str) -> bytes:
    """Return the partition key of everything that must lie with a brand's conversation."""
    return f"{brand}|{conversation_id}".encode()
