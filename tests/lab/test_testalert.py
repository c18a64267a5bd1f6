"""`netvane test-alert` against a real Alertmanager, a real webhook receiver and a real SMTP server."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from netvane.common.settings import load
from netvane.up.alertmanager_client import Alertmanager
from netvane.up.render import render
from netvane.up.testalert_command import main
from tests.lab.certificate import make_certificate
from tests.lab.netns import Namespace
from tests.lab.rack import Rack
from tests.lab.sinks import SmtpSink, WebhookSink
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

HOST = "127.0.0.1"
URL = f"http://{HOST}:9093"
MAIL = {"to": ["me@example.org"], "sender": "vane@example.org", "smarthost": f"{HOST}:587", "require_tls": False}


@dataclass
class Machine:
    """A namespace in which Alertmanager runs as rendered."""

    namespace: Namespace
    directory: Path

    def configure(self, notify: Mapping[str, Any]) -> None:
        """Write and render netvane.yml; JSON is YAML."""
        self.config.write_text(json.dumps({"site": "cabin", "notify": notify}))
        render(load(self.config), self.directory)

    def start(self, env: Mapping[str, str] | None = None) -> None:
        process = self.namespace.start(
            [
                *("prometheus-alertmanager", "--cluster.listen-address=", f"--web.listen-address={HOST}:9093"),
                *("--config.file", str(self.directory / "alertmanager.yml")),
                *("--storage.path", str(self.directory / "data")),
            ],
            env=env,
        )

        def is_ready() -> bool:
            assert process.running, process.output()
            try:
                return self.namespace.http(URL + "/-/ready").status == 200
            except OSError:
                return False

        eventually(is_ready, within=20, what="Alertmanager")

    @property
    def config(self) -> Path:
        return self.directory / "netvane.yml"

    def test_alert(self, *flags: str) -> int:
        return self.namespace.call(lambda: main(["--config.file", str(self.config), *flags]))

    def begun(self, integration: str) -> float:
        """Notifications that Alertmanager has begun, those about nothing but ends included."""
        return self.namespace.call(lambda: Alertmanager(URL).sent(integration)).notifications


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Rack() as rack:
        (namespace,) = rack.namespaces("am")
        yield Machine(namespace, tmp_path)


@pytest.fixture
def webhook(machine: Machine) -> Iterator[WebhookSink]:
    with WebhookSink(machine.namespace, HOST) as sink:
        yield sink


def test_every_receiver_gets_one_message_and_no_second(
    machine: Machine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    with SmtpSink(machine.namespace, HOST) as smtp, WebhookSink(machine.namespace, HOST, 9098) as beats:
        machine.configure({"mail": MAIL, "webhook": {"url": webhook.url}, "heartbeat": {"url": beats.url}})
        machine.start()
        assert machine.test_alert() == 0
        assert capsys.readouterr().out.splitlines() == [
            f"mail (me@example.org through {HOST}:587): accepted",
            f"webhook (http://{HOST}:9099): accepted",
            f"heartbeat (http://{HOST}:9098): accepted",
        ]
        (mail,) = smtp.mails
        assert mail.subject == "[cabin] Netvane's test alert for mail"
        assert mail.recipients == ("me@example.org",)
        assert "Nothing is wrong" in mail.text
        assert [message["receiver"] for message in webhook.messages] == ["test-webhook"]
        assert [message["receiver"] for message in beats.messages] == ["test-heartbeat"]
        # The end of each test passes through Alertmanager ten seconds later, and makes no message.
        eventually(lambda: machine.begun("email") >= 2 and machine.begun("webhook") >= 4, within=60, what="the ends")
        assert (len(smtp.mails), len(webhook.messages), len(beats.messages)) == (1, 1, 1)


def test_starttls_and_password_from_a_file(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What all mail servers ask for AUTH LOGIN, and Alertmanager waits for; aiosmtpd asks in words of its own.
    monkeypatch.setattr(SMTP, "AuthLoginUsernameChallenge", "Username:")
    monkeypatch.setattr(SMTP, "AuthLoginPasswordChallenge", "Password:")
    certificate = make_certificate(tmp_path, f"IP:{HOST}")
    password = tmp_path / "mail.password"
    password.write_text("right\n")
    users = {"vane": "right"}
    mail = {**MAIL, "require_tls": True, "username": "vane", "password_file": str(password)}
    with SmtpSink(machine.namespace, HOST, certificate=certificate, users=users) as smtp:
        machine.configure({"mail": mail})
        machine.start(env={"SSL_CERT_FILE": str(certificate.certificate)})
        assert machine.test_alert() == 0, capsys.readouterr().out
        assert len(smtp.mails) == 1
        users["vane"] = "changed"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
        capsys.readouterr()
        assert machine.test_alert() == 1
        assert f"mail (me@example.org through {HOST}:587): refused: 535 5.7.8" in capsys.readouterr().out
        assert len(smtp.mails) == 1


def test_an_untrusted_certificate_is_named_as_the_reason(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate = make_certificate(tmp_path, f"IP:{HOST}")
    with SmtpSink(machine.namespace, HOST, certificate=certificate):
        machine.configure({"mail": {**MAIL, "require_tls": True}})
        machine.start()
        assert machine.test_alert() == 1
    assert "refused: self-signed certificate" in capsys.readouterr().out.replace("self signed", "self-signed")


def test_refusals_say_why_and_the_others_are_still_tried(
    machine: Machine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.behaviour = "fail"
    with WebhookSink(machine.namespace, HOST, 9098) as beats:
        machine.configure({"mail": MAIL, "webhook": {"url": webhook.url}, "heartbeat": {"url": beats.url}})
        machine.start()
        assert machine.test_alert() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"mail (me@example.org through {HOST}:587): refused: Connection refused",
        f"webhook (http://{HOST}:9099): refused: HTTP 500 Internal Server Error",
        f"heartbeat (http://{HOST}:9098): accepted",
    ]


def test_a_receiver_that_hangs(machine: Machine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]) -> None:
    webhook.behaviour = "hang"
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    assert machine.test_alert("--timeout", "2s") == 1
    assert capsys.readouterr().out == f"webhook (http://{HOST}:9099): not accepted within 2 s: no answer in time\n"


def test_an_outage_that_is_going_on_does_not_hold_it_back(
    machine: Machine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    alert = {"alertname": "RouterDown", "site": "cabin", "segment": "router", "severity": "page"}
    now = time.time_ns()
    machine.namespace.call(lambda: Alertmanager(URL).post(alert, {}, now, now + 3600 * 10**9))
    webhook.wait_for("RouterDown", within=30)
    assert machine.test_alert() == 0, capsys.readouterr().out
    assert [message["receiver"] for message in webhook.messages] == ["owner", "test-webhook"]


def test_a_silence_is_named_as_the_reason(
    machine: Machine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    machine.namespace.run(f"amtool --alertmanager.url={URL} silence add --comment=x site=cabin")
    assert machine.test_alert("--timeout", "2s") == 1
    assert capsys.readouterr().out == f"webhook (http://{HOST}:9099): not sent: a silence in Alertmanager covers it\n"
    assert webhook.messages == []


def test_an_alertmanager_that_was_not_reloaded(
    machine: Machine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.configure({})
    machine.start()
    machine.configure({"webhook": {"url": webhook.url}})
    assert machine.test_alert() == 1
    assert "unknown to Alertmanager" in capsys.readouterr().out


def test_no_alertmanager_is_one_clear_line(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.configure({"webhook": {"url": "http://127.0.0.1:9099/"}})
    assert machine.test_alert("--alertmanager", f"http://{HOST}:9095/") == 1
    assert capsys.readouterr().err == f"netvane test-alert: Alertmanager at http://{HOST}:9095: Connection refused\n"


def test_no_receiver_is_said(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.configure({})
    assert machine.test_alert() == 1
    assert capsys.readouterr().out.startswith("no receiver is configured")
