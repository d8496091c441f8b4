"""Generic events from signed webhooks and from the contact form; pure.

The gateway's context: `source` is the authenticated sender; `via: form` marks what `form.py` made.
"""

from collections.abc import Mapping

from klingel.domain.draft import SocialDraft
from klingel.model import RawEvent
from klingel_networks.contract import Delivery, Identity, NativeObject, Refused
from klingel_networks.generic import draft_generic, explode_generic, identify_generic

MAPPING = "webhook/2"
VIA = "via"
FORM = "form"


def _namespace(context: Mapping[str, str]) -> str:
    return "form" if context.get(VIA) == FORM else "webhook"


def explode(delivery: Delivery) -> list[NativeObject | Refused]:
    """Cut a delivery: one generic event, or an array of at most 1,000; each valid or refused."""
    return explode_generic(delivery)


def identify(native: bytes, context: Mapping[str, str]) -> Identity:
    """Return the identity: `webhook:<source>:<id>`, from the form `form:<source>:<key>`."""
    return identify_generic(native, context, _namespace(context))


def to_social_event(raw: RawEvent) -> SocialDraft:
    """Return the draft; `network` of the event is only a label."""
    return draft_generic(raw, _namespace(raw.context or {}), MAPPING)
