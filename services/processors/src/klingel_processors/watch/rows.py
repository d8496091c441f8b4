"""Records of `brand-signals` as watch reads them: what the schema says, in a third of the time; pure."""

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from klingel.contracts import codec
from klingel.domain.signals import Heard
from klingel.model import BrandSignals

_NO_HEX: Final = re.compile("[^0-9a-f]")


class Told(msgspec.Struct, frozen=True, gc=False):
    """What a record tells of one brand; see BrandSignals."""

    brand: Annotated[str, Meta(max_length=60, pattern="^[a-z0-9][a-z0-9-]*$")]
    rows: Annotated[list[Heard], Meta(max_length=2000)]


_DECODER: Final = msgspec.json.Decoder(Told)


def read(value: bytes | None) -> Told:
    """Read a record of rows.

    What is not found right at a glance is read by its whole shape, which says what is wrong, or that
    nothing is.

    Raises:
        InvalidMessage: it is none.
    """
    if value is None:
        return _read_slowly(value)
    try:
        told = _DECODER.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _read_slowly(value)
    ids: list[str] = []
    authors: list[str] = []
    for row in told.rows:
        ids += (row.event_id, row.conversation_id, row.customer_id or "", row.reposts or "")
        authors.append(row.author or "")
    # The schema's patterns, for all rows at once: no id has a control character, and authors are hex.
    if not "".join(ids).isprintable() or _NO_HEX.search("".join(authors)):
        return _read_slowly(value)
    return told


def _read_slowly(value: bytes | None) -> Told:
    return msgspec.convert(codec.decode(BrandSignals, value), Told, from_attributes=True)
