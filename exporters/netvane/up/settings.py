"""The sections of netvane.yml for what runs around the exporters: `notify`, `alerts` and `up`."""

import re
from pathlib import Path
from typing import Annotated

import msgspec

from netvane.common.config import ConfigError, Duration, Section, Size, read_secret

# Plausible, not RFC 5322: the mail server has the last word. No blanks, commas or quotes, since Alertmanager joins
# addresses with commas.
_MAIL_ADDRESS = re.compile(r"[^@\s<>,;:\"]+@[^@\s<>,;:\"]+")
_URL = re.compile(r"https?://[^/\s]+\S*")
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^:\s/\[\]]*):(\d{1,5})")

Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Mail(Section, frozen=True):
    """Alerts by e-mail through the owner's mail provider."""

    to: tuple[str, ...]
    sender: str
    smarthost: str
    username: str | None = None
    password_file: Path | None = None
    require_tls: bool = True
    hello: str = "localhost"

    @property
    def implicit_tls(self) -> bool:
        """Whether the smarthost speaks TLS from the first byte (RFC 8314), which Alertmanager tells by the port."""
        return self.smarthost.endswith(":465")

    def problem(self) -> tuple[str, str] | None:
        if not self.to:
            return "to", "expected at least one mail address"
        for key, address in (*(("to", address) for address in self.to), ("sender", self.sender)):
            if not _MAIL_ADDRESS.fullmatch(address):
                return key, f"expected a mail address such as me@example.org, got {address!r}"
        if not is_host_port(self.smarthost) or self.smarthost.startswith(":"):
            return "smarthost", f"expected HOST:PORT such as smtp.example.org:587, got {self.smarthost!r}"
        if not re.fullmatch(r"\S+", self.hello):
            return "hello", f"expected a host name, got {self.hello!r}"
        return _credentials_problem(self.username, self.password_file)


class _Hook(Section, frozen=True):
    url: str | None = None
    url_file: Path | None = None

    def secret_url(self) -> str:
        """The URL, which is a secret where it holds a token. Raises ConfigError where its file cannot be read."""
        return self.url or "" if self.url_file is None else read_secret(self.url_file)

    def problem(self) -> tuple[str, str] | None:
        if self.url is not None and self.url_file is not None:
            return "url_file", "expected either url or url_file, not both"
        if self.url_file is not None:
            if problem := _secret_problem("url_file", self.url_file):
                return problem
            if not is_url(self.secret_url()):
                return "url_file", f"expected http://… or https://… in {self.url_file}"  # what stands there is secret
            return None
        if self.url is None or not is_url(self.url):
            return "url", f"expected http://… or https://…, got {'nothing' if self.url is None else repr(self.url)}"
        return None


class Webhook(_Hook, frozen=True):
    """Alerts as JSON by HTTP POST, in Alertmanager's webhook format (version 4)."""

    username: str | None = None
    password_file: Path | None = None

    def problem(self) -> tuple[str, str] | None:
        return super().problem() or _credentials_problem(self.username, self.password_file)


class Heartbeat(_Hook, frozen=True):
    """A service elsewhere that is called at every `interval` and tells the owner when the calls stop."""

    interval: Duration = Duration(300)

    def problem(self) -> tuple[str, str] | None:
        if not 60 <= self.interval <= 86400:
            return "interval", "expected 1m to 1d"
        return super().problem()


class Notify(Section, frozen=True):
    """Who is told; without mail and webhook nobody is, and alerts are only to be seen in Alertmanager."""

    mail: Mail | None = None
    webhook: Webhook | None = None
    heartbeat: Heartbeat | None = None


class Alerts(Section, frozen=True):
    """When an alert speaks. The thresholds reach the rules as ``netvane_threshold{name="…"}``, see `render`."""

    temperature_celsius: float = 75.0
    disk_free_ratio: Ratio = 0.10
    disk_full_within: Duration = Duration(4 * 86400)
    dhcp_pool_used_ratio: Ratio = 0.9
    events_unshipped: Duration = Duration(3600)
    backup_age: Duration = Duration(3 * 86400)
    watched_names_file: Path | None = None
    runbooks_url: str | None = None

    def problem(self) -> tuple[str, str] | None:
        if self.watched_names_file is not None and not self.watched_names_file.is_absolute():
            return "watched_names_file", f"expected an absolute path, got {str(self.watched_names_file)!r}"
        if self.runbooks_url is not None and not is_url(self.runbooks_url):
            return "runbooks_url", f"expected http://… or https://…, got {self.runbooks_url!r}"
        return None


class RemoteWrite(Section, frozen=True):
    """A central store of several sites that takes Prometheus's remote write, or an agent with a queue before it."""

    url: str | None = None
    tenant: str | None = None
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None

    def problem(self) -> tuple[str, str] | None:
        if self.url is None or not is_url(self.url):
            return "url", f"expected http://… or https://…, got {'nothing' if self.url is None else repr(self.url)}"
        if self.tenant is not None and not re.fullmatch(r"[\w.!*'()-]{1,150}", self.tenant, re.ASCII):
            return "tenant", f"expected letters, digits and any of !-_.*'(), got {self.tenant!r}"
        if self.ca_file is not None and not self.ca_file.is_absolute():
            return "ca_file", f"expected an absolute path, got {str(self.ca_file)!r}"
        return _credentials_problem(self.username, self.password_file)


class Up(Section, frozen=True):
    """What `netvane up` and the deployment run around the exporters."""

    prometheus_listen: str = "127.0.0.1:9090"
    alertmanager_listen: str = "127.0.0.1:9093"
    node_exporter_listen: str = "127.0.0.1:9100"
    loki_listen: str = "127.0.0.1:3100"
    grafana_listen: str = "127.0.0.1:3000"
    retention_time: Duration = Duration(400 * 86400)
    retention_size: Size = Size(16_000_000_000)
    remote_write: RemoteWrite | None = None

    def problem(self) -> tuple[str, str] | None:
        for part in ("prometheus", "alertmanager", "node_exporter", "loki", "grafana"):
            key = f"{part}_listen"
            if not is_host_port(getattr(self, key)):
                return key, f"expected HOST:PORT, got {getattr(self, key)!r}"
        if self.retention_time < 86400:
            return "retention_time", "expected at least 1d"
        if self.retention_size < 100_000_000:
            return "retention_size", "expected at least 100MB"
        return None


def is_url(text: str) -> bool:
    """Whether `text` is ``http://…`` or ``https://…``."""
    return _URL.fullmatch(text) is not None


def is_host_port(text: str) -> bool:
    """Whether `text` is ``host:port``, ``[v6]:port`` or ``:port``."""
    match = _HOST_PORT.fullmatch(text)
    return match is not None and 0 < int(match[2]) < 65536


def _credentials_problem(username: str | None, password_file: Path | None) -> tuple[str, str] | None:
    if (username is None) != (password_file is None):
        return ("username" if username is not None else "password_file"), "username and password_file go together"
    return None if password_file is None else _secret_problem("password_file", password_file)


def _secret_problem(key: str, file: Path) -> tuple[str, str] | None:
    if not file.is_absolute():
        return key, f"expected an absolute path, got {str(file)!r}"
    try:
        read_secret(file)
    except ConfigError as error:
        return key, str(error)
    return None
