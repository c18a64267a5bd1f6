"""Where alerts arrive: a real webhook receiver and a real SMTP server.

Both run in the test's own process, on sockets that were opened inside a namespace.
"""

import asyncio
import email
import email.policy
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Literal, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.lab.addresses import SMTP4
from tests.lab.certificate import Certificate
from tests.lab.httpd import Httpd, QuietHandler
from tests.lab.netns import Namespace
from tests.lab.wait import eventually

WEBHOOK_PORT = 9099
SMTP_PORT = 587

Behaviour = Literal["ok", "fail", "hang"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of one webhook message (Alertmanager's webhook format, version 4)."""

    arrived_ns: int
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: str
    ends_at: str

    @property
    def name(self) -> str:
        return self.labels["alertname"]


class WebhookSink:
    """Records what is POSTed; `behaviour` makes it answer 500, or not at all, from the next request on."""

    def __init__(self, namespace: Namespace, address: str, port: int = WEBHOOK_PORT) -> None:
        self.url = f"http://{address}:{port}/"
        self.behaviour: Behaviour = "ok"
        self.messages: list[dict[str, Any]] = []
        self.refused = 0
        self._alerts: list[Alert] = []
        self._let_go = threading.Event()
        self._httpd = Httpd(namespace.listen(address, port), self._handler())

    def __enter__(self) -> Self:
        self._httpd.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._let_go.set()
        self._httpd.close()

    def alerts(self, name: str | None = None, status: str | None = None) -> list[Alert]:
        """In the order of arrival; an alert that was sent twice is here twice."""
        return [alert for alert in list(self._alerts) if name in (None, alert.name) and status in (None, alert.status)]

    def wait_for(self, name: str, status: str = "firing", *, within: float) -> Alert:
        """The first such alert, also one that came before. AssertionError when none comes in time."""
        return eventually(lambda: self.alerts(name, status), within=within, what=f"{name} {status} at the webhook")[0]

    def _receive(self, body: bytes) -> int:
        behaviour = self.behaviour
        if behaviour == "hang":
            self._let_go.wait()
        if behaviour != "ok":
            self.refused += 1
            return 500
        message = json.loads(body)
        self.messages.append(message)
        now = time.time_ns()
        for alert in message.get("alerts", []):
            fields = (alert["status"], alert["labels"], alert["annotations"], alert["startsAt"], alert["endsAt"])
            self._alerts.append(Alert(now, *fields))
        return 200

    def _handler(self) -> type[QuietHandler]:
        receive = self._receive

        class Handler(QuietHandler):
            def do_POST(self) -> None:  # noqa: N802 - http.server's name
                status = receive(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        return Handler


@dataclass(frozen=True, slots=True)
class Mail:
    arrived_ns: int
    sender: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    """All text parts, decoded, one after the other."""


class SmtpSink:
    """Records mail. A certificate makes it offer STARTTLS; users make it want a log-in (after STARTTLS, if offered)."""

    def __init__(
        self,
        namespace: Namespace,
        address: str = SMTP4,
        port: int = SMTP_PORT,
        *,
        certificate: Certificate | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.address, self.port = address, port
        self.mails: list[Mail] = []
        self._listener = namespace.listen(address, port)
        self._certificate, self._users = certificate, users
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        serving = self._loop.create_server(self._protocol, sock=self._listener)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_for(self, *words: str, within: float) -> Mail:
        """The first mail whose subject has all `words`, also one that came before. AssertionError when none does."""

        def matching() -> list[Mail]:
            return [mail for mail in list(self.mails) if all(word in mail.subject for word in words)]

        return eventually(matching, within=within, what=f"a mail about {' '.join(words)}")[0]

    async def _shut_down(self) -> None:
        self._server.close()
        sessions = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    def _protocol(self) -> SMTP:
        return SMTP(
            self,
            hostname="smtp.example",
            ident="netvane lab",
            loop=self._loop,
            tls_context=self._certificate.server_context() if self._certificate else None,
            auth_required=self._users is not None,
            auth_require_tls=self._certificate is not None,
            authenticator=self._authenticate if self._users is not None else None,
        )

    def _authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, login: Any) -> AuthResult:
        known = isinstance(login, LoginPassword) and (self._users or {}).get(login.login.decode()) is not None
        right = known and (self._users or {})[login.login.decode()] == login.password.decode()
        # Not handled: aiosmtpd itself is to tell the client that it failed.
        return AuthResult(success=right, handled=right)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        message = email.message_from_bytes(envelope.original_content, EmailMessage, policy=email.policy.default)
        parts = [part.get_content() for part in message.walk() if part.get_content_maintype() == "text"]
        recipients = tuple(envelope.rcpt_tos)
        self.mails.append(
            Mail(time.time_ns(), envelope.mail_from, recipients, message["Subject"] or "", "\n".join(parts))
        )
        return "250 recorded"
