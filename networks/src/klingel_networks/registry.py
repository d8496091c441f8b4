"""The networks that are installed, found by entry point and loaded when first asked for."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files

from klingel.errors import ConfigurationError, ErrorType, InvalidMessage
from klingel_networks.contract import Network
from klingel_networks.manifest import Manifest, Quality, read_manifest, read_quality

GROUP = "klingel.networks"
"""Entry points `name = module:NETWORK`; the module's folder holds connector.yaml, quality.yaml."""


class NetworkRegistry:
    """Networks by name.

    Args:
        points: one entry point a network; nothing is imported before it is asked for.
    """

    def __init__(self, points: Mapping[str, EntryPoint]) -> None:
        self._points = dict(points)
        self._networks: dict[str, Network] = {}
        self._manifests: dict[str, Manifest] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in order of the alphabet."""
        return tuple(sorted(self._points))

    def network(self, name: str) -> Network:
        """Return a network's pure half; raises InvalidMessage for one that is not installed."""
        found = self._networks.get(name)
        if found is None:
            found = self._load(name)
            self._networks[name] = found
        return found

    def _load(self, name: str) -> Network:
        point = self._points.get(name)
        if point is None:
            raise InvalidMessage(
                ErrorType.UNKNOWN_NETWORK, "no mapping is installed for the network", path="network"
            )
        found = point.load()
        if not isinstance(found, Network) or found.name != name:
            raise ConfigurationError(f"entry point {GROUP}: {name} is not the network of that name")
        return found

    def manifest(self, name: str) -> Manifest:
        """Return a network's manifest; raises ConfigurationError for an unknown name."""
        found = self._manifests.get(name)
        if found is None:
            found = read_manifest(*self._resource(name, "connector.yaml"))
            self._manifests[name] = found
        return found

    def quality(self, name: str) -> Quality:
        """Return what a network does of K1..K15; raises ConfigurationError for an unknown name."""
        return read_quality(*self._resource(name, "quality.yaml"))

    def _resource(self, name: str, file: str) -> tuple[str, str]:
        point = self._points.get(name)
        if point is None:
            close = get_close_matches(name, self._points, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(self.names)}"
            raise ConfigurationError(f"no network is called {name!r}; {hint}")
        where = files(point.module) / file
        return where.read_text(encoding="utf-8"), f"{point.module}/{file}"


@cache
def installed() -> NetworkRegistry:
    """Return the registry of this environment; the entry points are read once."""
    return NetworkRegistry({point.name: point for point in entry_points(group=GROUP)})


def installed_network(name: str) -> Network:
    """Return an installed network; raises InvalidMessage for one that is not."""
    return installed().network(name)
