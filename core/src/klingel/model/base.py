"""What every message shape shares."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    OptionalRaw = msgspec.Raw | None
else:
    # msgspec reads nothing but null where a type is a union with Raw; a default is not checked.
    OptionalRaw = msgspec.Raw


class Record(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A message as it crosses a topic: immutable, absent fields omitted when written.

    `gc=False`: records hold no cycles, and untracked objects keep decoding cheap when many are
    alive (measured: three times, `reference` figures in docs/adr).
    """
