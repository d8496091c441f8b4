"""Roles are the least that calls need; those of the deployment are the same."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from klingel_indexer.convert import events_index
from klingel_indexer.roles import BRAND, roles

ROOT = Path(__file__).resolve().parents[2]
BRANDS = st.from_regex(re.compile(r"[a-d0-2][a-d0-2-]{0,9}"), fullmatch=True)


def names(role):
    return [name for each in role["indices"] for name in each["names"]]


@pytest.mark.parametrize("role", ["indexer", "cli", "reader", "editor"])
def test_no_role_reaches_beyond_the_prefix_or_into_security(role):
    body = roles("kl-")[role]
    assert all(name.startswith("kl-") for name in names(body))
    everything = [
        *body["cluster"],
        *(word for each in body["indices"] for word in each["privileges"]),
    ]
    assert not {"all", "manage_security", "manage_api_key", "superuser"} & set(everything)


def test_who_reads_does_not_write():
    for role in ("reader", "editor"):
        for each in roles("kl-", "nord")[role]["indices"]:
            assert set(each["privileges"]) == {"read", "view_index_metadata"}


@given(BRANDS, BRANDS, st.sampled_from(["2026.03", "undated"]))
def test_a_brands_reader_sees_its_posts_and_no_other_brands(brand, other, month):
    seen = names(roles("kl-", brand)["reader"])

    def sees(index):
        return any(fnmatchcase(index, each) for each in seen)

    assert BRAND.fullmatch(brand)
    assert sees(events_index("kl-", brand, month))
    if other != brand:
        assert not sees(events_index("kl-", other, month))
        assert not sees(f"kl-cases-{other}")


def test_the_roles_of_the_deployment_are_these():
    """ECK reads them from a file."""
    file = ROOT / "deploy/k8s/components/elasticsearch-eck/roles.yml"
    held = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert held == {f"klingel-{name}": body for name, body in roles("klingel-").items()}
