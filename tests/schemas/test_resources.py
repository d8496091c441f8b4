"""The files of `schemas/` are found at run time, or the sentence says what to set."""

import re

import pytest

from klingel.contracts import resources
from klingel.errors import ConfigurationError


def test_checkout_is_found_without_a_setting(schemas):
    """In a checkout nothing has to be set."""
    assert resources.schemas_dir() == schemas


def test_setting_goes_before_everything(tmp_path):
    """A folder that is set is the one."""
    (tmp_path / "generated").mkdir()
    assert resources.schemas_dir(tmp_path) == tmp_path


def test_wrong_setting_is_refused(tmp_path):
    """A folder that holds no schemas is refused by the name of the setting, not passed over."""
    with pytest.raises(
        ConfigurationError, match=f"KLINGEL_SCHEMAS_DIR: {re.escape(str(tmp_path))}"
    ):
        resources.schemas_dir(tmp_path)


def test_installed_package_brings_its_own(tmp_path, monkeypatch):
    """Without a checkout around it, the files inside the package are used."""
    package = tmp_path / "site-packages/klingel"
    (package / "_schemas/generated").mkdir(parents=True)
    monkeypatch.setattr(resources, "__file__", str(package / "contracts/resources.py"))
    monkeypatch.setattr(resources, "_PACKAGED", package / "_schemas")
    assert resources.schemas_dir() == package / "_schemas"


def test_nothing_found_names_the_setting(tmp_path, monkeypatch):
    """With neither, the sentence says what to set."""
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "klingel/contracts/resources.py"))
    monkeypatch.setattr(resources, "_PACKAGED", tmp_path / "klingel/_schemas")
    with pytest.raises(ConfigurationError, match="set KLINGEL_SCHEMAS_DIR"):
        resources.schemas_dir()
