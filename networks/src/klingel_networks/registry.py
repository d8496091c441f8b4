"""The networks that are installed, found by entry point and loaded when first asked for."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from types import ModuleType

from klingel.domain.draft import SocialDraft
from klingel.domain.erasure import erased_draft, is_erasure
from klingel.errors import ConfigurationError, ErrorType, InvalidMessage
from klingel.model import RawEvent
from klingel_networks.completion import completed_draft, is_completion
from klingel_networks.contract import Family, Network
from klingel_networks.manifest import Manifest, Quality, read_manifest, read_quality

GROUP = "klingel.networks"
"""Entry points `name = module:NETWORK`; the module's folder holds connector.yaml, quality.yaml."""


FAMILIES = "klingel.families"
"""Entry points `name = module:FAMILY`: what shares one webhook endpoint of the gateway."""


class NetworkRegistry:
    """Networks and families by name.

    Args:
        points: one entry point a network; nothing is imported before it is asked for.
        families: one entry point a family.
    """

    def __init__(
        self, points: Mapping[str, EntryPoint], families: Mapping[str, EntryPoint] | None = None
    ) -> None:
        self._points = dict(points)
        self._family_points = dict(families or {})
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
        return replace(found, to_social_event=_reading_completions(found.to_social_event))

    @cached_property
    def family_names(self) -> tuple[str, ...]:
        """Names of the families in order of the alphabet."""
        return tuple(sorted(self._family_points))

    def family(self, name: str) -> Family:
        """Return a family; raises ConfigurationError for an unknown name or an unknown member."""
        point = self._family_points.get(name)
        if point is None:
            known = ", ".join(self.family_names) or "none"
            raise ConfigurationError(
                f"nothing that rings at the gateway is called {name!r}; known are {known}"
            )
        found = point.load()
        if not isinstance(found, Family) or found.name != name:
            raise ConfigurationError(
                f"entry point {FAMILIES}: {name} is not the family of that name"
            )
        missing = sorted(set(found.networks) - set(self._points))
        if missing or not found.networks:
            raise ConfigurationError(
                f"family {name}: {missing[0] if missing else 'nobody'} is no network of its own"
            )
        return found

    def client(self, name: str) -> ModuleType:
        """Return a network's module `client`, imported now; raises ConfigurationError without one.

        Only the connectors' runtime and the commands that look at connectors may ask for it.
        """
        point = self._points.get(name)
        if point is None:
            raise self._unknown(name)
        module = f"{point.module}.client"
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise ConfigurationError(
                f"{name} has no client: it is heard through the gateway only"
            ) from None

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
            raise self._unknown(name)
        where = files(point.module) / file
        return where.read_text(encoding="utf-8"), f"{point.module}/{file}"

    def _unknown(self, name: str) -> ConfigurationError:
        close = get_close_matches(name, self._points, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(self.names)}"
        return ConfigurationError(f"no network is called {name!r}; {hint}")


def _reading_completions(
    own: Callable[[RawEvent], SocialDraft],
) -> Callable[[RawEvent], SocialDraft]:
    """Return a mapping that reads our own raw events besides its own: completions, erasures."""

    def to_social_event(raw: RawEvent) -> SocialDraft:
        if raw.change == "created":  # nearly all; ours are deletions and completions
            return own(raw)
        if is_erasure(raw):
            return erased_draft(raw)
        return completed_draft(raw) if is_completion(raw) else own(raw)

    return to_social_event


@cache
def installed() -> NetworkRegistry:
    """Return the registry of this environment; the entry points are read once."""
    return NetworkRegistry(
        {point.name: point for point in entry_points(group=GROUP)},
        {point.name: point for point in entry_points(group=FAMILIES)},
    )


def installed_network(name: str) -> Network:
    """Return an installed network; raises InvalidMessage for one that is not."""
    return installed().network(name)
