"""A certificate of the lab's own, for servers that speak TLS."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from tests.lab.processes import run


@dataclass(frozen=True, slots=True)
class Certificate:
    """`certificate` is its own issuer: give that file to clients as the authority to trust."""

    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_certificate(directory: Path, *names: str) -> Certificate:
    """Valid for two days, for `names` as openssl-req(1) writes a subjectAltName: ``DNS:smtp.example``."""
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=netvane lab", "-addext", f"subjectAltName={','.join(names)}"]
    run([*command, "-out", str(made.certificate), "-keyout", str(made.key)])
    return made
