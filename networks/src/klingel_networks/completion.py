"""What the media worker found out about an event's media, as a native object of its own: pure.

The worker publishes it under the event's own id and revision, with `change: completed` and the context
`via: media`; the registry's networks read it themselves, so that no mapping needs to know of it. It
says nothing but the media: every other field is the event's own, which it completes.
"""

from collections.abc import Sequence

import msgspec

from klingel.domain.draft import SocialDraft
from klingel.model import RawEvent
from klingel.model.social_event import Media
from klingel_networks.bounds import READ_ERRORS, refusal

MAPPING = "media/1"
VIA = "via"
MEDIA = "media"


class _Completion(msgspec.Struct):
    media: list[Media]


_DECODER = msgspec.json.Decoder(_Completion)


def completion(media: Sequence[Media]) -> bytes:
    """Return the native bytes that tell of an event's media; the same media give the same bytes."""
    return msgspec.json.encode(_Completion(list(media)))


def is_completion(raw: RawEvent) -> bool:
    """Whether a raw event was made by the media worker."""
    return raw.change == "completed" and (raw.context or {}).get(VIA) == MEDIA


def completed_draft(raw: RawEvent) -> SocialDraft:
    """Return the draft of a completion.

    Raises:
        InvalidMessage: it is none.
    """
    try:
        found = _DECODER.decode(b"" if raw.native is None else bytes(raw.native))
    except READ_ERRORS as error:
        raise refusal(error) from None
    return SocialDraft(
        mapping=MAPPING,
        kind=raw.kind,
        change="completed",
        media=tuple(found.media),
        only_media=True,
    )
