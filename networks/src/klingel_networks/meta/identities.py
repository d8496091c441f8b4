"""Under which ids an object names its customer: what `identity-links` is made of; pure.

An id has the form of a social event's `customer_id`, `<network>:<author id>`. Types of WhatsApp's
author ids: `bsuid:` a business-scoped user id, `parent:` that of a group of businesses, `phone:` the
keyed hash of a phone number, `username:` the keyed hash of a username. Messenger's and Instagram's
are scoped ids, and `user_ref:<reference>` before somebody opened a conversation.
"""

import msgspec

from klingel.domain.draft import SocialDraft
from klingel.model import RawEvent
from klingel_networks.meta.envelope import MESSENGER, WHATSAPP
from klingel_networks.meta.fields import Id, Part, decode, optional_id
from klingel_networks.meta.messaging import read_item


class _Reference(Part, frozen=True, gc=False):
    identifier: Id | None = None
    user_ref: Id | None = None


class _References(Part, frozen=True, gc=False):
    prior_message: _Reference | None = None
    optin: _Reference | None = None


_REFERENCES = msgspec.json.Decoder(_References)


def seen_ids(raw: RawEvent, draft: SocialDraft | None = None) -> tuple[str, ...]:
    """Return every id under which an object names its customer, the present one first.

    All of them are one customer: n ids are n - 1 edges from the first. Fewer than two say nothing.

    Args:
        raw: the object.
        draft: of it, where it is at hand: it says who the customer is, and spares a second reading.

    Raises:
        InvalidMessage: the object cannot be read.
    """
    context = raw.context or {}
    if raw.network == WHATSAPP:
        # Each stands there once.
        return tuple([f"whatsapp:{each}" for each in context.get("ids", "").split(" ") if each])
    if raw.network == MESSENGER and raw.native is not None and "by" in context:
        customer = read_item(raw.native, context).customer if draft is None else _customer(draft)
        found = _scoped(raw.native, customer)
    else:
        found = []
    return tuple(dict.fromkeys(f"{raw.network}:{each}" for each in found if each))


def _customer(draft: SocialDraft) -> str | None:
    if draft.direction == "outbound":
        return draft.target
    return None if draft.author is None else draft.author.id


def _scoped(native: msgspec.Raw, customer: str | None) -> list[str]:
    told = decode(_REFERENCES, native)
    found = [] if customer is None else [customer]
    if told.prior_message is not None:
        reference = optional_id(told.prior_message.identifier, "prior_message.identifier")
        found += [] if reference is None else [f"user_ref:{reference}"]
    if told.optin is not None:
        reference = optional_id(told.optin.user_ref, "optin.user_ref")
        found += [] if reference is None else [f"user_ref:{reference}"]
    return found
