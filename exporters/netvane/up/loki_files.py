"""Loki's own files: loki.yml, and the alerts that its ruler finds in DIR/loki-rules/<tenant>/."""

import re
from pathlib import Path
from typing import Any

import yaml

from netvane.common import assets
from netvane.common.config import ConfigError
from netvane.up.prometheus_files import Pages, rule_groups
from netvane.up.rendered_files import File, yaml_file
from netvane.up.settings import Alerts

TENANT = "fake"  # Loki's own word for the only one, where auth_enabled is false
RULES = f"loki-rules/{TENANT}"

WATCHED = "$watched_names"
MAX_WATCHED_NAMES = 1000  # Loki takes expressions of 128 KiB
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def loki_yml(directory: Path, data: Path, alertmanager: str) -> File:
    """loki.yml with everything that it writes below `data`; `alertmanager` is HOST:PORT."""
    config = yaml.safe_load((assets.path("loki") / "loki.yml").read_text(encoding="utf-8"))
    config["common"]["path_prefix"] = str(data)
    config["common"]["storage"]["filesystem"] = {
        "chunks_directory": str(data / "chunks"),
        "rules_directory": str(data / "rules"),
    }
    config["compactor"]["working_directory"] = str(data / "compactor")
    config["ruler"]["alertmanager_url"] = f"http://{alertmanager}"
    config["ruler"]["rule_path"] = str(data / "rules-read")
    config["ruler"]["storage"]["local"]["directory"] = str((directory / RULES).parent)
    return yaml_file("loki.yml", config, "netvane.yml")


def rule_files(time_scale: float, alerts: Alerts, pages: Pages) -> list[File]:
    """The alerts of loki/rules. Raises ConfigError for the file of watched names."""
    watched = None if alerts.watched_names_file is None else watched_pattern(alerts.watched_names_file)
    files = []
    for source in sorted(assets.path("loki/rules").glob("*.yml")):
        groups = rule_groups(source, time_scale, alerts, pages)
        _complete_expressions(groups, watched)
        files.append(yaml_file(f"{RULES}/{source.name}", {"groups": groups}, f"loki/rules/{source.name}"))
    return files


def _complete_expressions(groups: list[dict[str, Any]], watched: str | None) -> None:
    """The owner's names in the rules that look for them; without any these are left out."""
    for group in groups:
        if watched is None:
            group["rules"] = [rule for rule in group["rules"] if WATCHED not in rule["expr"]]
        else:
            for rule in group["rules"]:
                rule["expr"] = rule["expr"].replace(WATCHED, watched)


def watched_pattern(file: Path) -> str | None:
    r"""A regular expression (RE2) for the names in `file` and all names below them, quoted for a LogQL string.

    One name per line, ``#`` begins a comment. None where there is none. Raises ConfigError for a file that cannot be
    read, a line that is no name, and too many of them.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(f"{file}: cannot be read: {reason}") from error
    names: dict[str, None] = {}  # in the owner's order
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name = text.lower().removeprefix("*.").rstrip(".")
        if not _NAME.fullmatch(name) or len(name) > 253:
            raise ConfigError(f"{file}:{number}: expected a DNS name such as tracker.example, got {text!r}")
        names[name] = None
    if len(names) > MAX_WATCHED_NAMES:
        raise ConfigError(f"{file}: {len(names)} names are more than the {MAX_WATCHED_NAMES} that can be watched")
    if not names:
        return None
    alternatives = "|".join(name.replace(".", r"\\.") for name in names)
    return rf"(?:.*\\.)?(?:{alternatives})"
