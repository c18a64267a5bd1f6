"""What an exporter needs to have events: mistakes in its configuration, and a reload that takes a new Loki."""

import asyncio
from pathlib import Path

import pytest

from netvane.common.config import ConfigError, Document
from netvane.common.event_schema import Verdict
from netvane.common.journal import Journal
from netvane.common.service import Service, ServiceError
from netvane.common.settings import SECTIONS, Storage
from tests.lokisink import LokiSink

EVENT = Verdict(verdict="ok", previous=None, evidence={}, path=None, path_error=None)


def document(text: str) -> Document:
    return Document.parse(text, Path("netvane.yml"), SECTIONS)


def service(tmp_path: Path) -> Service:
    (tmp_path / "latency").mkdir(exist_ok=True)
    return Service("latency", Storage(data_dir=tmp_path, run_dir=tmp_path))


def test_a_password_file_that_cannot_be_read_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    text = f"loki: {{url: http://127.0.0.1:1, username: me, password_file: {tmp_path}/absent}}\n"
    with pytest.raises(ConfigError, match="absent: cannot be read"):
        Journal(document(text), service(tmp_path))


def test_a_reload_takes_another_loki(tmp_path: Path) -> None:
    async def check(sink: LokiSink) -> None:
        journal = Journal(document(""), service(tmp_path))
        await journal.start()
        try:
            journal.append(EVENT)
            with pytest.raises(ConfigError):
                journal.reload(document("loki: {url: nonsense}\n"))
            journal.reload(document(f"loki: {{url: {sink.url}}}\n"))()
            await asyncio.to_thread(sink.wait_for, lambda: bool(sink.lines))
            newest = await journal.newest("verdict")
            assert newest is not None
            assert b'"verdict":"ok"' in newest
            assert await journal.newest("dns") is None
        finally:
            await journal.stop()

    with LokiSink().running() as sink:
        asyncio.run(check(sink))


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    async def check() -> None:
        first = Journal(document(""), service(tmp_path))
        await first.start()
        try:
            with pytest.raises(ServiceError):
                await Journal(document(""), service(tmp_path)).start()
        finally:
            await first.stop()

    asyncio.run(check())
