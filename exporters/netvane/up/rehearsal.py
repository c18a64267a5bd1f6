"""Why a receiver refuses: Alertmanager tells that to nobody but its log, so the same is tried again from here."""

import json
import smtplib
import ssl
from urllib.parse import urlsplit

from netvane.common.config import read_secret
from netvane.up.alertmanager_client import basic_auth
from netvane.up.http_call import CallError, call, reason
from netvane.up.settings import Heartbeat, Mail, Webhook

TIMEOUT_SECONDS = 10.0
_LOCAL = ("localhost", "127.0.0.1", "::1")


def mail_refusal(mail: Mail) -> str | None:
    """Why `mail` cannot be sent; None if the server would take it. Everything but the message itself is said.

    Alertmanager's ways: TLS from the first byte on port 465, else STARTTLS only where it is required, and a log-in only
    where the server offers one. But a rehearsal tells no password to another machine without TLS. Raises ConfigError
    for the password.
    """
    host, _, port = mail.smarthost.rpartition(":")
    host = host.strip("[]")
    try:
        with _connect(host, int(port), mail) as smtp:
            smtp.ehlo()
            if mail.require_tls and not mail.implicit_tls:
                if not smtp.has_extn("starttls"):
                    return "the server does not offer STARTTLS, but require_tls is true"
                smtp.starttls(context=ssl.create_default_context())
                smtp.ehlo()
            if mail.username is not None and mail.password_file is not None and smtp.has_extn("auth"):
                if not (mail.implicit_tls or mail.require_tls or host in _LOCAL):
                    return "a password is not sent without TLS: set require_tls to true"
                smtp.login(mail.username, read_secret(mail.password_file))
            for code, answer in (smtp.mail(mail.sender), *(smtp.rcpt(address) for address in mail.to)):
                if code >= 400:
                    return f"{code} {answer.decode(errors='replace')}"
            smtp.rset()
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
    except (OSError, smtplib.SMTPException) as error:
        return reason(error)
    return None


def _connect(host: str, port: int, mail: Mail) -> smtplib.SMTP:
    if mail.implicit_tls:
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, port, mail.hello, timeout=TIMEOUT_SECONDS, context=context)
    return smtplib.SMTP(host, port, mail.hello, timeout=TIMEOUT_SECONDS)


def hook_refusal(hook: Webhook | Heartbeat) -> str | None:
    """Why `hook` refuses a message without alerts; None if it takes it. Raises ConfigError for a secret."""
    headers = {"Content-Type": "application/json"}
    if isinstance(hook, Webhook) and hook.username is not None and hook.password_file is not None:
        headers |= basic_auth(hook.username, read_secret(hook.password_file))
    message = {"version": "4", "status": "firing", "receiver": "netvane test-alert", "alerts": []}
    try:
        call(hook.secret_url(), json.dumps(message).encode(), headers, TIMEOUT_SECONDS)
    except CallError as error:
        return str(error)
    return None


def without_secrets(url: str) -> str:
    """Scheme, host and port: path, query and user may be secret."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
