"""The brands in force, as they come along on `brand-config`."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import structlog
from pydantic import ValidationError

from klingel.config.brand import Brand
from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.errors import ErrorType, InvalidMessage, KlingelError, SourceUnavailable
from klingel.model import BrandConfig


class Applied(NamedTuple):
    """A brand as it was applied, and whether every key of it is known here."""

    brand: Brand
    whole: bool


def applied_brand(record: BrandConfig) -> Applied:
    """Read a record of `brand-config`; keys that only another version of klingel knows are ignored.

    The file was checked strictly when it was applied. In a roll-out of two versions an unknown key
    is one that this version cannot obey yet, and no reason to hear nothing at all.

    Raises:
        InvalidMessage: what is known here is not as it must be; the sentence repeats nothing of it.
    """
    try:
        return Applied(Brand.model_validate(record.config), whole=True)
    except ValidationError:
        pass
    try:
        return Applied(Brand.model_validate(record.config, extra="ignore"), whole=False)
    except ValidationError:
        raise InvalidMessage(
            ErrorType.SCHEMA, "the brand cannot be read by this version of klingel"
        ) from None


class HeldBrands(Mapping[str, CompiledBrand]):
    """The brands beside some whose newest configuration cannot be read: what is theirs waits.

    Which events are theirs only their configuration could say, so whoever goes through all brands
    waits too.

    Args:
        readable: brands in force.
        refused: names of the others.
    """

    def __init__(self, readable: Mapping[str, CompiledBrand], refused: frozenset[str]) -> None:
        self._readable = readable
        self._refused = refused

    def __getitem__(self, name: str) -> CompiledBrand:
        if name in self._refused:
            raise self._held()
        return self._readable[name]

    def __iter__(self) -> Iterator[str]:
        raise self._held()

    def __len__(self) -> int:
        return len(self._readable.keys() | self._refused)

    def _held(self) -> SourceUnavailable:
        return SourceUnavailable(
            "the newest configuration of a brand cannot be read by this version"
        )


class Brands:
    """Compiled brands by name; the mappings are replaced whole, so readers never see half of it.

    Attributes:
        readable: brands whose newest configuration is in force.
        refused: names of those whose newest configuration cannot be read. Older ones do not stand
            in for it: after a restart nobody would know them, and the same events would be decided
            otherwise.
        by_name: what stages ask; raises SourceUnavailable for what is refused (`HeldBrands`).
    """

    def __init__(self) -> None:
        self.readable: dict[str, CompiledBrand] = {}
        self.refused: frozenset[str] = frozenset()
        self.by_name: Mapping[str, CompiledBrand] = self.readable

    def take(self, message: Message) -> None:
        """Take one record of `brand-config`; a brand that cannot be read is held, never raised."""
        name = (message.key or b"").decode("utf-8", "replace")
        others = {other: brand for other, brand in self.readable.items() if other != name}
        if message.value is None:
            structlog.get_logger().info("brand_removed", brand=name)
            self._replace(others, self.refused - {name})
            return
        try:
            record = codec.decode(BrandConfig, message.value)
            applied = applied_brand(record)
            brand = CompiledBrand.compile(applied.brand, record.version)
        except (KlingelError, ValueError) as error:
            structlog.get_logger().error(
                "brand_refused", brand=name, error_class=type(error).__name__
            )
            self._replace(others, self.refused | {name})
            return
        if not applied.whole:
            structlog.get_logger().warning("brand_keys_unknown", brand=record.brand)
        self._replace({**others, record.brand: brand}, self.refused - {name, record.brand})
        structlog.get_logger().info("brand_in_force", brand=record.brand, version=record.version)

    def _replace(self, readable: dict[str, CompiledBrand], refused: frozenset[str]) -> None:
        self.readable, self.refused = readable, refused
        self.by_name = HeldBrands(readable, refused) if refused else readable
