"""A connector's entry for Docker Compose and the names of its Secrets, from its manifest: pure."""

from collections.abc import Mapping
from typing import Any

import yaml

from klingel_networks.manifest import Manifest
from klingel_networks.options import setting_name

_BASE = "docker-compose.yml"
_READER = "bluesky"
_DOOR = "gateway"


def secret_name(variable: str) -> str:
    """Return the name of the Secret that holds a setting; Kubernetes takes no underscores."""
    return variable.lower().replace("_", "-")


def reads(manifest: Manifest) -> bool:
    """Whether a connector reads by itself, as a service of its own."""
    return bool({manifest.mode, *manifest.also} & {"poll", "stream"})


def hook_secrets(family: str, hash_key: str) -> dict[str, str]:
    """Return the Secrets that the gateway needs for a family's endpoint, each with its setting."""
    variable = f"KLINGEL_HOOK_SECRET_{family.upper()}"
    return {secret_name(each): each for each in (variable, hash_key) if each}


def entries(manifest: Manifest, *, hash_key: str = "") -> dict[str, Any]:
    """Return what a connector adds to docker-compose.yml: services and secrets.

    A connector that reads is a service of its own; what rings at the gateway adds its endpoint to the
    gateway's environment. Secrets are files, never values.

    Args:
        manifest: of the connector.
        hash_key: setting of the gateway's key of hashed ids, where the family has such.
    """
    services: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    if reads(manifest):
        environment: dict[str, str] = {"KLINGEL_CONNECTOR__INSTANCE": manifest.name}
        for name, setting in manifest.config.items():
            variable = setting_name(manifest.name, name)
            if setting.secret:
                secrets[secret_name(variable)] = variable
            elif setting.required:
                environment[variable] = f"# {setting.description}"
        services[manifest.name] = _service(
            _READER, environment, secrets, ["run", manifest.name, "--holder", f"{manifest.name}-0"]
        )
    if manifest.family is not None:
        own = hook_secrets(manifest.family, hash_key)
        services[_DOOR] = _service(None, {"KLINGEL_HOOKS": manifest.family}, own, None)
        secrets |= own
    return {
        "services": services,
        "secrets": {name: {"file": f"./secrets/{name}"} for name in secrets},
    }


def _service(
    base: str | None,
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
    command: list[str] | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if base is not None:
        found["extends"] = {"file": _BASE, "service": base}
    if command is not None:
        found["command"] = command
    files = {f"{variable}_FILE": f"/run/secrets/{name}" for name, variable in secrets.items()}
    found["environment"] = {**environment, **files}
    if secrets:
        found["secrets"] = list(secrets)
    return found


def as_yaml(found: Mapping[str, Any]) -> str:
    """Return the entries as a file for `docker compose -f docker-compose.yml -f FILE`."""
    return yaml.safe_dump(dict(found), sort_keys=False, allow_unicode=True, width=100)
