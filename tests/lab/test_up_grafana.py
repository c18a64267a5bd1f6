"""`netvane up` with a Grafana on PATH: a stand-in, since none is to be had, for what `up` itself does about one."""

from pathlib import Path

import pytest
import yaml

from tests.lab.home import Home
from tests.lab.processes import NETVANE
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

# Says that it is well, as long as it was told its place and can read the password.
STAND_IN = """#!/usr/bin/python3
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
assert sys.argv[1] == "server"
password = os.environ["GF_SECURITY_ADMIN_PASSWORD"].removeprefix("$__file{").removesuffix("}")
assert Path(password).read_text().strip()
assert Path(os.environ["GF_PATHS_PROVISIONING"], "datasources/netvane.yml").is_file()
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
    def log_message(self, *_): pass
HTTPServer((os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])), Handler).serve_forever()
"""


def test_it_is_started_and_alerts_lead_to_its_dashboards(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    place = home.rack.directory
    programs = place / "bin"
    programs.mkdir()
    (programs / "grafana").write_text(STAND_IN)
    (programs / "grafana").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin")
    places = [f"--storage.{kind}-dir={place / kind}" for kind in ("data", "run")]
    with home.rack.processes.start([*NETVANE, "up", "--netns", home.mon.name, *places]) as up:
        running = "grafana       running   http://127.0.0.1:3000/"
        eventually(lambda: running in up.output() or not up.running, within=60, what=running)
        assert up.running, up.output()
        assert links(place / "run/up/rendered") == {"http://127.0.0.1:3000"}
        assert up.stop(grace=60) == 0


def links(rendered: Path) -> set[str]:
    """What the links of all alerts begin with."""
    files = [*rendered.glob("alerts/*.yml"), *rendered.glob("loki-rules/*/*.yml")]
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    found = [rule["annotations"]["dashboard_url"] for group in groups for rule in group["rules"]]
    assert len(found) > 40
    return {link.partition("/d/netvane-")[0] for link in found}
