"""A connector's entry for Docker Compose and the names of its Secrets, from its manifest: pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

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
    gateway's environment. Required secrets are files in ./secrets, which have to be there; what may
    be left away is taken from the environment or .env, secrets too, and otherwise not set.

    Args:
        manifest: of the connector.
        hash_key: setting of the gateway's key of hashed ids, where the family has such.
    """
    services: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    if reads(manifest):
        variables, secrets = _settings(manifest)
        wanted = {
            setting_name(manifest.name, name): f"# {setting.description}"
            for name, setting in manifest.config.items()
            if setting.required
        }
        environment = {
            "KLINGEL_CONNECTOR__INSTANCE": manifest.name,
            **{variable: wanted.get(variable) for variable in variables},
        }
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
    environment: Mapping[str, str | None],
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


# -- the block of docker-compose.yml ---------------------------------------------------------------

BLOCK_BEGINS: Final = (
    "  # Below: what `klingel connectors compose --all` prints; not edited by hand."
)
BLOCK_ENDS: Final = "  # Above: what `klingel connectors compose --all` prints."
BY_HAND: Final = frozenset({"bluesky", "replay", "webhook"})
"""Connectors that have no place in the block: two stand in the file for everybody, and recordings are
replayed from files that the command line names."""
_FIRST_PORT: Final = 8081


def block(manifests: Iterable[Manifest], hash_keys: Mapping[str, str]) -> str:
    """Return the services of docker-compose.yml for all connectors, each under its own profile.

    A profile is the network's name; with `-webhook` it is the gateway of a network that also polls.
    Required secrets are files in ./secrets; all else is taken from the environment or .env, and what
    is not there is not set.

    Args:
        manifests: of the installed connectors.
        hash_keys: by family, setting of the gateway's key of hashed ids, where it has such.
    """
    known = sorted((each for each in manifests if each.name not in BY_HAND), key=lambda m: m.name)
    families: dict[str, list[Manifest]] = {}
    for each in known:
        if each.family is not None:
            families.setdefault(each.family, []).append(each)
    parts, secrets, port = list[str](), dict[str, str](), _FIRST_PORT
    for each in known:
        if each.family is None and not reads(each):
            variables, own = _settings(each)
            parts.append(_at_the_door(each.name, [each.name], variables, own, port))
            port, secrets = port + 1, secrets | own
        elif reads(each):
            variables, own = _settings(each)
            command = f"[run, {each.name}, --holder, {each.name}-0]"
            parts.append(_entry(each.name, [each.name], command, variables, own))
            secrets |= own
    for family, members in sorted(families.items()):
        also = [each.mode != "webhook" for each in members]
        profiles = [
            f"{each.name}-webhook" if late else each.name
            for each, late in zip(members, also, strict=True)
        ]
        own = hook_secrets(family, hash_keys.get(family, ""))
        variables = {"KLINGEL_WEBHOOK_SOURCES": '""', "KLINGEL_HOOKS": family}
        parts.append(_at_the_door(f"gateway-{family}", profiles, variables, own, port))
        port, secrets = port + 1, secrets | own
    listed = "".join(f"  {name}: {{file: ./secrets/{name}}}\n" for name in sorted(secrets))
    return "\n".join((BLOCK_BEGINS, *parts, BLOCK_ENDS, "", "secrets:", listed))


def _settings(manifest: Manifest) -> tuple[dict[str, str], dict[str, str]]:
    """Return what comes from the environment, and the required secrets."""
    variables, secrets = dict[str, str](), dict[str, str]()
    for name, setting in manifest.config.items():
        variable = setting_name(manifest.name, name)
        if setting.secret and setting.required:
            secrets[secret_name(variable)] = variable
        else:
            variables[variable] = ""
    return variables, secrets


def _at_the_door(
    name: str, profiles: list[str], variables: Mapping[str, str], own: Mapping[str, str], port: int
) -> str:
    ports = f'    ports:\n      - "127.0.0.1:{port}:8080"  # {name}: what rings there'
    return "\n".join((_entry(name, profiles, "[gateway]", variables, own), ports))


def _entry(
    name: str,
    profiles: list[str],
    command: str,
    variables: Mapping[str, str],
    secrets: Mapping[str, str],
) -> str:
    lines = [
        f"  {name}:",
        "    <<: *connector",
        f"    profiles: [{', '.join(profiles)}]",
        f"    command: {command}",
        "    environment:",
        "      <<: *environment",
        f"      KLINGEL_CONNECTOR__INSTANCE: {name}",
    ]
    files = ((f"{variable}_FILE", f"/run/secrets/{each}") for each, variable in secrets.items())
    told = (*files, *variables.items())
    lines += [f"      {variable}: {value}".rstrip() for variable, value in told]
    if secrets:
        lines.append(f"    secrets: [{', '.join(secrets)}]")
    return "\n".join(lines)


def as_yaml(found: Mapping[str, Any]) -> str:
    """Return the entries as a file for `docker compose -f docker-compose.yml -f FILE`."""
    return yaml.safe_dump(dict(found), sort_keys=False, allow_unicode=True, width=100)
