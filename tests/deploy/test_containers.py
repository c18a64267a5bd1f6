"""docker-compose.yml started: Netvane's own image on a Debian of this machine's, in an engine of the test's own.

Other people's images cannot be had here. The programs of this machine stand in for them, inside Netvane's image and
with the command lines, users, volumes and health checks of docker-compose.yml, so that the ways between the containers
are walked. Nobody stands in for Grafana, nor for Loki where there is none on PATH.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import engine as engines
from tests.deploy.engine import Engine, build, compose, engine
from tests.lab.processes import ROOT
from tests.lab.rack import Rack, unmount_below
from tests.lab.wait import eventually
from tests.logql import loki_server

pytestmark = [
    pytest.mark.lab,
    pytest.mark.deploy,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(engines.missing() is not None, reason=engines.missing() or ""),
]

OWN = ("raw", "latency", "hosts", "dhcp", "flows")
CAPABLE = {"raw", "flows"}
CAP_NET_RAW = 1 << 13  # linux/capability.h
PROGRAMS = {
    "prometheus": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "node-exporter": "prometheus-node-exporter",
    **({} if loki_server.missing() else {"loki": "loki"}),
}
LOKI = "http://172.30.74.31:3100"
TEMPLATES = "/usr/share/prometheus/alertmanager"  # Debian's Alertmanager has its own outside of the program


def stand_ins() -> dict[str, dict[str, object]]:
    """Each with its program, and with the wget that the real images bring along for their health checks."""
    beside = [f"{shutil.which('busybox')}:/usr/bin/wget:ro", f"{TEMPLATES}:{TEMPLATES}:ro"]
    return {
        service: {
            "image": "netvane-test",
            "entrypoint": [f"/usr/bin/{program}"],
            "volumes": [f"{os.path.realpath(shutil.which(program) or '')}:/usr/bin/{program}:ro", *beside],
        }
        for service, program in PROGRAMS.items()
    }


@pytest.fixture
def docker(rack: Rack) -> Iterator[Engine]:
    (machine,) = rack.namespaces("docker")
    machine.sysctl({"net.ipv4.ping_group_range": "0 2147483647"})
    directory = Path(tempfile.mkdtemp(prefix="nvd", dir="/var/tmp"))
    try:
        with engine(machine, directory) as started:
            yield started
    finally:
        unmount_below(directory)  # the engine leaves its network namespace's name there
        shutil.rmtree(directory)


def status(docker: Engine, container: str) -> dict[str, str]:
    lines = docker.run("docker", "exec", container, "cat", "/proc/1/status").splitlines()
    return {key: " ".join(value.split()) for key, value in (line.split(":", 1) for line in lines)}


def test_the_stack_in_containers(docker: Engine, tmp_path: Path) -> None:
    build(docker, "netvane-test")
    (tmp_path / "netvane.yml").write_text("site: cabin\nflows:\n  interfaces: [lo]\n")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "stand-in.json").write_text(json.dumps({"services": stand_ins()}))
    settings = {"CONFIG": tmp_path / "netvane.yml", "SECRETS": tmp_path / "secrets", "LEASES": tmp_path / "secrets"}
    environment = tmp_path / "env"
    environment.write_text(
        (ROOT / ".env.example").read_text()
        + "COMPOSE_PROFILES=core,capture,logs\nNETVANE_RENDER_FLAGS=\nNETVANE_IMAGE=netvane-test\n"
        + ("" if loki_server.missing() else f"NETVANE_LOKI_URL={LOKI}\n")
        + "".join(f"NETVANE_{name}={path}\n" for name, path in settings.items())
    )
    tmp_path.chmod(0o755)
    command = compose("nvt", environment, tmp_path / "stand-in.json")
    try:
        docker.run(*command, "up", "--detach", "--no-build", "password", *OWN, *PROGRAMS, timeout=300)
        for name in (*OWN, *PROGRAMS):
            eventually_healthy(docker, name)
        check_privileges(docker)
        password = docker.run(
            *("docker", "run", "--rm", "--volume=nvt_grafana-password:/secret", "--user=472", "--entrypoint=cat"),
            *("netvane-test", "/secret/grafana.password"),
        )
        assert len(password.strip()) == 24
        eventually(lambda: recorded(docker) > 0, within=60, what="recorded packets")
        jobs = {*OWN[1:], "prometheus", "alertmanager", "node"}
        eventually(lambda: scraped(docker) == jobs, within=180, what="all exporters scraped")
        (alertmanager,) = ask(docker, "http://127.0.0.1:9090/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        assert alertmanager["url"] == "http://alertmanager:9093/api/v2/alerts"
        if "loki" in PROGRAMS:
            jobs_of_events = f"{LOKI}/loki/api/v1/label/job/values"
            eventually(lambda: "latency" in ask(docker, jobs_of_events).get("data", ()), within=120, what="events")
            assert ask(docker, f"{LOKI}/prometheus/api/v1/rules")["data"]["groups"]
    finally:
        docker.run(*command, "down", "--volumes", "--timeout=5", timeout=120)


def eventually_healthy(docker: Engine, service: str) -> None:
    """Fails with what the container wrote, and what its health check said."""
    container = f"nvt_{service}_1"

    def state(what: str) -> str:
        return docker.run("docker", "inspect", f"--format={what}", container).strip()

    try:
        eventually(lambda: state("{{.State.Health.Status}}") == "healthy", within=180)
    except AssertionError:
        log = docker.run("sh", "-c", f"docker logs --tail=50 {container} 2>&1")
        pytest.fail(f"{service}: {state('{{json .State}}')}\n{log}")


def check_privileges(docker: Engine) -> None:
    for name in OWN:
        now = status(docker, f"nvt_{name}_1")
        expected = CAP_NET_RAW if name in CAPABLE else 0
        assert now["Uid"].split() == ["974"] * 4, name
        assert (int(now["CapEff"], 16), int(now["CapBnd"], 16)) == (expected, expected), name
        assert now["NoNewPrivs"] == ("0" if name in CAPABLE else "1"), name


def recorded(docker: Engine) -> int:
    """Bytes of the recorder's files, which dumpcap writes with a capability of its own."""
    program = "import pathlib; print(sum(p.stat().st_size for p in pathlib.Path('/run/netvane/packets').iterdir()))"
    return int(docker.run("docker", "exec", "nvt_flows_1", "python3", "-c", program))


def scraped(docker: Engine) -> set[str]:
    """The jobs that Prometheus, in the containers' own network, has reached."""
    answer = ask(docker, "http://127.0.0.1:9090/api/v1/query?query=up==1")
    return {series["metric"]["job"] for series in answer["data"]["result"]}


def ask(docker: Engine, url: str) -> Any:
    """What is answered to who is in the containers' own network."""
    program = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=10).read().decode())"
    return json.loads(docker.run("docker", "exec", "nvt_prometheus_1", "python3", "-c", program))
