"""docker-compose.yml started: Netvane's own image on a Debian of this machine's, in an engine of the test's own.

Other people's images cannot be had here. Debian's Prometheus stands in for one of them, inside Netvane's image, so that
the way from the containers' network to the exporters on the machine's is walked.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import engine as engines
from tests.deploy.engine import Engine, build, compose, engine
from tests.lab.processes import ROOT
from tests.lab.rack import Rack, unmount_below
from tests.lab.wait import eventually

pytestmark = [
    pytest.mark.lab,
    pytest.mark.deploy,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(engines.missing() is not None, reason=engines.missing() or ""),
]

OWN = ("raw", "latency", "hosts", "dhcp", "flows")
CAPABLE = {"raw", "flows"}
CAP_NET_RAW = 1 << 13  # linux/capability.h
STAND_IN = {
    "services": {
        "prometheus": {
            "image": "netvane-test",
            "entrypoint": ["/usr/bin/prometheus"],
            # The real image has a directory for the volume, which its user may write in.
            "command": ["--config.file=/rendered/prometheus.yml", "--storage.tsdb.path=/tmp/metrics"],
            "tmpfs": ["/tmp:mode=1777"],  # noqa: S108 - inside the container
        }
    }
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
    (tmp_path / "stand-in.json").write_text(json.dumps(STAND_IN))
    settings = {"CONFIG": tmp_path / "netvane.yml", "SECRETS": tmp_path / "secrets", "LEASES": tmp_path / "secrets"}
    environment = tmp_path / "env"
    environment.write_text(
        (ROOT / ".env.example").read_text()
        + "COMPOSE_PROFILES=core,capture\nNETVANE_RENDER_FLAGS=\nNETVANE_IMAGE=netvane-test\n"
        + "".join(f"NETVANE_{name}={path}\n" for name, path in settings.items())
    )
    tmp_path.chmod(0o755)
    command = compose("nvt", environment, tmp_path / "stand-in.json")
    try:
        docker.run(*command, "up", "--detach", "--no-build", "password", *OWN, "prometheus", timeout=300)
        for name in OWN:
            eventually(lambda name=name: health(docker, name) == "healthy", within=180, what=name)  # type: ignore[misc]
        check_privileges(docker)
        password = docker.run(
            *("docker", "run", "--rm", "--volume=nvt_grafana-password:/secret", "--user=472", "--entrypoint=cat"),
            *("netvane-test", "/secret/grafana.password"),
        )
        assert len(password.strip()) == 24
        eventually(lambda: recorded(docker) > 0, within=60, what="recorded packets")
        eventually(lambda: set(OWN[1:]) <= scraped(docker), within=180, what="all exporters scraped")
    finally:
        docker.run(*command, "down", "--volumes", "--timeout=5", timeout=120)


def health(docker: Engine, service: str) -> str:
    return docker.run("docker", "inspect", "--format={{.State.Health.Status}}", f"nvt_{service}_1").strip()


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
    program = (
        "import urllib.request as r;"
        "print(r.urlopen('http://127.0.0.1:9090/api/v1/query?query=up==1', timeout=10).read().decode())"
    )
    answer = json.loads(docker.run("docker", "exec", "nvt_prometheus_1", "python3", "-c", program))
    return {series["metric"]["job"] for series in answer["data"]["result"]}
