import struct
from pathlib import Path

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netvane.flows.dns import MAX_ANSWERS, Answer, decode, tcp_messages
from netvane.flows.dnsdata import MAX_TEXT
from netvane.flows.dnsnames import DnsError
from tests import tshark

PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_*/+=:@~!#%&()?{}|^,;-")
EMPTY_QUERY = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0)


def text_of(name: dns.name.Name) -> str:
    """What our rule for names makes of dnspython's labels."""
    return ".".join(
        "".join(chr(byte) if byte in PLAIN else f"\\{byte:03d}" for byte in label.lower())
        for label in name.labels
        if label
    )


def response(*answers: str, name: str = "Example.org.", qtype: str = "A") -> dns.message.Message:
    message = dns.message.make_response(dns.message.make_query(name, qtype))
    for answer in answers:
        owner, ttl, rdclass, rdtype, data = answer.split(" ", 4)
        message.answer.append(dns.rrset.from_text(owner, int(ttl), rdclass, rdtype, data))
    return message


def test_a_query_has_a_question_and_no_outcome() -> None:
    query = dns.message.make_query("Printer.Example.ORG.", "AAAA", id=4711, use_edns=True)
    message = decode(query.to_wire())
    assert (message.id, message.response, message.rcode) == (4711, False, None)
    assert (message.name, message.type, message.type_number) == ("printer.example.org", "AAAA", 28)
    assert message.answers == ()
    assert message.whole


def test_a_response_has_its_chain_of_answers() -> None:
    message = decode(
        response(
            "example.org. 300 IN CNAME edge.example.org.",
            "edge.example.org. 60 IN A 203.0.113.7",
            "edge.example.org. 60 IN A 203.0.113.8",
        ).to_wire()
    )
    assert message.response
    assert message.rcode == "NOERROR"
    assert message.answers == (
        Answer("CNAME", "edge.example.org", 300),
        Answer("A", "203.0.113.7", 60),
        Answer("A", "203.0.113.8", 60),
    )


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ("x. 5 IN AAAA fd00::1", "AAAA", "fd00::1"),
        ("x. 5 IN NS Ns.Example.org.", "NS", "ns.example.org"),
        ("x. 5 IN PTR host.example.org.", "PTR", "host.example.org"),
        ("x. 5 IN DNAME other.example.", "DNAME", "other.example"),
        ("x. 5 IN MX 10 mail.example.org.", "MX", "10 mail.example.org"),
        ("x. 5 IN SRV 1 2 8883 mqtt.example.org.", "SRV", "1 2 8883 mqtt.example.org"),
        ('x. 5 IN TXT "v=spf1 -all" "<script>"', "TXT", "v=spf1 -all\\060script\\062"),
        ("x. 5 IN SOA ns.x. root.x. 7 1 2 3 4", "SOA", "ns.x root.x 7"),
        (
            'x. 5 IN HTTPS 1 . alpn="h2,h3" port=8443 ipv4hint=203.0.113.1,203.0.113.2 ech="AAT+DQAA" ipv6hint=fd00::5',
            "HTTPS",
            "1 . alpn=h2,h3 port=8443 ipv4hint=203.0.113.1,203.0.113.2 ech ipv6hint=fd00::5",
        ),
        ("x. 5 IN SVCB 0 svc.example.org.", "SVCB", "0 svc.example.org"),
        ("x. 5 IN TYPE65400 \\# 3 010203", "TYPE65400", "\\# 3 010203"),
        ("x. 5 IN A \\# 4 01020304", "A", "1.2.3.4"),
    ],
)
def test_answers_say_what_matters_of_them(answer: str, kind: str, text: str) -> None:
    assert decode(response(answer).to_wire()).answers == (Answer(kind, text, 5),)


def test_types_without_a_mnemonic_keep_their_number() -> None:
    message = decode(EMPTY_QUERY + b"\x01x\0" + struct.pack("!HH", 65400, 1))
    assert (message.type, message.type_number) == ("TYPE65400", 65400)


@pytest.mark.parametrize("code", range(16))
def test_every_response_code_has_a_name(code: int) -> None:
    message = response()
    message.set_rcode(dns.rcode.Rcode.make(code))
    assert decode(message.to_wire()).rcode == dns.rcode.to_text(dns.rcode.Rcode.make(code))


def test_the_root_is_the_empty_name() -> None:
    assert decode(dns.message.make_query(".", "NS").to_wire()).name == ""


