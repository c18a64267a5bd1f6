"""Loki and Grafana: which programs they are, and how they are started. Debian packages neither."""

import shutil
import subprocess
from pathlib import Path

from netvane.common import assets
from netvane.up.part import Address, Part
from netvane.up.places import Places
from netvane.up.rendered_files import File
from netvane.up.settings import Up

# What Go's garbage collector tries to stay below; on a Pi the two share 300 MB (docs/stack.md).
LOKI_MEMORY = "180MiB"
GRAFANA_MEMORY = "120MiB"

PACKAGED_HOME = Path("/usr/share/grafana")  # of Grafana's own packages; an unpacked archive has its home around bin/


def find_loki() -> tuple[str | None, str]:
    """The path of Grafana's Loki, or None and why. Debian's `loki` is a program for genetics."""
    program = shutil.which("loki")
    if program is None:
        return None, "no `loki` on PATH"
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None, f"{program} does not say its version"
    if not done.stdout.startswith("loki, version"):
        return None, f"{program} is another program of that name"
    return program, ""


def loki(places: Places, up: Up, log_level: str, url: str | None) -> Part:
    """`url` is where netvane.yml has events shipped to; a Loki elsewhere makes one here needless."""
    address = Address.parse(up.loki_listen)
    own = _url(up.loki_listen)
    if url is not None and url.rstrip("/") != own:
        return Part(name="loki", off="netvane.yml has events shipped to another one")
    program, why = find_loki()
    if program is None:
        return Part(name="loki", off=why)
    return Part(
        name="loki",
        command=(
            program,
            f"-config.file={places.rendered / 'loki.yml'}",
            f"-server.http-listen-address={address.host}",
            f"-server.http-listen-port={address.port}",
            f"-log.level={log_level}",
        ),
        directory=places.data / "loki",
        listen=address,
        ready_path="/ready",
        shows=own,
        environment={"GOMEMLIMIT": LOKI_MEMORY},
    )


def grafana(places: Places, up: Up, loki_url: str | None) -> Part:
    """`loki_url` is where events are; the data source is there, and empty, where there is no Loki."""
    program = shutil.which("grafana") or shutil.which("grafana-server")
    if program is None:
        return Part(name="grafana", off="no `grafana` or `grafana-server` on PATH")
    command = (program, "server") if Path(program).name == "grafana" else (program,)
    home = Path(program).resolve().parent.parent
    address = Address.parse(up.grafana_listen)
    data = places.data / "grafana"
    source = places.grafana
    return Part(
        name="grafana",
        command=(
            *command,
            f"--homepath={home if (home / 'conf/defaults.ini').is_file() else PACKAGED_HOME}",
            f"--config={source / 'grafana.ini'}",
        ),
        directory=data,
        listen=address,
        ready_path="/api/health",
        shows=f"http://{address.near}/",
        is_page=True,
        environment={
            "GF_SERVER_HTTP_ADDR": address.host,
            "GF_SERVER_HTTP_PORT": str(address.port),
            "GF_PATHS_DATA": str(data),
            "GF_PATHS_LOGS": str(data / "log"),
            "GF_PATHS_PLUGINS": str(data / "plugins"),
            "GF_PATHS_PROVISIONING": str(source / "provisioning"),
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(source / "dashboards" / "home.json"),
            "GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{places.grafana_password}}}",
            # What the files in grafana/provisioning take from the environment.
            "NETVANE_PROMETHEUS_URL": _url(up.prometheus_listen),
            "NETVANE_ALERTMANAGER_URL": _url(up.alertmanager_listen),
            "NETVANE_LOKI_URL": loki_url or _url(up.loki_listen),
            "NETVANE_DASHBOARDS": str(source / "dashboards"),
            "GOMEMLIMIT": GRAFANA_MEMORY,
        },
    )


def grafana_files() -> list[File]:
    """What Grafana is configured with, for `places.grafana`."""
    source = assets.path("grafana")
    found = [source / "grafana.ini", *source.glob("provisioning/*/*.yml"), *source.glob("dashboards/*.json")]
    return [File(str(path.relative_to(source)), path.read_text(encoding="utf-8")) for path in sorted(found)]


def _url(listen: str) -> str:
    return f"http://{Address.parse(listen).near}"
