"""Addresses and secrets of targets: settings of the notifier alone, never of a brand file.

`KLINGEL_NOTIFIER__TARGETS__SHIFT_CHAT_URL` is what a brand file calls `shift_chat_url`; with
`_FILE` behind it, it names a file that holds the value.
"""

from collections.abc import Mapping
from pathlib import Path

from klingel.errors import ConfigurationError

PREFIX = "KLINGEL_NOTIFIER__TARGETS__"
"""`klingel.settings.ELSEWHERE` leaves these names to us."""
_FILE = "_FILE"


class Addresses:
    """Values by setting, as a brand file names it; they show in no representation.

    Args:
        environ: the environment.

    Raises:
        ConfigurationError: a file cannot be read, or a setting is given twice; the sentence names
            the variable and never its value.
    """

    __slots__ = ("_values",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._values: dict[str, str] = {}
        for name in sorted(environ):
            if not name.startswith(PREFIX):
                continue
            value = environ[name]
            setting = name.removeprefix(PREFIX)
            if setting.endswith(_FILE):
                setting = setting.removesuffix(_FILE)
                value = _content(name, value)
                if PREFIX + setting in environ:
                    raise ConfigurationError(f"{PREFIX}{setting}: given twice, also by {name}")
            self._values[setting.lower()] = value.strip()

    def find(self, setting: str) -> str | None:
        """Return the value; None where it is not set or empty."""
        return self._values.get(setting) or None

    def __repr__(self) -> str:
        return f"Addresses({', '.join(self._values)})"


def variable(setting: str) -> str:
    """Return the environment's name of a setting."""
    return PREFIX + setting.upper()


def _content(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        raise ConfigurationError(f"{name}: the file cannot be read") from None
    except ValueError:
        raise ConfigurationError(f"{name}: the file is not UTF-8 text") from None
