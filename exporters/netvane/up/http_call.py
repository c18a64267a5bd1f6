"""One HTTP request, and what went wrong with it in words."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

MAX_BYTES = 16 * 2**20


class CallError(Exception):
    """No good answer; the message says why: ``HTTP 403 Forbidden``, ``connection refused``."""


# Straight there, as Prometheus and Alertmanager go: no proxy from the environment.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout_seconds: float = 10.0
) -> bytes:
    """GET, or POST where there is a body; the answer's body. Raises CallError."""
    try:
        request = urllib.request.Request(url, data=body, headers=dict(headers or {}))  # noqa: S310 - http(s), checked with the settings
        with _OPENER.open(request, timeout=timeout_seconds) as answer:
            content: bytes = answer.read(MAX_BYTES)
            return content
    except urllib.error.HTTPError as error:
        with error:
            raise CallError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise CallError(reason(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise CallError(reason(error)) from error


def reason(error: object) -> str:
    """Why a connection failed, in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    words = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return words or type(error).__name__
