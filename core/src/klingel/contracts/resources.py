"""Where the files of `schemas/` lie at run time: in a checkout, or inside the installed package."""

from pathlib import Path

from klingel.errors import ConfigurationError

_MARK = Path("generated")  # what a folder of schemas has, wherever it lies
_PACKAGED = Path(__file__).resolve().parents[1] / "_schemas"


def schemas_dir(configured: Path | None = None) -> Path:
    """Return the folder that holds `generated/` (templates, topic list, AsyncAPI document).

    Args:
        configured: the setting `KLINGEL_SCHEMAS_DIR`; nothing else is looked at where it is given.

    Raises:
        ConfigurationError: no such folder; the sentence names the setting.
    """
    if configured is not None:
        if not (configured / _MARK).is_dir():
            raise ConfigurationError(
                f"KLINGEL_SCHEMAS_DIR: {configured} holds no folder `{_MARK}`; "
                "give the folder `schemas` of a checkout"
            )
        return configured
    in_checkout = (folder / "schemas" for folder in Path(__file__).resolve().parents)
    for folder in (*in_checkout, _PACKAGED):
        if (folder / _MARK).is_dir():
            return folder
    raise ConfigurationError(
        "the folder `schemas` is neither in the package nor in a checkout around it; "
        "set KLINGEL_SCHEMAS_DIR"
    )
