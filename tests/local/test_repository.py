"""The user's Maven mirror is respected, Maven's own blocker is not taken for one."""

import pytest

from klingel_local.errors import FetchError
from klingel_local.repository import mirror_address, repository_address

NAMESPACE = 'xmlns="http://settings.invalid/1.2.0"'


def settings_xml(
    mirror_of: str, url: str = "https://mirror.invalid/maven/", space: str = ""
) -> str:
    return (
        f"<settings {space}><mirrors><mirror><id>m</id><mirrorOf>{mirror_of}</mirrorOf>"
        f"<url> {url} </url></mirror></mirrors></settings>"
    )


@pytest.mark.parametrize("space", ["", NAMESPACE])
@pytest.mark.parametrize(
    "mirror_of", ["*", "central", "external:*", "other, central", "*,!snapshots"]
)
def test_a_mirror_of_the_public_repository_is_taken(mirror_of, space):
    assert mirror_address(settings_xml(mirror_of, space=space)) == "https://mirror.invalid/maven"


@pytest.mark.parametrize("mirror_of", ["snapshots", "*,!central", "external:http:*", ""])
def test_a_mirror_of_something_else_is_not(mirror_of):
    assert mirror_address(settings_xml(mirror_of)) is None


@pytest.mark.parametrize("url", ["file:///srv/maven", "", "ftp://mirror.invalid"])
def test_a_mirror_that_is_not_http_is_not_taken(url):
    assert mirror_address(settings_xml("*", url=url)) is None


def test_broken_settings_are_named(tmp_path):
    path = tmp_path / "settings.xml"
    path.write_text("<settings>")
    with pytest.raises(FetchError, match="The Maven settings are not valid XML"):
        repository_address(None, [path])


def test_unreadable_settings_are_named_with_their_path(tmp_path):
    path = tmp_path / "settings.xml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FetchError, match=r"settings\.xml cannot be read"):
        repository_address(None, [path])


def test_the_setting_wins_then_the_first_mirror_then_the_public_default(tmp_path):
    without, mirrored = tmp_path / "user.xml", tmp_path / "machine.xml"
    without.write_text("<settings/>")
    mirrored.write_text(settings_xml("*"))
    files = [tmp_path / "absent.xml", without, mirrored]
    assert repository_address("http://chosen.invalid/", files) == "http://chosen.invalid"
    assert repository_address(None, files) == "https://mirror.invalid/maven"
    default = repository_address(None, files[:2])
    assert default.startswith("https://")
    assert not default.endswith("/")
