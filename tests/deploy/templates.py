"""A role's templates filled in by Ansible itself, with the defaults of group_vars and a test's own variables."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.processes import ROOT

ANSIBLE = ROOT / "ansible"
ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


def rendered(role: str, names: Sequence[str], directory: Path, variables: Mapping[str, Any]) -> Path:
    """Fill in `names` (without .j2) of `role`; returns the directory they are in. `variables` override everything."""
    play = directory / "play"
    play.mkdir(parents=True)
    for shared in ("group_vars", "templates"):
        (play / shared).symlink_to(ANSIBLE / shared)
    output = directory / "rendered"
    output.mkdir()
    templates = ANSIBLE / "roles" / role / "templates"
    tasks: list[dict[str, Any]] = [{"include_vars": {"file": str(ANSIBLE / "roles" / role / "vars/main.yml")}}]
    tasks += [{"template": {"src": f"{templates}/{name}.j2", "dest": f"{output}/{name}"}} for name in names]
    # JSON is YAML.
    (play / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    (play / "variables.json").write_text(json.dumps(variables))
    command = [str(ANSIBLE_PLAYBOOK), "-i", "localhost,", "-c", "local", "-e", f"@{play}/variables.json"]
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(play),
        "LANG": "C.UTF-8",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    done = subprocess.run(
        [*command, "play.yml"], cwd=play, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return output
