"""A connector's instance for Kubernetes: the short file that an overlay takes, from its manifest: pure."""

import re
from collections.abc import Iterator
from typing import Final

from klingel.errors import ConfigurationError
from klingel_cli.composing import hook_secrets, reads, secret_name
from klingel_networks.manifest import Manifest
from klingel_networks.options import setting_name

_INSTANCE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_HEAD: Final = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../../../connector]
components: [../../../../components/connector-instance]
nameSuffix: -{instance}
configMapGenerator:
  - name: connector
    behavior: merge
    literals:
      - CONNECTOR={connector}
      - KLINGEL_CONNECTOR__INSTANCE={instance}
"""


def overlay_file(manifest: Manifest, instance: str, *, hash_key: str = "") -> str:
    """Return `connectors/<instance>/kustomization.yaml` of an overlay of deploy/k8s.

    What is to be filled in or may be left away is a comment. Secrets are files of the Secret
    `connector-secrets-<instance>`, never values.

    Args:
        manifest: of the connector.
        instance: its name; each instance of an overlay has another.
        hash_key: setting of the gateway's key of hashed ids, where the family has such.

    Raises:
        ConfigurationError: a name that Kubernetes does not take, or a connector that only rings at
            the gateway.
    """
    if not _INSTANCE.fullmatch(instance):
        raise ConfigurationError(
            "--instance: 1 to 40 lower-case letters, digits and dashes, neither end a dash"
        )
    if not reads(manifest):
        raise ConfigurationError(
            f"{manifest.name} has no entry of its own: name its sources in the gateway's settings"
        )
    head = _HEAD.format(instance=instance, connector=manifest.name)
    lines = [*_settings(manifest), *_door(manifest, hash_key)]
    return "".join([head, *(f"{line}\n" for line in lines)])


def _settings(manifest: Manifest) -> Iterator[str]:
    for name, setting in manifest.config.items():
        variable = setting_name(manifest.name, name)
        value = f"{variable}="
        if setting.secret:
            value = f"{variable}_FILE=/etc/klingel/connector/{secret_name(variable)}"
        elif setting.default not in {None, ""}:
            value += str(setting.default)
        yield f"      # {' '.join(setting.description.split())}"
        yield f"      {'-' if setting.required else '# -'} {value}"


def _door(manifest: Manifest, hash_key: str) -> Iterator[str]:
    """Yield what the gateway has to know besides, as a comment: its settings stand in the overlay."""
    if manifest.family is None:
        return
    yield "# The gateway hears it too, once the overlay's ConfigMap `gateway` has:"
    yield f"#      - KLINGEL_HOOKS={manifest.family}"
    for name, variable in hook_secrets(manifest.family, hash_key).items():
        yield f"#      - {variable}_FILE=/etc/klingel/gateway/{name}"
