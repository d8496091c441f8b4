"""The brands in force, as they come along on `brand-config`."""

import structlog

from klingel.config.brand import Brand
from klingel.config.compiled import CompiledBrand
from klingel.contracts import codec
from klingel.contracts.envelope import Message
from klingel.errors import InvalidMessage
from klingel.model import BrandConfig


class Brands:
    """Compiled brands by name; the mapping is replaced whole, so readers never see half of it."""

    def __init__(self) -> None:
        self.by_name: dict[str, CompiledBrand] = {}

    def take(self, message: Message) -> None:
        """Take one record of `brand-config`; one that cannot be read leaves what was in force."""
        name = (message.key or b"").decode("utf-8", "replace")
        if message.value is None:
            self.by_name = {other: brand for other, brand in self.by_name.items() if other != name}
            structlog.get_logger().info("brand_removed", brand=name)
            return
        try:
            record = codec.decode(BrandConfig, message.value)
            brand = CompiledBrand.compile(Brand.model_validate(record.config), record.version)
        except (InvalidMessage, ValueError) as error:
            structlog.get_logger().error(
                "brand_refused", brand=name, error_class=type(error).__name__
            )
            return
        self.by_name = {**self.by_name, record.brand: brand}
        structlog.get_logger().info("brand_in_force", brand=record.brand, version=record.version)
