"""The settings of a connector, as its manifest declares them: from the command line and KLINGEL_*.

    KLINGEL_<CONNECTOR>_<SETTING>        such as KLINGEL_X_BEARER_TOKEN
    KLINGEL_<CONNECTOR>_<SETTING>_FILE   the same from a file, as Kubernetes and compose mount secrets

An option of the command line comes before the environment; a secret has none, because command lines
are seen by everybody on the machine.
"""

from collections.abc import Mapping
from pathlib import Path

from klingel.errors import ConfigurationError
from klingel_networks.arrival import Options
from klingel_networks.manifest import Manifest


def setting_name(connector: str, setting: str) -> str:
    """Return the name of a setting in the environment."""
    return f"KLINGEL_{connector}_{setting}".upper()


def own_pattern(connector: str) -> str:
    """Return what `load_settings` must leave to a connector."""
    return f"KLINGEL_{connector.upper()}_*"


def read_options(
    manifest: Manifest, environ: Mapping[str, str], given: Mapping[str, str | None]
) -> Options:
    """Return the value of every setting; secrets are wrapped.

    Args:
        manifest: of the connector.
        environ: of the process.
        given: options of the command line; None where not given.

    Raises:
        ConfigurationError: a setting is missing, unknown, of another type, or given twice; a secret
            stands on the command line. The sentence names the setting, never its value.
    """
    prefix = setting_name(manifest.name, "")
    known = {setting_name(manifest.name, name): name for name in manifest.config}
    found: dict[str, str] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(prefix):
            continue
        name = known.get(variable) or known.get(variable.removesuffix("_FILE"))
        if name is None:
            names = ", ".join(sorted(known)) or "none"
            raise ConfigurationError(f"{variable}: unknown setting; known are {names}")
        if name in found:
            raise ConfigurationError(f"{variable}: given twice, with and without _FILE")
        found[name] = text if variable in known else _content(variable, text)
    for name, value in given.items():
        if value is None:
            continue
        if manifest.config[name].secret:
            variable = setting_name(manifest.name, name)
            raise ConfigurationError(
                f"{name} is a secret: set {variable} or {variable}_FILE instead"
            )
        found[name] = value
    try:
        return manifest.configure(found)
    except ConfigurationError as error:
        raise ConfigurationError(_with_variable(str(error), manifest)) from None


def budget_of(manifest: Manifest, options: Options) -> float | None:
    """Return the month's budget in the network's unit; None without one."""
    if manifest.cost is None or manifest.cost.budget is None:
        return None
    value = options.get(manifest.cost.budget)
    return float(value) if isinstance(value, int) and value > 0 else None


def app_of(manifest: Manifest, options: Options) -> str:
    """Return whose money a connector spends: the gateway's hook, by setting `hook` or by family.

    Empty where the network charges nothing.
    """
    if manifest.cost is None:
        return ""
    return str(options.get("hook") or manifest.family or manifest.name)


def _content(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"{variable}: the file cannot be read") from None


def _with_variable(sentence: str, manifest: Manifest) -> str:
    """Return the sentence with the variable that a person would set."""
    for name in manifest.config:
        if sentence.startswith(f"{manifest.name}.{name} "):
            return f"{setting_name(manifest.name, name)}: {sentence}"
    return sentence
