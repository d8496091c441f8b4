"""The targets in force: what brand files say of them, and the addresses that the settings hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from klingel.config.brand import Brand
from klingel.config.calendars import seconds_of
from klingel.config.escalations import Target
from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.domain.notifications import Policy
from klingel.domain.sla import compile_calendars
from klingel.errors import InvalidMessage
from klingel.model import BrandConfig
from klingel_notifier.senders import Sender

log = structlog.get_logger()

PEOPLE = frozenset({"slack", "email"})
"""Kinds of targets that people read."""


class Unset(ValueError):
    """A target cannot be spoken to; the sentence names what is missing, never a value."""


Build = Callable[[Target], Sender]
"""Makes the sender of a target; raises Unset."""


@dataclass(frozen=True, slots=True)
class InForce:
    """A target as it is declared now.

    Attributes:
        policy: how it wants to be told.
        sender: speaks to it; None where something is missing.
        missing: what, in a sentence; empty where nothing is.
    """

    policy: Policy
    sender: Sender | None
    missing: str = ""


class Targets:
    """Targets by brand and id, as they come along on `brand-config`.

    Args:
        build: makes the sender of a target.
        give_up: time after which what cannot be told is given up.
    """

    def __init__(self, build: Build, give_up: timedelta) -> None:
        self._build = build
        self._give_up = give_up
        self._brands: dict[str, Mapping[str, InForce]] = {}
        self._unknown = InForce(
            Policy(2, timedelta(0), give_up=give_up), None, "no such target in the brand file"
        )
        self.version = 0
        """Grows with every change."""

    def take(self, message: Message) -> None:
        """Take one record of `brand-config`; one that cannot be read leaves what was in force."""
        name = (message.key or b"").decode("utf-8", "replace")
        if message.value is None:
            self._brands.pop(name, None)
            self.version += 1
            log.info("brand_removed", brand=name)
            return
        try:
            record = codec.decode(BrandConfig, message.value)
            found = self._compiled(Brand.model_validate(record.config))
        except (InvalidMessage, ValueError) as error:
            # ValueError: also what a calendar without a meaning raises.
            structlog.get_logger().error(
                "brand_refused", brand=name, error_class=type(error).__name__
            )
            return
        self._brands[record.brand] = found
        self.version += 1
        log.info("brand_in_force", brand=record.brand, version=record.version)

    def find(self, brand: str, target: str) -> InForce:
        """Return a target; one that no brand file declares has something missing."""
        return self._brands.get(brand, {}).get(target, self._unknown)

    def missing(self) -> list[str]:
        """Return a sentence for each declared target that cannot be spoken to."""
        return sorted(
            f"{brand}/{target}: {found.missing}"
            for brand, targets in self._brands.items()
            for target, found in targets.items()
            if found.missing
        )

    def _compiled(self, brand: Brand) -> Mapping[str, InForce]:
        calendars = compile_calendars(brand.calendars)
        found: dict[str, InForce] = {}
        for target in brand.targets:
            policy = Policy(
                digest_from=target.digest_from,
                window=timedelta(seconds=seconds_of(target.digest_window)),
                # The loader has checked the name; who is not sure to be quiet is told.
                hours=calendars.get(target.quiet) if target.quiet else None,
                people=target.kind in PEOPLE,
                give_up=self._give_up,
            )
            try:
                found[target.id] = InForce(policy, self._build(target))
            except Unset as error:
                found[target.id] = InForce(policy, None, str(error))
        return found
