"""Where artifacts come from: a setting, else the user's Maven mirror, else what `jgo` knows."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from jgo.maven import MavenContext

from klingel_local.errors import FetchError


def mirror_address(settings_xml: str) -> str | None:
    """Return the address of the mirror that Maven settings put before the public repository.

    Only mirrors of `central` count (`*`, `external:*` or by name, unless `!central` takes it out);
    Maven's own blocker of unencrypted repositories is none.

    Args:
        settings_xml: Text of a Maven `settings.xml`.

    Returns:
        The address without a closing slash, or `None` where no mirror applies.

    Raises:
        FetchError: the text is not XML.
    """
    try:
        root = ET.fromstring(settings_xml)  # noqa: S314 - the user's own configuration file
    except ET.ParseError as error:
        raise FetchError(f"The Maven settings are not valid XML ({error}).") from error
    for element in root.iter():
        if _local_name(element.tag) != "mirror":
            continue
        fields = {_local_name(child.tag): (child.text or "").strip() for child in element}
        scope = {part.strip() for part in fields.get("mirrorOf", "").split(",")}
        address = fields.get("url", "").rstrip("/")
        if "!central" in scope or not scope & {"*", "central", "external:*"}:
            continue
        if urlsplit(address).scheme in {"http", "https"}:
            return address
    return None


def repository_address(chosen: str | None, settings_files: Iterable[Path]) -> str:
    """Return the base address of the repository to fetch from, without a closing slash.

    Args:
        chosen: The user's setting; it wins where given.
        settings_files: Maven settings in the order in which Maven itself asks them.

    Raises:
        FetchError: a settings file is there but cannot be read.
    """
    if chosen:
        return chosen.rstrip("/")
    for path in settings_files:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise FetchError(f"The Maven settings {path} cannot be read ({error}).") from error
        if mirror := mirror_address(text):
            return mirror
    return str(next(iter(MavenContext().remote_repos.values()))).rstrip("/")


def maven_settings_files(home: Path) -> tuple[Path, ...]:
    """Return the places where Maven keeps the settings of a user and of the machine."""
    return home / ".m2" / "settings.xml", Path("/etc/maven/settings.xml")


def _local_name(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]
