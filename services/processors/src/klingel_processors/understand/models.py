"""Where understand finds the models that brands name; each is loaded once."""

from collections.abc import Iterable
from importlib.resources import as_file
from pathlib import Path

import structlog

from klingel.config.compiled import CompiledBrand
from klingel.errors import ConfigurationError
from klingel.language.heads import decode, read_file, version_of
from klingel.language.sense import Reader
from klingel_models import folder

FILE = "model.klm"


class Models:
    """The models of this worker.

    Args:
        own: folder of the brands' own models, one folder a model; None where there is none.
    """

    def __init__(self, own: Path | None) -> None:
        self._own = own
        self._readers: dict[str, Reader | None] = {}

    def check(self, brands: Iterable[CompiledBrand]) -> None:
        """Load what the brands name, before the first event.

        Raises:
            ConfigurationError: a model is missing, torn or of another format; it names the file. Not
                where every brand that names it goes on without.
        """
        needed: dict[str, bool] = {}
        for brand in brands:
            if brand.model is not None:
                needed[brand.model] = needed.get(brand.model, False) or not brand.model_optional
        for name, is_needed in sorted(needed.items()):
            try:
                self._readers[name] = self._load(name)
            except ConfigurationError:
                if is_needed:
                    raise
                self._do_without(name)

    def reader(self, name: str) -> Reader | None:
        """Return a model.

        One that a brand came to name after the start and that cannot be loaded is None: nobody else's
        events shall wait for it. The next start says what is wrong.
        """
        if name not in self._readers:
            try:
                self._readers[name] = self._load(name)
            except ConfigurationError:
                self._do_without(name)
        return self._readers[name]

    def _do_without(self, name: str) -> None:
        self._readers[name] = None
        structlog.get_logger().error("model_missing", model=name)

    def _load(self, name: str) -> Reader:
        own = None if self._own is None else self._own / name / FILE
        if own is not None and own.is_file():
            return _reader(name, own)
        shipped = folder() / name / FILE
        if shipped.is_file():
            with as_file(shipped) as path:
                return _reader(name, path)
        where = f"{own}" if own is not None else "KLINGEL_PROCESSOR__MODELS_DIR, which is not set"
        raise ConfigurationError(
            f"there is no model {name}: looked for {where}, and is not shipped"
        )


def _reader(name: str, path: Path) -> Reader:
    content = read_file(path)
    try:
        return Reader(name, version_of(content), decode(content, str(path)))
    except (LookupError, TypeError, ValueError):
        raise ConfigurationError(f"{path}: whole, and no model that can be used") from None
