"""Where the files are that the stack is configured with: rules, alerts, templates, runbooks."""

from pathlib import Path

import netvane

_PACKAGE = Path(netvane.__file__).parent


def path(name: str) -> Path:
    """The absolute path of `name`, given as in the repository, e.g. ``prometheus`` or ``docs/runbooks``.

    In a wheel these live in ``netvane/assets`` (pyproject.toml, force-include); run from source, below the repository's
    root. Raises FileNotFoundError.
    """
    for root in (_PACKAGE / "assets", _PACKAGE.parent.parent):
        if (root / name).exists():
            return (root / name).resolve()
    raise FileNotFoundError(f"{name} is neither in the package {_PACKAGE} nor in the repository around it")