def test_a_message_without_a_question_has_no_name() -> None:
    message = decode(struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0) + b"\0" + struct.pack("!HHIH", 1, 1, 9, 4) + bytes(4))
    assert (message.name, message.type) == (None, None)
    assert message.answers == (Answer("A", "0.0.0.0", 9),)


def test_the_first_of_several_questions_counts_and_the_answers_are_still_found() -> None:
    questions = b"\x03one\0" + bytes((0, 1, 0, 1)) + b"\xc0\x0c" + bytes((0, 28, 0, 1))
    answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 9, 4) + bytes((203, 0, 113, 1))
    message = decode(struct.pack("!6H", 0, 0x8000, 2, 1, 0, 0) + questions + answer)
    assert (message.name, message.type) == ("one", "A")
    assert message.answers == (Answer("A", "203.0.113.1", 9),)


def test_bytes_that_are_no_host_name_are_escaped() -> None:
    message = decode(EMPTY_QUERY + b'\x06a.B\0"\xff\x03com\0' + bytes((0, 1, 0, 1)))
    assert message.name == "a\\046b\\000\\034\\255.com"


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",  # to itself
        b"\xc0\x0e\xc0\x0c",  # to each other
        b"\x01a\xc0\x0c",  # to its own beginning
        b"\xc0\xff" + bytes(300),  # forward
        b"\x40abc\0",  # a label type that was withdrawn
        b"\x3f" + b"a" * 10,  # cut short
        (b"\x3f" + b"a" * 63) * 4 + b"\0",  # 256 bytes on the wire
        b"",
    ],
)
def test_a_question_that_cannot_be_read_is_an_error(name: bytes) -> None:
    with pytest.raises(DnsError):
        decode(EMPTY_QUERY + name + bytes((0, 1, 0, 1)))


@pytest.mark.parametrize("size", range(17))
def test_a_message_cut_within_header_or_question_is_an_error(size: int) -> None:
    with pytest.raises(DnsError):
        decode((EMPTY_QUERY + b"\0" + bytes((0, 1, 0, 1)))[: min(size, 16)])


def test_answers_before_a_cut_are_kept() -> None:
    wire = response("x. 5 IN A 203.0.113.1", "y. 5 IN A 203.0.113.2").to_wire()
    message = decode(wire[:-1])
    assert message.answers == (Answer("A", "203.0.113.1", 5),)
    assert not message.whole
    assert message.name == "example.org"


def test_answers_are_bounded() -> None:
    wire = bytearray(response().to_wire())
    wire[6:8] = struct.pack("!H", 4000)
    txt = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 0, 256) + b"\xff" + b"\x01" * 255
    message = decode(bytes(wire) + txt * 4000)
    assert len(message.answers) == MAX_ANSWERS
    assert not message.whole
    assert all(len(answer.text) <= MAX_TEXT for answer in message.answers)


def test_tcp_gives_the_messages_that_are_whole_in_a_segment() -> None:
    assert list(tcp_messages(b"\0\x03abc\0\0\0\x02de\0\x05par")) == [b"abc", b"", b"de"]
    assert list(tcp_messages(b"\0")) == []


LABEL = st.binary(min_size=1, max_size=63)
NAME = st.lists(LABEL, max_size=5).map(lambda labels: dns.name.Name([*labels, b""])) | st.sampled_from(
    [dns.name.from_text(text) for text in ("a.example.", "b.A.example.", ".", "xn--bcher-kva.example.")]
)
ADDRESS = st.ip_addresses(v=4).map(str)
RECORDS = st.one_of(
    ADDRESS.map(lambda address: ("A", address)),
    st.ip_addresses(v=6).map(lambda address: ("AAAA", str(address))),
    NAME.map(lambda name: ("CNAME", name.to_text())),
    NAME.map(lambda name: ("PTR", name.to_text())),
)


def valid(name: dns.name.Name) -> bool:
    return sum(len(label) + 1 for label in name.labels) <= 255


