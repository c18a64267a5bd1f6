from netvane.common.event_schema import Dns
from netvane.flows.anomalies.records import Question
from netvane.flows.engine import Engine
from netvane.flows.exchanges import DnsExchange
from netvane.flows.names import NameMemory
from netvane.flows.prefixes import PRIVATE, Prefixes
from netvane.flows.watch import Ticker

LAMP = "00:17:88:00:00:01"


def asked(qname: str, rcode: str | None, ts: int) -> DnsExchange:
    event = Dns(qname=qname, qtype="A", rcode=rcode, answers=(), latency_seconds=None, address="198.51.100.7")
    return DnsExchange(ts, LAMP, event)


def test_what_is_asked_again_and_again_reaches_the_rules_once_a_tick() -> None:
    """With the asker's address: that is how a resolver in the house is told from a gadget."""
    ticker, engine, names = Ticker(), Engine(Prefixes(PRIVATE), bits=8), NameMemory()
    ticker.exchanges([asked("a.example", "NOERROR", 1), asked("b.example", None, 2), asked("a.example", "NOERROR", 3)])
    ticker.exchanges([asked("a.example", "NOERROR", 4), asked("a.example", "NXDOMAIN", 5)])
    questions = ticker.tick(engine, names, 10**9).questions
    assert questions == (
        Question(mac=LAMP, qname="a.example", rcode="NOERROR", address="198.51.100.7"),
        Question(mac=LAMP, qname="b.example", rcode=None, address="198.51.100.7"),
        Question(mac=LAMP, qname="a.example", rcode="NXDOMAIN", address="198.51.100.7"),
    )
    assert ticker.tick(engine, names, 2 * 10**9).questions == ()
