"""Packages as the vendor of Loki and Grafana would build them, with programs that do no more than answer."""

import subprocess
from pathlib import Path

LOKI = """#!/usr/bin/python3
import http.server, sys
if "-version" in sys.argv:
    print("loki, version 3.5.0 (a test)")
    sys.exit()
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()
values = dict(argument.split("=", 1) for argument in sys.argv[1:])
open(values["-config.file"]).read()
address = values["-server.http-listen-address"], int(values["-server.http-listen-port"])
http.server.HTTPServer(address, Ready).serve_forever()
"""
GRAFANA = """#!/usr/bin/python3
import http.server, os, ssl
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
e = os.environ
password = e["GF_SECURITY_ADMIN_PASSWORD"].removeprefix("$__file{").removesuffix("}")
assert len(open(password).read()) >= 20
open(e["GF_PATHS_DATA"] + "/grafana.db", "w").close()
server = http.server.HTTPServer((e["GF_SERVER_HTTP_ADDR"], int(e["GF_SERVER_HTTP_PORT"])), Health)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(e["GF_SERVER_CERT_FILE"], e["GF_SERVER_CERT_KEY"])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
SERVICE = """[Service]
ExecStart=/bin/sh -c 'touch /started-by-its-package; sleep infinity'
[Install]
WantedBy=multi-user.target
"""


def loki(directory: Path, version: str = "3.5.0") -> Path:
    return _package(directory, "loki", version, {"usr/bin/loki": LOKI}, "loki.service", "")


def grafana(directory: Path) -> Path:
    user = "useradd --system --user-group grafana\n"
    return _package(
        directory, "grafana", "12.1.0", {"usr/share/grafana/bin/grafana": GRAFANA}, "grafana-server.service", user
    )


def openssl(directory: Path) -> Path:
    """Newer than Debian's, and not what anybody asked for."""
    return _package(directory, "openssl", "99.0", {}, "openssl.service", "")


def _package(directory: Path, name: str, version: str, programs: dict[str, str], service: str, user: str) -> Path:
    """A .deb whose installation enables and starts `service`, as the vendor's does."""
    root = directory / f"{name}-{version}"
    start = f"systemctl enable {service}\ninvoke-rc.d {service.removesuffix('.service')} start\n"
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
        "Description: for a test\n"
    )
    files = {
        **{path: (text, 0o755) for path, text in programs.items()},
        f"usr/lib/systemd/system/{service}": (SERVICE, 0o644),
        "DEBIAN/postinst": (f"#!/bin/sh\n{user}{start}", 0o755),
        "DEBIAN/control": (control, 0o644),
    }
    for path, (text, mode) in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
    package = directory / f"{name}-{version}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", root, package], check=True, capture_output=True)
    return package
