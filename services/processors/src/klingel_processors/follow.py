"""What every stage knows beside its own state, followed whole: brands, erasures, what is linked."""

import structlog

from klingel.config.brands import Brands
from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.contracts.suppressions import nobody_yet, take_suppression
from klingel.contracts.topics import Topic
from klingel.domain.identity_links import Customers
from klingel.errors import InvalidMessage
from klingel.model import IdentityLink
from klingel.settings import ErasureSettings


class Surroundings:
    """What stages know beside their own state: brands, erasures; understand also what is linked.

    Args:
        erasure: the key by which erased people are known.
    """

    def __init__(self, erasure: ErasureSettings | None = None) -> None:
        self.brands = Brands()
        self.suppressed = nobody_yet(erasure)
        self.tracking: dict[str, frozenset[str]] = {}
        self.customers = Customers()

    def take(self, message: Message) -> int:
        """Take one followed record; return how many brands are refused after it."""
        if message.topic is Topic.BRAND_CONFIG:
            self.brands.take(message)
        elif message.topic is Topic.TRACKED_CONVERSATIONS and message.key is not None:
            self._track(message.key.decode("utf-8", "replace"), tracked=message.value is not None)
        elif message.topic is Topic.IDENTITY_LINKS and message.key is not None:
            self._link(message.key, message.value)
        elif message.topic is Topic.SUPPRESSIONS and message.key is not None:
            self._suppress(message)
        # Who was erased cannot be told without the key: better nobody is heard than they are again.
        return len(self.brands.refused) + len(self.suppressed.strange)

    def _suppress(self, message: Message) -> None:
        if not take_suppression(self.suppressed, message):
            structlog.get_logger().warning("suppression_unreadable")
        elif message.key in self.suppressed.strange:
            structlog.get_logger().error("suppression_of_another_key")

    def _link(self, key: bytes, value: bytes | None) -> None:
        try:
            known = None if value is None else codec.decode(IdentityLink, value)
        except InvalidMessage:
            structlog.get_logger().warning("identity_link_unreadable")
            return
        self.customers.take(key, known)

    def _track(self, key: str, *, tracked: bool) -> None:
        brand, _, conversation = key.partition("|")
        brands = self.tracking.get(conversation, frozenset())
        brands = brands | {brand} if tracked else brands - {brand}
        if brands:
            self.tracking[conversation] = brands
        else:
            self.tracking.pop(conversation, None)
