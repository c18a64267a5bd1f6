"""docker-compose.yml as docker-compose(1) reads it, and what is promised of every container."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
PROFILES = ("core", "capture", "logs")
ON_THE_MACHINE_S_NETWORK = {"raw", "latency", "hosts", "dhcp", "flows"}
ONCE = {"render", "password"}  # do their work and end

pytestmark = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="no `docker-compose` on PATH")


def config(*environment_files: Path, **environment: str) -> dict[str, Any]:
    command = ["docker-compose", "--file", str(COMPOSE), "--project-directory", str(ROOT)]
    for file in environment_files:
        command += ["--env-file", str(file)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("COMPOSE_", "NETVANE_"))}
    done = subprocess.run(
        [*command, "config"],
        env={**clean, "COMPOSE_PROFILES": ",".join(PROFILES), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = config(EXAMPLE)["services"]
    return found


def variables() -> dict[str, str]:
    """Name -> default, of docker-compose.yml."""
    return dict(re.findall(r"(?<!\$)\$\{([A-Z_]+):?-([^}]*)\}", COMPOSE.read_text()))


def test_the_example_names_every_setting_with_its_default() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    assert dict(line.split("=", 1) for line in lines) == {"COMPOSE_PROFILES": "core", **variables()}


def test_without_an_env_file_it_is_the_same(tmp_path: Path) -> None:
    empty = tmp_path / "env"
    empty.touch()
    assert config(empty) == config(EXAMPLE)


def test_every_container_is_kept_small(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("cap_add", []) == (["NET_RAW"] if name in {"raw", "flows"} else []), name
        # Where a capability comes with the program, no-new-privileges would take it away.
        assert service["security_opt"] == ([] if "cap_add" in service else ["no-new-privileges:true"]), name
        assert "privileged" not in service, name
        assert service["mem_limit"], name
        assert service["pids_limit"] == 200, name
        assert service["logging"]["options"] == {"max-size": "5m", "max-file": "2"}, name
        assert service.get("user", "netvane").split(":")[0] not in {"0", "root"}, name
        assert ("healthcheck" in service) != (name in ONCE), name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name


def test_networks(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if service.get("network_mode") == "host"} == (
        ON_THE_MACHINE_S_NETWORK
    )
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert len(published) == 4
    assert all(str(port).startswith("127.0.0.1:") for port in published)


def test_grafana_is_opened_by_a_switch() -> None:
    opened = config(EXAMPLE, GRAFANA_BIND="0.0.0.0")["services"]
    assert {name for name, service in opened.items() if "0.0.0.0:" in str(service.get("ports"))} == {"grafana"}


def test_with_capture_prometheus_is_told_of_flows() -> None:
    assert "--without=flows" in config(EXAMPLE)["services"]["render"]["command"]
    asked = config(EXAMPLE, NETVANE_RENDER_FLAGS="")["services"]["render"]["command"]
    assert not [word for word in asked if "flows" in word]


def test_images_have_versions(services: dict[str, dict[str, Any]]) -> None:
    others = {service["image"] for service in services.values()} - {"netvane:latest"}
    assert len(others) == 5
    for image in others:
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", image)
        assert image in (ROOT / "docs/stack.md").read_text()


def test_profiles(services: dict[str, dict[str, Any]]) -> None:
    assert {name: service["profiles"] for name, service in services.items() if service["profiles"] != ["core"]} == {
        "flows": ["capture"],
        "loki": ["logs"],
    }


def test_what_lasts_is_in_named_volumes_and_secrets_are_in_none(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source, _, mode = str(volume).split(":", 2) if str(volume).count(":") == 2 else (*volume.split(":"), "rw")
            assert "/" not in source or "ro" in mode, (name, volume)
    text = COMPOSE.read_text() + EXAMPLE.read_text()
    assert not re.search(r"PASSWORD(?!: \$\$__file)\b[^\n]*=\S", text)
    assert services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"].endswith("__file{/secret/grafana.password}")
