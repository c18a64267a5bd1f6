"""The three parsers of lease files: what servers write is read, what is damaged is counted and not believed."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.dhcp import formats
from netvane.dhcp.lease import Damage, Format, Lease, Parsed
from tests.leases import KEA4, KEA6, SERVERS, Server, damaged, isc4, leases, written_in

octet = st.integers(0, 255)
macs = st.tuples(octet, octet, octet, octet).map(lambda end: "b8:27:" + ":".join(f"{byte:02x}" for byte in end))
addresses4 = st.tuples(st.integers(1, 126), octet, octet, octet).map(lambda four: ".".join(map(str, four)))
addresses6 = st.integers(1, 0xFFFF).map(lambda number: f"fd00::1:{number:x}")
names = st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,20}", fullmatch=True)
ends = st.none() | st.integers(1_600_000_000, 2_000_000_000)


def read(text: bytes | str) -> Parsed:
    encoded = text.encode() if isinstance(text, str) else text
    return formats.parse(encoded, formats.recognize(encoded))


@st.composite
def written(draw: st.DrawFn) -> tuple[Server, list[Lease]]:
    server = draw(st.sampled_from(SERVERS))
    keys = draw(st.lists(addresses6 if server.ipv6 else addresses4, unique=True, min_size=1, max_size=12))
    found = []
    for address in keys:
        mac = draw(macs)
        digits = mac.replace(":", "")
        client_id = "00030001" + digits if server.ipv6 else draw(st.none() | st.just("01" + digits))
        found.append(Lease(address, draw(ends), mac=mac, client_id=client_id, host_name=draw(names)))
    return server, found


@given(written())
def test_what_a_server_writes_is_read_back(case: tuple[Server, list[Lease]]) -> None:
    server, wanted = case
    text = server.file(wanted)
    assert formats.recognize(text) == server.format
    assert read(text) == Parsed({lease.address: lease for lease in wanted})


@given(written(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_a_damaged_file_never_gives_a_lease_that_is_not_written_in_it(
    case: tuple[Server, list[Lease]], chance: random.Random, times: int
) -> None:
    server, wanted = case
    text = server.file(wanted)
    for _ in range(times):
        text = damaged(text, chance)
    parsed = formats.parse(text, server.format)
    for lease in parsed.leases.values():
        assert lease in wanted or written_in(server, lease, text), text


@given(st.sampled_from(["dnsmasq", "kea4", "kea6", "isc", None]), st.binary(max_size=400))
def test_rubbish_is_counted_and_nothing_else(lease_format: Format | None, rubbish: bytes) -> None:
    formats.recognize(rubbish)
    parsed = formats.parse(rubbish, lease_format)
    assert not parsed.leases
    assert all(damage.line >= 1 and damage.problem for damage in parsed.damage)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: f"{server.format}{'-v6' if server.ipv6 else ''}")
def test_a_file_that_breaks_off_is_read_up_to_there(server: Server) -> None:
    wanted = list(leases(3, ipv6=server.ipv6))
    text = server.file(wanted)
    for length in range(len(server.file(wanted[:2])) + 1, len(text)):
        parsed = formats.parse(text[:length], server.format)
        assert set(parsed.leases) == {lease.address for lease in wanted[:2]}
        assert not parsed.damage
        assert not parsed.complete or text[length - 1 : length] == b"\n"


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: f"{server.format}{'-v6' if server.ipv6 else ''}")
def test_a_lost_line_end_costs_no_more_than_the_two_records_around_it(server: Server) -> None:
    wanted: Sequence[Lease] = list(leases(4, ipv6=server.ipv6))
    text = server.file(wanted)
    at = len(server.file(wanted[:2])) - 1
    parsed = formats.parse(text[:at] + text[at + 1 :], server.format)
    assert len(parsed.damage) >= 1
    assert {wanted[0].address, wanted[3].address} <= set(parsed.leases) <= {lease.address for lease in wanted}
    assert all(lease in wanted for lease in parsed.leases.values())


def test_dnsmasq_writes_odd_hardware_vendor_classes_and_the_servers_duid() -> None:
    parsed = read(
        "0 b8:27:eb:00:00:01 198.51.100.20 * *\n"
        "1763726400 06-00:11:22 198.51.100.21 printer ff:00\n"
        "1763726400 00- 198.51.100.22 * 01:02\n"
        "duid 00:01:00:01:2f:00:00:00:c0:25:06:1a:2b:01\n"
        "1763726400 305419896 fd00::1000 fridge 00:03:00:01:b8:27:eb:00:00:01\n"
        "1763726400 T1 fd00::1001 * 00:02:00:00:ab:11\n"
        "vendorclass 198.51.100.20 75:64:68:63:70\n"
        "agent-info 198.51.100.21 01:02\n"
    )
    assert parsed.damage == ()
    first = parsed.leases["198.51.100.20"]
    assert (first.expires, first.host_name, first.client_id, first.vendor_class) == (None, None, None, "udhcp")
    assert parsed.leases["198.51.100.21"].mac is None
    assert parsed.leases["198.51.100.22"].holder == "id:0102"
    assert parsed.leases["fd00::1000"].mac == "b8:27:eb:00:00:01"
    assert parsed.leases["fd00::1001"].mac is None


@pytest.mark.parametrize(
    "line",
    [
        "1763726400  b8:27:eb:00:00:01 198.51.100.20 * *",
        "1763726400 b8:27:eb:00:00:1 198.51.100.20 * *",
        "1763726400 B8:27:eb:00:00:01 198.51.100.20 * *",
        "1763726400 b8:27:eb:00:00:01 198.51.100.256 * *",
        "1763726400 b8:27:eb:00:00:01 198.51.100.020 * *",
        "1763726400 b8:27:eb:00:00:01 224.0.0.1 * *",
        "1763726400 b8:27:eb:00:00:01 198.51.100.20 na\x00me *",
        "1763726400 b8:27:eb:00:00:01 198.51.100.20 * 01:b",
        "1763726400 b8:27:eb:00:00:01 198.51.100.20 *",
        "17637264000 b8:27:eb:00:00:01 198.51.100.20 * *",
        "1763726400 5 fd00:0::1 * *",
        "1763726400 4294967296x fd00::1 * *",
        "vendorclass 198.51.100.99 75",
        "1763 b8:27:eb:00:00:01 198.51.100.20 * *",
    ],
)
def test_a_damaged_dnsmasq_line_is_named_and_not_believed(line: str) -> None:
    good = "1763726400 b8:27:eb:00:00:02 198.51.100.30 * *\n"
    parsed = formats.parse(f"{good}{line}\n".encode(), "dnsmasq")
    assert set(parsed.leases) == {"198.51.100.30"}
    assert [damage.line for damage in parsed.damage] == [2]


def test_of_an_address_twice_in_dnsmasqs_file_neither_is_believed() -> None:
    line = "1763726400 b8:27:eb:00:00:0{} 198.51.100.20 * *\n"
    parsed = read(line.format(1) + line.format(2))
    assert parsed.leases == {}
    assert parsed.damage == (Damage(2, "198.51.100.20 is leased in a line before"),)


def test_a_dnsmasq_without_a_clock_does_not_say_when_leases_end() -> None:
    parsed = read("43200 b8:27:eb:00:00:01 198.51.100.20 fridge *\n0 b8:27:eb:00:00:02 198.51.100.21 * *\n")
    assert parsed.leases["198.51.100.20"] == Lease("198.51.100.20", None, mac="b8:27:eb:00:00:01", host_name="fridge")
    assert parsed.damage == ()


def test_keas_last_row_is_true_and_a_lifetime_of_zero_ends_a_lease() -> None:
    row = "198.51.100.20,b8:27:eb:00:00:01,01:b8:27:eb:00:00:01,{},{},1,0,0,fri&#x2cdge,{},,0\n"
    parsed = read(KEA4 + row.format(3600, 1_763_726_400, 0) + row.format(3600, 1_763_730_000, 0))
    assert parsed.leases["198.51.100.20"].expires == 1_763_730_000
    assert parsed.leases["198.51.100.20"].host_name == "fri,dge"
    released = read(KEA4 + row.format(3600, 1_763_726_400, 0) + row.format(0, 1_763_722_800, 0))
    assert released.leases["198.51.100.20"].state == "released"
    states = [read(KEA4 + row.format(3600, 1_763_726_400, state)).leases["198.51.100.20"].state for state in range(4)]
    assert states == ["active", "declined", "expired", "released"]


def test_older_and_newer_kea_files_are_read() -> None:
    old_row = "198.51.100.20,b8:27:eb:00:00:01,,3600,1763726400,1,0,0,fridge"
    first = KEA4.split(",state")[0] + "\n"
    assert read(first + old_row + "\n").leases["198.51.100.20"].host_name == "fridge"
    assert read(first + old_row + ",0,,0\n").leases["198.51.100.20"].state == "active"
    newer = KEA4.strip() + ",colour\n" + old_row + ",0,,0,blue\n"
    assert read(newer).leases["198.51.100.20"].host_name == "fridge"
    assert len(read(newer + old_row + ",0,,0\n").damage) == 1


def test_keas_delegated_prefixes_have_a_length() -> None:
    row = "fd00:0:0:100::,00:03:00:01:b8:27:eb:00:00:01,3600,1763726400,1,600,2,7,56,0,0,,,0,,,,0\n"
    lease = read(KEA6 + row).leases["fd00:0:0:100::/56"]
    assert lease.mac == "b8:27:eb:00:00:01"


@pytest.mark.parametrize(
    "row",
    [
        "198.51.100.20,b8:27:eb:00:00:01,,3600,1763726400,1,0,0,fridge,0,",
        "198.51.100.20,b8:27:eb:00:00:01,,3600,1763726400,1,0,2,fridge,0,,0",
        "198.51.100.20,,,3600,1763726400,1,0,0,fridge,0,,0",
        "198.51.100.20,b8:27:eb:00:00:01,,3600,1763,1,0,0,fridge,0,,0",
        "198.51.100.20,b8:27:eb:00:00:01,,3600,1763726400,1,0,0,fridge,9,,0",
        "198.51.100.20,b8:27:eb:00:00:01,,3600,1763726400,1,0,0,fridge,0,{,0",
        "198.51.100.20,b8:27:eb:00:00:01,,3600,1763726400,1,0,0,fri\x01dge,0,,0",
        "198.51.100.300,b8:27:eb:00:00:01,,3600,1763726400,1,0,0,fridge,0,,0",
        "fd00::1,b8:27:eb:00:00:01,,3600,1763726400,1,0,0,fridge,0,,0",
        "198.51.100.20,b8:27:eb:00:00:01,,4294967296,1763726400,1,0,0,fridge,0,,0",
    ],
)
def test_a_damaged_kea_row_is_named_and_not_believed(row: str) -> None:
    parsed = read(f"{KEA4}{row}\n")
    assert parsed.leases == {}
    assert [damage.line for damage in parsed.damage] == [2]


def test_an_address_that_has_bits_behind_its_prefix_is_no_prefix() -> None:
    row = "fd00::1,00:03:00:01:b8:27:eb:00:00:01,3600,1763726400,1,600,2,7,56,0,0,,,0,,,,0\n"
    assert [damage.line for damage in read(KEA6 + row).damage] == [2]


def test_a_file_with_another_first_row_is_not_keas() -> None:
    assert formats.parse(b"address,hwaddr,colour\n1,2,3\n", "kea4").damage[0].line == 1


ISC6 = r"""# The format of this file is documented in the dhcpd.leases(5) manual page.
# This lease file was written by isc-dhcp-4.4.3-P1

