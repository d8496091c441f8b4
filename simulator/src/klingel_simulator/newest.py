"""What a stand-in remembers, bounded: it rings for days."""

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Newest(OrderedDict[K, V]):
    """A mapping that lets go of what was set first.

    Args:
        most: entries.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        """Set an entry; one that is there keeps its place."""
        super().__setitem__(key, value)
        while len(self) > self._most:
            self.popitem(last=False)