@given(
    NAME.filter(valid),
    st.integers(0, 65535),
    st.lists(st.tuples(NAME.filter(valid), RECORDS, st.integers(0, 2**31 - 1)), max_size=6),
)
def test_generated_messages_agree_with_dnspython(
    name: dns.name.Name, number: int, records: list[tuple[dns.name.Name, tuple[str, str], int]]
) -> None:
    rdtype = dns.rdatatype.RdataType.make(number)
    question = dns.message.Message(id=number)
    question.question.append(dns.rrset.RRset(name, dns.rdataclass.IN, rdtype))
    question.flags |= dns.flags.QR
    for owner, (kind, text), ttl in records:
        question.answer.append(dns.rrset.from_text(owner, ttl, "IN", kind, text))
    wire = question.to_wire()
    message = decode(wire)
    assert message.name == text_of(name)
    assert message.type == dns.rdatatype.to_text(rdtype)
    oracle = dns.message.from_wire(wire, one_rr_per_rrset=True)
    expected = [
        Answer(
            dns.rdatatype.to_text(rrset.rdtype),
            (text_of(rrset[0].target) if hasattr(rrset[0], "target") else rrset[0].to_text())[:MAX_TEXT],
            rrset.ttl,
        )
        for rrset in oracle.answer
    ]
    assert list(message.answers) == expected
    assert message.whole


@settings(max_examples=500)
@given(st.binary(max_size=600))
@example(struct.pack("!6H", 0, 0x8000, 0, 65535, 0, 0) + b"\xc0\x0c" * 40)
@example(struct.pack("!6H", 0, 0x8000, 65535, 65535, 0, 0) + bytes(500))
def test_any_bytes_are_a_message_or_an_error(raw: bytes) -> None:
    try:
        message = decode(raw)
    except DnsError:
        return
    texts = [message.name or "", *(answer.text for answer in message.answers)]
    assert all(text.isascii() and text.isprintable() for text in texts)


@given(st.data())
def test_mutated_messages_are_a_message_or_an_error(data: st.DataObject) -> None:
    wire = bytearray(
        response(
            "example.org. 300 IN CNAME edge.example.org.",
            "edge.example.org. 60 IN HTTPS 1 . alpn=h2 ipv4hint=203.0.113.1",
            "edge.example.org. 60 IN SOA ns.x. root.x. 7 1 2 3 4",
            "edge.example.org. 60 IN SRV 1 2 3 ns.edge.example.org.",
        ).to_wire()
    )
    for _ in range(data.draw(st.integers(1, 5))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(wire[: data.draw(st.integers(0, len(wire)))]))
    except DnsError:
        return


@tshark.needs_tshark
@pytest.mark.parametrize("capture", tshark.captures(), ids=lambda path: path.name)
def test_names_types_and_outcomes_are_those_of_tshark(capture: Path) -> None:
    for frame in tshark.frames_with_names(capture):
        inner = "icmp" in frame["frame.protocols"]
        if "dns" not in frame["frame.protocols"] or inner or "53" not in {frame["udp.srcport"], frame["udp.dstport"]}:
            continue
        names, types, rcode = frame["dns.qry.name"], frame["dns.qry.type"], frame["dns.flags.rcode"]
        try:
            message = decode(bytes.fromhex(frame["udp.payload"]))
        except DnsError:
            assert not names
            continue
        assert message.id == int(frame["dns.id"], 16)
        assert message.response == (frame["dns.flags.response"] in {"1", "True"})
        if names:
            # tshark names all questions of a message; Netvane reports the first.
            first = names.split(tshark.SEPARATOR)[0].lower().replace("<root>", "")
            assert (message.name, message.type_number) == (first, int(types.split(tshark.SEPARATOR)[0]))
        assert message.rcode == (dns.rcode.to_text(dns.rcode.Rcode.make(int(rcode))) if rcode else None)
        for kind, expected in (("A", frame["dns.a"]), ("AAAA", frame["dns.aaaa"])):
            # tshark's fields also hold the addresses of the other sections, after those of the answers.
            found = [answer.text for answer in message.answers if answer.type == kind]
            assert found == expected.split(tshark.SEPARATOR)[: len(found)] or not found


@tshark.needs_tshark
def test_the_captures_have_enough_to_compare() -> None:
    frames = [frame for capture in tshark.captures() for frame in tshark.frames_with_names(capture)]
    assert sum("dns" in frame["frame.protocols"] for frame in frames) > 400
    hellos = [frame for frame in frames if "1" in frame["tls.handshake.type"].split(tshark.SEPARATOR)]
    assert sum("quic" in frame["frame.protocols"] for frame in hellos) >= 6
    assert sum("quic" not in frame["frame.protocols"] for frame in hellos) >= 40
