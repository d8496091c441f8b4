"""Roles are the least that calls need; those of the deployment are the same."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from klingel_indexer.convert import events_index
from klingel_indexer.rebuilding import contents, copy_index
from klingel_indexer.roles import BRAND, roles

ROOT = Path(__file__).resolve().parents[2]
BRANDS = st.from_regex(re.compile(r"[a-d0-2][a-d0-2-]{0,9}"), fullmatch=True)


def words(role):
    """Return every privilege that a role names."""
    return [*role["cluster"], *(word for each in role["indices"] for word in each["privileges"])]


def names(role):
    return [name for each in role["indices"] for name in each["names"]]


@pytest.mark.parametrize("role", ["indexer", "cli", "reader", "editor"])
def test_no_role_reaches_beyond_the_prefix_or_into_security(role):
    body = roles("kl-")[role]
    assert all(name.startswith("kl-") for name in names(body))
    assert not {"all", "manage_security", "manage_api_key", "superuser"} & set(words(body))


GRANTS = {
    "read": "indices:data/read/*",
    "write": "indices:data/write/*",
    "index": "indices:data/write/index*",
    "delete": "indices:data/write/delete*",
    "manage": "indices:admin/*",
}
"""What the named privileges allow, after Elasticsearch's IndexPrivilege; others allow none of these."""
ACTIONS = {
    "/_reindex": {"indices:data/read/search", "indices:data/write/reindex"},
    "/_tasks/node:1": {"cluster:monitor/task/get"},
    "/kl-a/_refresh": {"indices:admin/refresh"},
    "/kl-a/_pit": {"indices:data/read/open_point_in_time"},
    "/_search": {"indices:data/read/search"},
    "/_pit": {"indices:data/read/close_point_in_time"},
}


class Asked:
    """A client that notes which paths are asked, of an index without documents."""

    def __init__(self):
        self.paths = []

    async def perform_request(self, _method, path, **_more):
        """Answer as Elasticsearch does."""
        self.paths.append(path)
        body = {
            "/_reindex": {"task": "node:1"},
            "/_tasks/node:1": {
                "completed": True,
                "response": {
                    "failures": [],
                    "total": 0,
                    "created": 0,
                    "updated": 0,
                    "version_conflicts": 0,
                },
            },
            "/kl-a/_pit": {"id": "view"},
            "/_search": {"_shards": {"failed": 0}, "timed_out": False, "hits": {"hits": []}},
        }.get(path, {})
        return SimpleNamespace(body=body)


async def test_the_commands_role_may_copy_and_compare_indices_and_the_indexers_may_not():
    """Each call of `klingel reindex` to Elasticsearch, as docs/upgrading.md says."""
    asked = Asked()
    await copy_index(asked, "kl-a", "kl-b")
    await contents(asked, "kl-a")
    assert set(asked.paths) == set(ACTIONS)
    needed = set().union(*(ACTIONS[path] for path in asked.paths))

    def lacks(role):
        granted = [GRANTS.get(word, word) for word in words(roles("kl-")[role])]
        return {
            action
            for action in needed
            if not any(fnmatchcase(action, pattern) for pattern in granted)
        }

    assert lacks("cli") == set()
    assert lacks("indexer") == needed


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
