"""alertmanager.yml: who is told, through what, and how `netvane test-alert` reaches each receiver."""

from pathlib import Path
from typing import Any

import yaml

from netvane.common import assets
from netvane.common.config import read_secret
from netvane.up.prometheus_files import glob_literal
from netvane.up.promunits import prometheus_duration
from netvane.up.rendered_files import File, yaml_file
from netvane.up.settings import Mail, Notify, Webhook

TEST_LABEL = "netvane_test"


def receivers_of(notify: Notify) -> tuple[str, ...]:
    """The configured ones of mail, webhook and heartbeat."""
    return tuple(name for name in ("mail", "webhook", "heartbeat") if getattr(notify, name) is not None)


def test_receiver(name: str) -> str:
    """What alertmanager.yml calls the receiver of test alerts for `name`."""
    return f"test-{name}"


def alertmanager_yml(directory: Path, notify: Notify, *, inline_secrets: bool) -> File:
    """alertmanager.yml from its template, for its owner only.

    Secrets stand in it where Alertmanager 0.25 cannot have them from a file: a webhook's URL, and the mail password, of
    which it would take the final newline as well. A webhook's password does with `inline_secrets`. Raises ConfigError
    where a secret cannot be read.
    """
    config = yaml.safe_load((assets.path("prometheus") / "alertmanager.yml").read_text(encoding="utf-8"))
    config["templates"] = [f"{glob_literal(directory)}/{pattern}" for pattern in config["templates"]]
    routes = {route["receiver"]: route for route in config["route"]["routes"] if "receiver" in route}
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    tests = next(route for route in config["route"]["routes"] if f'{TEST_LABEL}!=""' in route["matchers"])

    integrations: dict[str, tuple[str, dict[str, Any]]] = {}
    if notify.mail is not None:
        config["global"] = _smtp(notify.mail)
        integrations["mail"] = ("email_configs", _email(notify.mail))
    if notify.webhook is not None:
        integrations["webhook"] = ("webhook_configs", _webhook(notify.webhook, inline_secrets=inline_secrets))
    if notify.heartbeat is not None:
        integrations["heartbeat"] = ("webhook_configs", {"url": notify.heartbeat.secret_url()})
        routes["heartbeat"] |= _beat(notify.heartbeat.interval)

    for name, (kind, settings) in integrations.items():
        once = {kind: [{**settings, "send_resolved": False}]}
        if name == "heartbeat":
            receivers["heartbeat"] |= once
        else:
            receivers["owner"][kind] = [{**settings, "send_resolved": True}]
            receivers["owner-once"] |= once
        config["receivers"].append({"name": test_receiver(name), **once})  # the end of a test is no news either
        tests["routes"].append({"matchers": [f'{TEST_LABEL}="{name}"'], "receiver": test_receiver(name)})
    return yaml_file("alertmanager.yml", config, "netvane.yml", mode=0o600)


def template_files() -> list[File]:
    """What mail looks like."""
    sources = sorted((assets.path("prometheus") / "templates").glob("*.tmpl"))
    return [File(f"templates/{source.name}", source.read_text(encoding="utf-8")) for source in sources]


def _smtp(mail: Mail) -> dict[str, Any]:
    smtp: dict[str, Any] = {
        "smtp_smarthost": mail.smarthost,
        "smtp_from": mail.sender,
        "smtp_hello": mail.hello,
        # Alertmanager 0.25 speaks TLS from the first byte on port 465, and then misses STARTTLS where that is required.
        "smtp_require_tls": mail.require_tls and not mail.implicit_tls,
    }
    if mail.username is not None and mail.password_file is not None:
        smtp |= {"smtp_auth_username": mail.username, "smtp_auth_password": read_secret(mail.password_file)}
    return smtp


def _email(mail: Mail) -> dict[str, Any]:
    return {
        "to": ", ".join(mail.to),
        "headers": {"Subject": '{{ template "netvane.subject" . }}'},
        "html": "",
        "text": '{{ template "netvane.text" . }}',
    }


def _webhook(webhook: Webhook, *, inline_secrets: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {"url": webhook.secret_url()}
    if webhook.username is not None and webhook.password_file is not None:
        password = (
            {"password": read_secret(webhook.password_file)}
            if inline_secrets
            else {"password_file": str(webhook.password_file)}
        )
        settings["http_config"] = {"basic_auth": {"username": webhook.username, **password}}
    return settings


def _beat(interval: float) -> dict[str, str]:
    """Alertmanager looks once per group_interval whether repeat_interval has passed since the last beat was through.

    That is a little after it looked, so a repeat_interval of exactly so many looks would always miss one.
    """
    return {
        "group_interval": prometheus_duration(interval / 5),
        "repeat_interval": prometheus_duration(interval * 0.9),
    }
