"""The endpoint of an exporter: pages, TLS, users, and clients that misbehave. Real sockets on loopback."""

import base64
import contextlib
import http.client
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import pytest
from prometheus_client.core import GaugeMetricFamily

from netvane.common import webconfig
from netvane.common.config import ConfigError
from netvane.common.metrics import GuardedCollectors, Metric, new_registry
from netvane.common.web import MAX_CONNECTIONS, Endpoint, State
from netvane.common.webconfig import WebConfig
from tests.clock import FakeClock

HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()


def broken() -> Iterator[Metric]:
    yield GaugeMetricFamily("netvane_half", "Half a collector.", value=1)
    raise RuntimeError("broken on purpose")


def collectors() -> GuardedCollectors:
    guarded = GuardedCollectors(FakeClock())
    guarded.add("good", lambda: [GaugeMetricFamily("netvane_good", "Fine.", value=42)])
    guarded.add("broken", broken)
    return guarded


@pytest.fixture
def serve() -> Iterator[Callable[[WebConfig], Endpoint]]:
    endpoints: list[Endpoint] = []

    def start(config: WebConfig) -> Endpoint:
        state = State(None, None, ("a part is <away>",))
        endpoints.append(Endpoint("test", ("127.0.0.1", 0), config, new_registry(collectors()), lambda: state))
        return endpoints[-1]

    yield start
    for endpoint in endpoints:
        endpoint.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", "req", "-x509", *key, *subject], cwd=directory, check=True, capture_output=True)
    return directory


def get(endpoint: Endpoint, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*endpoint.address, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_pages(serve: Callable[[WebConfig], Endpoint]) -> None:
    endpoint = serve(webconfig.load(None))
    assert get(endpoint, "/-/healthy") == (200, "OK\n")
    assert get(endpoint, "/-/ready?x=1") == (200, "OK\n")
    assert get(endpoint, "/nothing")[0] == 404
    status, page = get(endpoint, "/")
    assert status == 200
    assert "a part is &lt;away&gt;" in page
    assert 'href="/metrics"' in page


def test_a_broken_collector_costs_its_own_families_only(serve: Callable[[WebConfig], Endpoint]) -> None:
    status, text = get(serve(webconfig.load(None)), "/metrics")
    assert status == 200
    for line in (
        "netvane_good 42.0",
        'netvane_collector_success{collector="good"} 1.0',
        'netvane_collector_success{collector="broken"} 0.0',
        'netvane_collector_last_success_timestamp_seconds{collector="broken"} 0.0',
        'netvane_collector_last_success_timestamp_seconds{collector="good"} 1767225600.0',
    ):
        assert line in text.splitlines()
    assert "netvane_half" not in text
    assert "netvane_build_info{" in text


def test_users(serve: Callable[[WebConfig], Endpoint], tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users:\n  anna: {HASH}\n")
    endpoint = serve(webconfig.load(file))

    def status(user: str, password: str) -> int:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return get(endpoint, "/metrics", {"Authorization": f"Basic {token}"})[0]

    assert get(endpoint, "/metrics")[0] == 401
    assert get(endpoint, "/metrics", {"Authorization": "Basic !!"})[0] == 401
    assert get(endpoint, "/metrics", {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()})[0] == 401
    assert [status("anna", "right"), status("anna", "right"), status("anna", "wrong")] == [200, 200, 401]
    assert [status("berta", "right"), status("anna", "x" * 100), status("anna", "")] == [401, 401, 401]


def test_tls(serve: Callable[[WebConfig], Endpoint], certificate: Path) -> None:
    file = certificate / "web.yml"
    file.write_text("tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS13}\n")
    endpoint = serve(webconfig.load(file))
    silent = socket.create_connection(endpoint.address)  # never shakes hands; nobody else waits for it
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    connection = http.client.HTTPSConnection(*endpoint.address, timeout=5, context=context)
    connection.request("GET", "/-/healthy")
    assert connection.getresponse().read() == b"OK\n"
    connection.close()
    silent.close()
    with socket.create_connection(endpoint.address, timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert not plain.recv(100).startswith(b"HTTP/1.1 200")


def test_headers_from_the_file(serve: Callable[[WebConfig], Endpoint], tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    endpoint = serve(webconfig.load(file))
    connection = http.client.HTTPConnection(*endpoint.address, timeout=5)
    connection.request("HEAD", "/")
    answer = connection.getresponse()
    assert (answer.headers["X-Frame-Options"], answer.read()) == ("deny", b"")
    connection.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tls_server_config: {cert_file: a}", "web.yml:1: tls_server_config.key_file: missing"),
        ("tls_server_config: {cert_file: a, key_file: b}", "web.yml: tls_server_config: cannot be used"),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: SSL3}", "web.yml:1: tls_server_config.min_ver"),
        ("basic_auth_users: {anna: secret}", "web.yml: basic_auth_users.anna: is not a bcrypt hash"),
        ("users: {}", "web.yml:1: users: unknown key"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "web.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        webconfig.load(file)
    assert told in str(caught.value)


def test_more_connections_than_there_are_places(serve: Callable[[WebConfig], Endpoint]) -> None:
    endpoint = serve(webconfig.load(None))
    idle = [socket.create_connection(endpoint.address, timeout=5) for _ in range(MAX_CONNECTIONS)]
    for connection in idle:  # each has its place for sure once it has been answered
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    with socket.create_connection(endpoint.address, timeout=5) as refused:
        assert refused.recv(100) == b""
    for connection in idle:
        connection.close()


@pytest.mark.parametrize("rubbish", [b"\0\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000])
def test_rubbish_is_refused_and_the_rest_goes_on(serve: Callable[[WebConfig], Endpoint], rubbish: bytes) -> None:
    endpoint = serve(webconfig.load(None))
    with socket.create_connection(endpoint.address, timeout=5) as connection:
        connection.sendall(rubbish)
        connection.shutdown(socket.SHUT_WR)
        assert b"200 OK" not in connection.recv(1000)
    assert get(endpoint, "/-/healthy")[0] == 200
