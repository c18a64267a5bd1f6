"""An apt repository as the vendor of Loki and Grafana has one: signed, with more in it than is wanted from it."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.lab.netns import Namespace

PORT = 8480


def key(directory: Path, name: str) -> Path:
    """A new signing key; its public half, in the file `name`.asc. The secret one is in `directory`/`name`."""
    secret = directory / name
    secret.mkdir(mode=0o700)
    _gpg(secret, "--passphrase", "", "--quick-generate-key", f"{name} <{name}@example.org>", "rsa2048", "sign", "never")
    public = directory / f"{name}.asc"
    public.write_text(_gpg(secret, "--armor", "--export"))
    return public


def repository(directory: Path, packages: Sequence[Path], signer: Path) -> Path:
    """Its root: suite `stable`, component `main`, signed by what `key` returned; deb822 as in apt-ftparchive(1)."""
    root = directory / "repository"
    pool, lists = root / "pool", root / "dists/stable/main/binary-amd64"
    pool.mkdir(parents=True)
    lists.mkdir(parents=True)
    for package in packages:
        (pool / package.name).write_bytes(package.read_bytes())
    (lists / "Packages").write_text(_output(root, "apt-ftparchive", "packages", "pool"))
    fields = {"Origin": "Vendor", "Suite": "stable", "Components": "main", "Architectures": "amd64"}
    flags = [word for field, value in fields.items() for word in ("-o", f"APT::FTPArchive::Release::{field}={value}")]
    release = root / "dists/stable/Release"
    release.write_text(_output(root, "apt-ftparchive", *flags, "release", "dists/stable"))
    _gpg(signer.with_suffix(""), "--clearsign", "--output", str(release.with_name("InRelease")), str(release))
    return root


@contextmanager
def served(namespace: Namespace, root: Path, address: str) -> Iterator[None]:
    """While inside, the repository is at ``http://{address}:{PORT}`` in `namespace`."""
    server = ThreadingHTTPServer((address, PORT), partial(_Quiet, directory=root), bind_and_activate=False)
    server.socket.close()
    server.socket = namespace.listen(address, PORT)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nothing: apt says what went wrong."""


def _gpg(directory: Path, *arguments: str) -> str:
    home = ("--homedir", str(directory))
    try:
        return _output(directory, "gpg", *home, "--batch", "--quiet", *arguments)
    finally:
        _output(directory, "gpgconf", *home, "--kill", "all")  # the agent would stay for ever


def _output(directory: Path, *command: str) -> str:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True, timeout=60).stdout