# authoring-byte-order entry is generated, DO NOT DELETE
authoring-byte-order little-endian;

server-duid "\000\001\000\001/\000\000\000\300%\006\032+\001";

ia-na "\007\000\000\000\000\003\000\001\270'\353\000\000\001" {
  cltt 4 2025/11/20 12:00:00;
  iaaddr fd00::1000 {
    binding state active;
    preferred-life 600;
    max-life 3600;
    ends 4 2025/11/20 13:00:00;
    set ddns-fwd-name = "fridge.home.arpa";
  }
}

"""


def test_iscs_dhcpv6_file_is_read_and_its_last_word_on_an_association_is_true() -> None:
    parsed = read(ISC6)
    lease = parsed.leases["fd00::1000"]
    assert (parsed.damage, parsed.complete) == ((), True)
    assert (lease.mac, lease.client_id, lease.expires) == ("b8:27:eb:00:00:01", "00030001b827eb000001", 1_763_643_600)
    moved = read(ISC6 + ISC6[ISC6.index("ia-na") :].replace("fd00::1000", "fd00::2000"))
    assert set(moved.leases) == {"fd00::2000"}


def test_iscs_other_declarations_and_statements_are_passed_over() -> None:
    lease = next(leases(1))
    events = '  on expiry or release {\n    execute ("x");\n    if (1) {\n    }\n  }\n}\n'
    more = "  option agent.circuit-id 1:2;\n  set x = %5;\n  reserved;\n  uid 1:b8:27;\n" + events
    record = isc4(lease).replace('  uid "\\001\\270\'\\353\\000\\000\\000";\n', "").removesuffix("}\n") + more
    others = 'failover peer "x" state {\n  my state normal at 1 2025/11/20 12:00:00;\n}\nhost fridge {\n  dynamic;\n}\n'
    parsed = read(others + record)
    assert parsed.damage == ()
    assert parsed.leases[lease.address].client_id == "01b827"


def test_iscs_times_may_be_epochs_with_a_comment() -> None:
    lease = next(leases(1))
    local = "  ends epoch 1763700000; # Fri Nov 21 04:40:00 2025"
    text = "\n".join(local if line.startswith("  ends") else line for line in isc4(lease).split("\n"))
    assert read(text).leases[lease.address].expires == 1_763_700_000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("binding state active", "binding state actibe"),
        ("  binding state active;\n", ""),
        ("  ends 5", "  ends 6"),
        ("  hardware", "hardware"),
        ("  cltt", "  clutter"),
        ("  next binding", "  binding"),
        ('client-hostname "host-0";', 'client-hostname "host-0;'),
        ("lease 10.0.0.0 {", "lease 10.0.0 {"),
        ("lease 10.0.0.0 {", "least 10.0.0.0 {"),
    ],
)
def test_a_damaged_isc_declaration_is_named_and_not_believed(old: str, new: str) -> None:
    first, second = (isc4(lease) for lease in leases(2))
    assert old in first
    parsed = formats.parse((first.replace(old, new) + second).encode(), "isc")
    assert set(parsed.leases) == {"10.0.0.1"}
    assert parsed.damage
    assert parsed.damage[0].line <= 10


def test_a_declaration_that_never_ends_costs_only_itself() -> None:
    first, second = (isc4(lease) for lease in leases(2))
    parsed = read(first.removesuffix("}\n") + second)
    assert set(parsed.leases) == {"10.0.0.1"}
    assert parsed.damage == (Damage(1, "the declaration does not end"),)


def test_what_is_no_lease_file_is_said() -> None:
    assert formats.recognize(b"root:x:0:0:root:/root:/bin/sh\n") is None
    assert read("root:x:0:0:root:/root:/bin/sh\n").damage[0].line == 1
    assert read("").damage == ()
