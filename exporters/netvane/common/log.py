"""Log lines on standard error as logfmt or JSON: a message with key=value fields."""

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

Format = Literal["logfmt", "json"]
LEVELS = ("debug", "info", "warning", "error")


class FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """Takes fields as keyword arguments: ``log.warning("probe failed", target=name, error=exc)``."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        passed = {key: kwargs.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in kwargs}
        return msg, {**passed, "extra": {"fields": kwargs}}


def get_logger(name: str) -> FieldLogger:
    return FieldLogger(logging.getLogger(f"netvane.{name}"), {})


class _Formatter(logging.Formatter):
    def __init__(self, output: Format) -> None:
        super().__init__()
        self._output = output

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "ts": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name.removeprefix("netvane."),
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._output == "json":
            return json.dumps(fields, default=str)
        return " ".join(f"{key}={_logfmt_value(value)}" for key, value in fields.items())


def _logfmt_value(value: Any) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(character in text for character in ' ="')
    return text if plain else json.dumps(text)


def setup(level: str = "info", output: Format = "logfmt") -> None:
    """Send every ``netvane.*`` logger (and warnings of libraries) to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(output))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("netvane").setLevel(level.upper())
