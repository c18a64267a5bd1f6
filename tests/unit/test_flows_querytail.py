"""Following a query log as it grows and is rotated."""

from pathlib import Path

from netvane.flows.querytail import QueryTail, event_of

ASKED = "Nov 21 12:00:0{n} dnsmasq[812]: {n} 198.51.100.7/5353 query[A] site{n}.example from 198.51.100.7\n"
TOLD = "Nov 21 12:00:0{n} dnsmasq[812]: {n} 198.51.100.7/5353 reply site{n}.example is 203.0.113.{n}\n"


def names(tail: QueryTail) -> list[str]:
    return [question.name for question in tail.poll()]


def test_only_what_is_new_is_told_also_after_rotation(tmp_path: Path) -> None:
    path = tmp_path / "queries.log"
    path.write_text(ASKED.format(n=1))
    tail = QueryTail(path)
    assert names(tail) == []
    with path.open("a") as file:
        file.write(ASKED.format(n=2) + TOLD.format(n=2)[:20])
    assert names(tail) == []
    with path.open("a") as file:
        file.write(TOLD.format(n=2)[20:])
    assert names(tail) == []
    (question,) = tail.poll()
    event = event_of(question)
    assert (event.qname, event.qtype, event.answers, event.address) == (
        "site2.example", "A", ("203.0.113.2",), "198.51.100.7"
    )  # fmt: skip
    path.rename(tmp_path / "queries.log.1")
    path.write_text(ASKED.format(n=3))
    assert names(tail) == []
    assert names(tail) == ["site3.example"]
    path.write_text("")
    assert names(tail) == []
    path.write_text(ASKED.format(n=4))
    assert names(tail) + names(tail) == ["site4.example"]
