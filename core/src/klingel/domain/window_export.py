"""How a window that remembers (copies, questions) is put into bytes, and read again."""

import zlib
from typing import TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def write_export(magic: bytes, state: msgspec.Struct) -> bytes:
    """Return a state as bytes that begin with `magic`, which names the window and its version."""
    return magic + zlib.compress(msgspec.msgpack.encode(state), 1)


def read_export(data: bytes, magic: bytes, shape: type[S], what: str) -> S:
    """Return the state that `write_export` wrote.

    Args:
        data: the bytes.
        magic: as they were written with.
        shape: of the state.
        what: the window in words, for the sentence of the error.

    Raises:
        ValueError: torn, or not an export of this window and version.
    """
    if not data.startswith(magic):
        raise ValueError(f"These bytes are no export of {what} of this version.")
    try:
        return msgspec.msgpack.decode(zlib.decompress(data[len(magic) :]), type=shape)
    except (zlib.error, msgspec.MsgspecError, ValueError) as error:
        raise ValueError(f"The export of {what} is torn.") from error
