"""A netvane.yml, and the directory that it is rendered into."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from netvane.common.settings import load
from netvane.up.render import Rendered, RenderOptions, render

MAIL = {"to": ["me@example.org", "you@example.org"], "sender": "vane@example.org", "smarthost": "smtp.example.org:587"}


class Place:
    """A netvane.yml and the directory that it is rendered into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "netvane.yml"
        self.directory = root / "rendered"

    def secret(self, name: str, text: str) -> str:
        path = self.root / name
        path.write_text(text + "\n")
        return str(path)

    def render(self, settings: dict[str, Any] | None = None, options: RenderOptions | None = None) -> Rendered:
        """JSON is YAML."""
        self.config.write_text(json.dumps(settings or {}))
        return render(load(self.config), self.directory, options)

    def yaml(self, name: str) -> Any:
        return yaml.safe_load((self.directory / name).read_text())

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.directory)): path.read_text()
            for path in sorted(self.directory.rglob("*"))
            if path.is_file()
        }

    def full(self) -> dict[str, Any]:
        """Every kind of receiver, every secret in a file."""
        return {
            "site": "cabin",
            "notify": {
                "mail": {**MAIL, "username": "vane", "password_file": self.secret("mail", "mail-secret")},
                "webhook": {
                    "url_file": self.secret("hook", "http://198.51.100.9:8080/hook-secret"),
                    "username": "vane",
                    "password_file": self.secret("hook.password", "password-secret"),
                },
                "heartbeat": {"url_file": self.secret("beat", "https://beat.example/beat-secret"), "interval": "10m"},
            },
        }


def tool(*command: str) -> str:
    """Run from somewhere else, since all paths are absolute. Both tools are strict about what they are given."""
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
