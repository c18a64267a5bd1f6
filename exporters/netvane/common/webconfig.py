"""The web configuration file: TLS and basic-auth users in the Prometheus exporter-toolkit's format.

Source: prometheus/exporter-toolkit, docs/web-configuration.md. Relative paths are relative to the file itself.
"""

import hashlib
import hmac
import secrets
import ssl
from pathlib import Path
from typing import Literal

import bcrypt
import msgspec

from netvane.common.config import ConfigError, Document, Section

TlsVersion = Literal["TLS12", "TLS13"]
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class TlsServer(Section, frozen=True):
    cert_file: Path
    key_file: Path
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = "NoClientCert"
    client_ca_file: Path | None = None
    min_version: TlsVersion = "TLS12"
    max_version: TlsVersion = "TLS13"

    def problem(self) -> tuple[str, str] | None:
        if self.client_auth_type != "NoClientCert" and self.client_ca_file is None:
            return "client_ca_file", f"is needed for client_auth_type {self.client_auth_type}"
        return None


class HttpServer(Section, frozen=True):
    http2: bool = False  # accepted for the format's sake; answers are HTTP/1.1 either way
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class WebConfig:
    """What `--web.config.file` sets; without a file, plain HTTP for everybody who can reach the address."""

    def __init__(self, context: ssl.SSLContext | None, headers: dict[str, str], users: dict[str, str]) -> None:
        self.ssl_context = context
        self.headers = headers
        self._users = users
        # bcrypt takes tens of milliseconds by design (seconds on a Pi 1): what was found right once is remembered
        # under a key of this process.
        self._cache_key = secrets.token_bytes(32)
        self._right: set[bytes] = set()
        # An unknown user costs as much as a known one, so that time does not tell names.
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(4 if not users else _cost(users)))

    @property
    def needs_password(self) -> bool:
        return bool(self._users)

    def is_right(self, user: str, password: str) -> bool:
        """Whether `user` may come in with `password`."""
        stored = self._users.get(user, "").encode()
        proof = hmac.digest(self._cache_key, b"\0".join((user.encode(), password.encode(), stored)), hashlib.sha256)
        if proof in self._right:
            return True
        try:
            right = bcrypt.checkpw(password.encode(), stored or self._nobody) and bool(stored)
        except ValueError:  # a password over 72 bytes or with a zero byte, which bcrypt refuses
            return False
        if right and len(self._right) < 100:
            self._right.add(proof)
        return right


def load(file: Path | None) -> WebConfig:
    """Read `file`. Raises ConfigError for a mistake in it or in the files it names."""
    if file is None:
        return WebConfig(None, {}, {})
    document = Document.load(file, frozenset({"tls_server_config", "http_server_config", "basic_auth_users"}))
    context = None
    if "tls_server_config" in document:
        context = _ssl_context(document.section("tls_server_config", TlsServer), file)
    users = document.texts("basic_auth_users")
    for user, stored in users.items():
        try:
            bcrypt.checkpw(b"", stored.encode())
        except ValueError as error:
            raise ConfigError("is not a bcrypt hash", file=file, key=f"basic_auth_users.{user}") from error
    return WebConfig(context, document.section("http_server_config", HttpServer).headers, users)


def _ssl_context(tls: TlsServer, file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.minimum_version = _VERSIONS[tls.min_version]
        context.maximum_version = _VERSIONS[tls.max_version]
        context.load_cert_chain(file.parent / tls.cert_file, file.parent / tls.key_file)
        if tls.client_ca_file is not None:
            context.load_verify_locations(file.parent / tls.client_ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"cannot be used: {error}", file=file, key="tls_server_config") from error
    context.verify_mode = _CLIENT_AUTH[tls.client_auth_type]
    return context


def _cost(users: dict[str, str]) -> int:
    """The bcrypt cost of the first user's hash: ``$2b$COST$…``."""
    return min(int(next(iter(users.values())).split("$")[2]), 14)
