import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import dns.message
import dns.query
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.flows.querylog import MAX_ANSWERS, MAX_WAITING, Logged, QueryLog

AT = "Nov 21 12:00:00"


def read(*lines: str) -> list[Logged]:
    log = QueryLog()
    ended = [logged for line in lines for logged in log.feed(f"{AT} dnsmasq[812]: {line}")]
    return ended + log.flush()


def asked(name: str, kind: str, rcode: str | None, *answers: str, client: str = "198.51.100.7") -> Logged:
    return Logged(AT, client, name, kind, rcode, answers)


def test_a_question_has_the_answers_of_the_lines_that_follow() -> None:
    assert read(
        "query[A] Example.org from 198.51.100.7",
        "forwarded Example.org to 203.0.113.53",
        "reply Example.org is 203.0.113.1",
        "reply Example.org is 203.0.113.2",
    ) == [asked("example.org", "A", "NOERROR", "203.0.113.1", "203.0.113.2")]


@pytest.mark.parametrize(
    ("line", "rcode", "answers"),
    [
        ("cached example.org is 203.0.113.1", "NOERROR", ["203.0.113.1"]),
        ("cached-stale example.org is fd00::1", "NOERROR", ["fd00::1"]),
        ("reply example.org is NXDOMAIN", "NXDOMAIN", []),
        ("reply example.org is NODATA-IPv6", "NOERROR", []),
        ("config example.org is NODATA", "NOERROR", []),
        ("/etc/hosts example.org is 198.51.100.9", "NOERROR", ["198.51.100.9"]),
        ("DHCP example.org is 198.51.100.9", "NOERROR", ["198.51.100.9"]),
        ("gravity blocked example.org is 0.0.0.0", "NOERROR", ["0.0.0.0"]),
        ("exactly denied example.org is ::", "NOERROR", ["::"]),
        ("regex denied example.org is NXDOMAIN", "NXDOMAIN", []),
        ("reply example.org is <TXT>", "NOERROR", []),
        ("reply other.example is 203.0.113.1", None, []),
        ("validation result is INSECURE", None, []),
    ],
)
def test_every_source_of_an_answer_is_known(line: str, rcode: str | None, answers: list[str]) -> None:
    assert read("query[A] example.org from 198.51.100.7", line) == [asked("example.org", "A", rcode, *answers)]


def test_what_a_cname_points_to_answers_the_question() -> None:
    assert read(
        "query[A] other.example from 198.51.100.7",
        "query[A] www.example.org from 198.51.100.7",
        "reply www.example.org is <CNAME>",
        "reply edge.example.net is 203.0.113.1",
        "reply stray.example.net is 203.0.113.2",
    ) == [asked("other.example", "A", None), asked("www.example.org", "A", "NOERROR", "203.0.113.1")]


def test_serial_numbers_tie_what_names_cannot() -> None:
    assert read(
        "7 198.51.100.7/5000 query[A] example.org from 198.51.100.7",
        "8 198.51.100.8/5000 query[A] example.org from 198.51.100.8",
        "8 198.51.100.8/5000 reply error is SERVFAIL",
        "7 198.51.100.7/5000 reply example.org is 203.0.113.1",
        "7 198.51.100.7/5000 query[AAAA] example.org from 198.51.100.7",
    ) == [
        asked("example.org", "A", "NOERROR", "203.0.113.1"),
        asked("example.org", "A", "SERVFAIL", client="198.51.100.8"),
        asked("example.org", "AAAA", None),
    ]


def test_lines_of_syslog_carry_a_host_name() -> None:
    log = QueryLog()
    log.feed(f"{AT} gateway dnsmasq[1]: query[type=65400] . from fd00::7\n")
    assert log.flush() == [Logged(AT, "fd00::7", "", "TYPE65400", None, ())]


def test_open_questions_and_their_answers_are_bounded() -> None:
    log = QueryLog()
    ended = 0
    for number in range(3 * MAX_WAITING):
        ended += len(log.feed(f"{AT} dnsmasq[1]: query[A] {number}.example from 198.51.100.7"))
    for _ in range(3 * MAX_ANSWERS):
        log.feed(f"{AT} dnsmasq[1]: reply {number}.example is 203.0.113.1")
    assert ended == 2 * MAX_WAITING
    rest = log.flush()
    assert len(rest) == MAX_WAITING
    assert len(rest[-1].answers) == MAX_ANSWERS
    assert log.flush() == []


WORDS = st.sampled_from(
    ["query[A]", "query[type=99999]", "query[", "reply", "cached", "is", "from", "<CNAME>", "x.example", "198.51.100.7",
     "NXDOMAIN", "7", "198.51.100.7/53", "gravity blocked", "é\udc80", "\\", "", "1" * 5000]
)  # fmt: skip


@given(st.lists(st.lists(WORDS, max_size=9).map(" ".join) | st.text(max_size=60), max_size=8))
def test_any_lines_are_taken(lines: list[str]) -> None:
    for logged in read(*lines):
        assert logged.name.isascii()
        assert all(answer.isascii() for answer in logged.answers)


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="needs dnsmasq")
@pytest.mark.parametrize("extra", ["", "=extra"])
def test_the_log_of_a_real_dnsmasq(tmp_path: Path, extra: str) -> None:
    log_file = tmp_path / "log"
    configuration = tmp_path / "conf"
    configuration.write_text(
        "no-resolv\nno-hosts\nlisten-address=127.0.0.1\nbind-interfaces\nlocal=/home.test/\ncname=alias.home.test,h.home.test\n"
        "host-record=h.home.test,198.51.100.9,fd00::9\naddress=/ads.test/0.0.0.0\n"
    )
    questions = [
        ("h.home.test", "A"), ("H.home.test", "AAAA"), ("alias.home.test", "A"), ("no.home.test", "A"),
        ("h.home.test", "HTTPS"), ("ads.test", "A"), ("9.100.51.198.in-addr.arpa", "PTR"), (".", "NS"),
        ("far.example", "A"),
    ]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["dnsmasq", "-k", "-C", str(configuration), f"--log-queries{extra}", f"--log-facility={log_file}"]
    with subprocess.Popen([*command, f"--port={port}"], stdout=sys.stderr) as server:
        try:
            for name, kind in questions:
                query = dns.message.make_query(name, kind)
                for _ in range(200):  # until it listens
                    try:
                        dns.query.tcp(query, "127.0.0.1", port=port, timeout=20)
                        break
                    except ConnectionRefusedError:
                        time.sleep(0.1)
        finally:
            server.terminate()
    log = QueryLog()
    logged = [logged for line in log_file.read_text().splitlines() for logged in log.feed(line)] + log.flush()
    refused = "REFUSED" if extra else None  # without a serial number nothing ties an error to its question
    assert [(entry.name, entry.type, entry.rcode, entry.answers) for entry in logged] == [
        ("h.home.test", "A", "NOERROR", ("198.51.100.9",)),
        ("h.home.test", "AAAA", "NOERROR", ("fd00::9",)),
        ("alias.home.test", "A", "NOERROR", ("198.51.100.9",)),
        ("no.home.test", "A", "NXDOMAIN", ()),
        ("h.home.test", "HTTPS", "NOERROR", ()),
        ("ads.test", "A", "NOERROR", ("0.0.0.0",)),
        ("9.100.51.198.in-addr.arpa", "PTR", "NOERROR", ("h.home.test",)),
        ("", "NS", refused, ()),
        ("far.example", "A", refused, ()),
    ]
    assert {entry.client for entry in logged} == {"127.0.0.1"}
