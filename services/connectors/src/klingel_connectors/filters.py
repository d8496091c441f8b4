"""What a firehose connector passes on: a superset of what any brand may hear.

It follows `brand-config` and `tracked-conversations` without a group, from their beginning. Until
both were read to their end, while no brand is configured, and while the configuration of one cannot be read,
everything passes: too much is work, too little would be loss.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from klingel.config.brand import Brand
from klingel.config.brands import applied_brand
from klingel.config.compiled import listening_rules
from klingel.contracts import codec
from klingel.contracts.topics import Topic
from klingel.domain.draft import SocialDraft
from klingel.domain.matching import Rule, RuleSet
from klingel.errors import InvalidMessage, KlingelError
from klingel.metrics import Metric, Metrics
from klingel.model import BrandConfig, RawEvent, TrackedConversation
from klingel.settings import KafkaSettings
from klingel_connectors.followed import Following
from klingel_networks.contract import Network


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the brands listen for on one network; immutable, replaced whole.

    Attributes:
        everything: some brand hears the channel whole, or nothing is known yet.
        rules: listening rules of all brands; None when there are none.
        accounts: own account ids.
    """

    everything: bool = True
    rules: RuleSet | None = None
    accounts: frozenset[str] = frozenset()


def wanted_of(brands: Iterable[Brand], network: str, channel: str | None) -> Wanted:
    """Return what these brands want of a network; a rule that cannot be read wants everything."""
    found = list(brands)
    if not found:
        return Wanted()
    accounts = frozenset(
        account.id for brand in found for account in brand.accounts if account.network == network
    )
    whole = any(
        own.network == network and (channel is None or own.id == channel)
        for brand in found
        for own in brand.channels
    )
    try:
        rules = [
            Rule(f"{brand.brand}/{rule.id}", rule.query)
            for brand in found
            for rule in listening_rules(brand)
        ]
        compiled = RuleSet.compile(rules) if rules else None
    except (KlingelError, ValueError):
        return Wanted()
    return Wanted(everything=whole, rules=compiled, accounts=accounts)


def concerns(draft: SocialDraft, wanted: Wanted, tracked: Mapping[str, int]) -> bool:
    """Whether an object may concern a brand. Deletions and updates always pass."""
    if wanted.everything or draft.change != "created" or draft.kind == "unknown":
        return True
    own = wanted.accounts
    if own and (
        (draft.author is not None and draft.author.id in own)
        or draft.in_reply_to_author in own
        or draft.target in own
        or not own.isdisjoint(draft.mentions)
        or any(_refers(reference, own) for reference in _references(draft))
    ):
        return True
    if draft.conversation_id is not None and draft.conversation_id in tracked:
        return True
    if any(reference in tracked for reference in _references(draft)):
        return True
    return wanted.rules is not None and wanted.rules.may_match(draft.text or "")


def _references(draft: SocialDraft) -> list[str]:
    found = (draft.in_reply_to, draft.quotes, draft.reposts, draft.conversation_id)
    return [reference for reference in found if reference]


def _refers(reference: str, accounts: frozenset[str]) -> bool:
    return any(account in reference for account in accounts)


@dataclass(slots=True)
class _Known:
    brands: dict[str, Brand] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    tracked: dict[str, int] = field(default_factory=dict)
    keys: dict[bytes, str] = field(default_factory=dict)


class BrandFilter:
    """Follows the brands in a thread of its own; `passes` is asked in the event loop.

    Args:
        kafka: how to reach Kafka.
        network: the pure half of the network.
        name: the network's name in brand files.
        channel: what the connector listens to, for brands that hear a channel whole.
        client_id: name at the broker.
        metrics: where it is counted how many brands cannot be read; None for nowhere.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        network: Network,
        *,
        name: str,
        channel: str | None,
        client_id: str,
        metrics: Metrics | None = None,
    ) -> None:
        self._network = network
        self._name = name
        self._channel = channel
        self._metrics = metrics
        self._log = structlog.get_logger()
        self._known = _Known()
        self._wanted = Wanted()
        self._in_force: tuple[Brand, ...] | None = None
        self._following = Following(
            kafka,
            (Topic.BRAND_CONFIG, Topic.TRACKED_CONVERSATIONS),
            name=f"{client_id}-filter",
            take=self._take,
            renew=self._renew,
        )

    def start(self) -> None:
        """Begin to follow."""
        self._following.start()

    def stop(self) -> None:
        """Stop following; blocks a moment."""
        self._following.stop()

    def passes(self, raw: RawEvent) -> bool:
        """Whether this raw event may concern a brand; what we cannot read passes."""
        wanted = self._wanted
        if wanted.everything or raw.change != "created" or raw.kind == "unknown":
            return True
        try:
            draft = self._network.to_social_event(raw)
        except Exception:  # noqa: BLE001  understand reads it again and says what is wrong
            return True
        return concerns(draft, wanted, self._known.tracked)

    def brands(self) -> tuple[Brand, ...] | None:
        """Return the brands in force; None until they were read, and while one cannot be read."""
        return self._in_force

    # --- in the thread -------------------------------------------------------------------------

    def _take(self, topic: Topic, record: Any) -> bool:
        """Apply a record; True when a brand changed."""
        if topic is Topic.BRAND_CONFIG:
            return self._brand(record)
        self._conversation(record)
        return False

    def _brand(self, record: Any) -> bool:
        name = bytes(record.key or b"").decode("utf-8", "replace")
        known = self._known
        was_known = name in known.brands or name in known.unreadable
        known.unreadable.discard(name)
        if record.value is None:
            known.brands.pop(name, None)
            return was_known
        try:
            config = codec.decode(BrandConfig, bytes(record.value))
            known.brands[name] = applied_brand(config).brand
        except InvalidMessage:
            self._log.warning("brand_unreadable", brand=name)
            known.unreadable.add(name)
        return True

    def _conversation(self, record: Any) -> None:
        """Count brands per conversation; a tombstone names only its key."""
        key = bytes(record.key or b"")
        tracked = self._known.tracked
        before = self._known.keys.pop(key, None)
        if before is not None:
            tracked[before] -= 1
            if not tracked[before]:
                del tracked[before]
        if record.value is None:
            return
        try:
            conversation = codec.decode(TrackedConversation, bytes(record.value)).conversation_id
        except InvalidMessage:
            return
        self._known.keys[key] = conversation
        tracked[conversation] = tracked.get(conversation, 0) + 1

    def _renew(self) -> None:
        known = self._known
        # What a brand wants that cannot be read, nobody knows: everything may be.
        self._wanted = (
            Wanted()
            if known.unreadable
            else wanted_of(known.brands.values(), self._name, self._channel)
        )
        self._in_force = None if known.unreadable else tuple(known.brands.values())
        if self._metrics is not None:
            self._metrics.set(Metric.BRANDS_REFUSED, len(known.unreadable))
        self._log.info("brands_renewed", count=len(known.brands), unreadable=len(known.unreadable))
