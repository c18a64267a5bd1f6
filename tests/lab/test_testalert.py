"""`netvane test-alert` against a real Alertmanager, a real webhook receiver and a real SMTP server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope

from netvane.common.settings import load
from netvane.up.rehearsal import mail_refusal
from netvane.up.settings import Mail, Notify
from netvane.up.testalert_command import main
from tests.lab.alertmanager import HOST, URL, AlertmanagerMachine, alertmanager_machine
from tests.lab.certificate import make_certificate
from tests.lab.sinks import SmtpSink, WebhookSink
from tests.lab.wait import eventually

pytestmark = pytest.mark.lab

MAIL = {"to": ["me@example.org"], "sender": "vane@example.org", "smarthost": f"{HOST}:587", "require_tls": False}


def run(machine: AlertmanagerMachine, *flags: str) -> int:
    """`netvane test-alert` on that machine; its exit code."""
    return machine.namespace.call(lambda: main(["--config.file", str(machine.config), *flags]))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[AlertmanagerMachine]:
    with alertmanager_machine(tmp_path) as machine:
        yield machine


@pytest.fixture
def webhook(machine: AlertmanagerMachine) -> Iterator[WebhookSink]:
    with WebhookSink(machine.namespace, HOST) as sink:
        yield sink


def test_every_receiver_gets_one_message_and_no_second(
    machine: AlertmanagerMachine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    with SmtpSink(machine.namespace, HOST) as smtp, WebhookSink(machine.namespace, HOST, 9098) as beats:
        mail_to_two = {**MAIL, "to": ["me@example.org", "you@example.org"]}
        machine.configure({"mail": mail_to_two, "webhook": {"url": webhook.url}, "heartbeat": {"url": beats.url}})
        machine.start()
        assert run(machine) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"mail (me@example.org, you@example.org through {HOST}:587): accepted",
            f"webhook (http://{HOST}:9099): accepted",
            f"heartbeat (http://{HOST}:9098): accepted",
        ]
        (mail,) = smtp.mails
        assert mail.subject == "[cabin] Netvane's test alert for mail"
        assert mail.recipients == ("me@example.org", "you@example.org")
        assert "Nothing is wrong" in mail.text
        assert [message["receiver"] for message in webhook.messages] == ["test-webhook"]
        assert [message["receiver"] for message in beats.messages] == ["test-heartbeat"]
        # The end of each test passes through Alertmanager ten seconds later, and makes no message.
        eventually(lambda: machine.begun("email") >= 2 and machine.begun("webhook") >= 4, within=60, what="the ends")
        assert (len(smtp.mails), len(webhook.messages), len(beats.messages)) == (1, 1, 1)


def test_starttls_and_password_from_a_file(
    machine: AlertmanagerMachine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
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
        assert run(machine) == 0, capsys.readouterr().out
        assert len(smtp.mails) == 1
        users["vane"] = "changed"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
        capsys.readouterr()
        assert run(machine) == 1
        assert f"mail (me@example.org through {HOST}:587): refused: 535 5.7.8" in capsys.readouterr().out
        assert len(smtp.mails) == 1


def test_tls_from_the_first_byte_on_port_465(
    machine: AlertmanagerMachine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, f"IP:{HOST}")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    got: list[bytes] = []

    class Handler:
        async def handle_DATA(self, _server: SMTP, _session: object, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
            got.append(envelope.original_content or b"")
            return "250 recorded"

    server = Controller(Handler(), HOST, 465, ssl_context=certificate.server_context())
    machine.namespace.call(server.start)  # its thread is born in the namespace, and stays there
    try:
        machine.configure({"mail": {**MAIL, "smarthost": f"{HOST}:465", "require_tls": True}})
        machine.start(env={"SSL_CERT_FILE": str(certificate.certificate)})
        assert run(machine) == 0, capsys.readouterr().out
        assert len(got) == 1
        # And the rehearsal takes the same way.
        mail = load(machine.config).section("notify", Notify).mail
        assert mail is not None
        assert machine.namespace.call(lambda: mail_refusal(mail)) is None
    finally:
        server.stop()


def test_an_untrusted_certificate_is_named_as_the_reason(
    machine: AlertmanagerMachine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate = make_certificate(tmp_path, f"IP:{HOST}")
    with SmtpSink(machine.namespace, HOST, certificate=certificate):
        machine.configure({"mail": {**MAIL, "require_tls": True}})
        machine.start()
        assert run(machine) == 1
    assert "refused: self-signed certificate" in capsys.readouterr().out.replace("self signed", "self-signed")


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # aiosmtpd is right: that is the test
def test_what_the_rehearsal_says_of_a_mail_server(machine: AlertmanagerMachine, tmp_path: Path) -> None:
    elsewhere = "198.51.100.25"
    machine.namespace.ip(f"addr add {elsewhere}/32 dev lo")
    password = tmp_path / "mail.password"
    password.write_text("secret")

    class Choosy:
        async def handle_RCPT(  # noqa: N802 - aiosmtpd's
            self, _server: SMTP, _session: object, envelope: Envelope, address: str, _options: list[str]
        ) -> str:
            envelope.rcpt_tos.append(address)
            return "250 fine" if address.startswith("me@") else "550 5.1.1 nobody of that name"

    def refusal(**settings: Any) -> str | None:
        mail = Mail(**{**MAIL, "to": ("me@example.org",), **settings})
        return machine.namespace.call(lambda: mail_refusal(mail))

    choosy = Controller(Choosy(), HOST, 587)
    machine.namespace.call(choosy.start)
    try:
        assert refusal() is None
        assert refusal(to=("me@example.org", "you@example.org")) == "550 5.1.1 nobody of that name"
        assert refusal(require_tls=True) == "the server does not offer STARTTLS, but require_tls is true"
    finally:
        choosy.stop()
    with SmtpSink(machine.namespace, elsewhere, users={"vane": "secret"}) as smtp:
        login = {"smarthost": f"{elsewhere}:587", "username": "vane", "password_file": password}
        assert refusal(**login) == "a password is not sent without TLS: set require_tls to true"
        assert smtp.mails == []
    assert refusal(smarthost=f"{elsewhere}:9") == "Connection refused"


def test_refusals_say_why_and_the_others_are_still_tried(
    machine: AlertmanagerMachine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.behaviour = "fail"
    with WebhookSink(machine.namespace, HOST, 9098) as beats:
        machine.configure({"mail": MAIL, "webhook": {"url": webhook.url}, "heartbeat": {"url": beats.url}})
        machine.start()
        assert run(machine) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"mail (me@example.org through {HOST}:587): refused: Connection refused",
        f"webhook (http://{HOST}:9099): refused: HTTP 500 Internal Server Error",
        f"heartbeat (http://{HOST}:9098): accepted",
    ]


def test_a_receiver_that_hangs(
    machine: AlertmanagerMachine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.behaviour = "hang"
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    assert run(machine, "--timeout", "2s") == 1
    assert capsys.readouterr().out == f"webhook (http://{HOST}:9099): not accepted within 2 s: no answer in time\n"


def test_an_outage_that_is_going_on_does_not_hold_it_back(
    machine: AlertmanagerMachine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    machine.fire("RouterDown", severity="page", segment="router")
    webhook.wait_for("RouterDown", within=30)
    assert run(machine) == 0, capsys.readouterr().out
    assert [message["receiver"] for message in webhook.messages] == ["owner", "test-webhook"]


def test_a_silence_is_named_as_the_reason(
    machine: AlertmanagerMachine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.configure({"webhook": {"url": webhook.url}})
    machine.start()
    machine.namespace.run(f"amtool --alertmanager.url={URL} silence add --comment=x site=cabin")
    assert run(machine, "--timeout", "2s") == 1
    assert capsys.readouterr().out == f"webhook (http://{HOST}:9099): not sent: a silence in Alertmanager covers it\n"
    assert webhook.messages == []


def test_an_alertmanager_that_was_not_reloaded(
    machine: AlertmanagerMachine, webhook: WebhookSink, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.configure({})
    machine.start()
    machine.configure({"webhook": {"url": webhook.url}})
    assert run(machine) == 1
    assert "unknown to Alertmanager" in capsys.readouterr().out


def test_no_alertmanager_is_one_clear_line(machine: AlertmanagerMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.configure({"webhook": {"url": "http://127.0.0.1:9099/"}})
    assert run(machine, "--alertmanager", f"http://{HOST}:9095/") == 1
    assert capsys.readouterr().err == f"netvane test-alert: Alertmanager at http://{HOST}:9095: Connection refused\n"


def test_no_receiver_is_said(machine: AlertmanagerMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.configure({})
    assert run(machine) == 1
    assert capsys.readouterr().out.startswith("no receiver is configured")
