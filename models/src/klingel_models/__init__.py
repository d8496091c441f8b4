"""The trained models that klingel ships: files, each with its card; no code but where they lie."""

from importlib.resources import files
from importlib.resources.abc import Traversable


def folder() -> Traversable:
    """Return the folder that holds one folder a model: `<model>/model.klm` and `<model>/card.md`."""
    return files(__name__)
