"""Running nmap(1) with CAP_NET_RAW, and reading its XML (nmap.dtd).

Not through python-nmap: it is GPL-3.0 and without a wheel, holds its thread until nmap ends, so that the helper could
not be stopped meanwhile, and asks for versions of services where nothing else is said.
"""

import asyncio
import contextlib
import ipaddress
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from netvane.common.raw_messages import Nmap, NmapHost, NmapRequest, NmapService
from netvane.common.text import clean_name

MAX_ADDRESSES = 4_096
MAX_HOSTS = 700  # what fits into a message
MAX_SERVICES = 100  # of one host
MAX_OUTPUT = 16 * 2**20

_MODES: dict[str, Sequence[str]] = {
    "ping": ("-sn",),
    "services": ("-Pn", "-sV", "--version-light"),
    "os": ("-Pn", "-O", "--osscan-limit"),
}


class TargetError(ValueError):
    """Not what nmap may be pointed at."""


class NmapOutputError(ValueError):
    """Not the XML of a finished run of nmap."""


def arguments(request: NmapRequest) -> list[str]:
    """The command line less the program. Raises TargetError."""
    try:
        target = ipaddress.ip_network(request.target)
    except ValueError as error:
        raise TargetError(f"{request.target!r} is neither an address nor a network: {error}") from None
    if target.num_addresses > (1 if request.mode != "ping" else MAX_ADDRESSES):
        raise TargetError(f"{request.target} has more addresses than may be asked at a time")
    if target.is_multicast or target.is_loopback or target.is_unspecified:
        raise TargetError(f"{request.target} is nobody's address")
    # --privileged: nmap looks at the user, not at the capability. -n: names would be asked for one by one.
    ports = () if request.mode == "ping" else ("--top-ports", str(request.top_ports))
    family = ("-6",) if target.version == 6 else ()
    single = str(target.network_address) if target.num_addresses == 1 else str(target)
    return ["--privileged", "-n", *_MODES[request.mode], *ports, *family, "-oX", "-", "--", single]


def parse(output: bytes) -> Nmap:
    """Raises NmapOutputError."""
    try:
        # From nmap itself, run by this helper; expat expands no entities beyond its own limits.
        root = ET.fromstring(output)  # noqa: S314
    except (ET.ParseError, ValueError, LookupError) as error:
        raise NmapOutputError(f"nmap wrote what is not XML: {error}") from None
    finished = root.find("runstats/finished")
    if root.tag != "nmaprun" or finished is None:
        raise NmapOutputError("nmap wrote half a report")
    if finished.get("exit", "success") != "success":
        raise NmapOutputError(f"nmap failed: {clean_name(finished.get('errormsg', '')) or 'it does not say why'}")
    hosts = [host for element in root.iter("host") if (host := _host(element)) is not None]
    return Nmap(tuple(hosts[:MAX_HOSTS]), truncated=len(hosts) > MAX_HOSTS)


async def run(request: NmapRequest) -> Nmap:
    """Within `request.seconds`, when nmap is killed. Raises TargetError."""
    command = arguments(request)
    program = shutil.which("nmap")
    if program is None:
        return Nmap(error="nmap is not installed")
    process = await asyncio.create_subprocess_exec(
        program,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        async with asyncio.timeout(request.seconds):
            output = await _read(process.stdout)
            await process.wait()
        return parse(output)
    except TimeoutError:
        return Nmap(error=f"nmap was not finished within {request.seconds:g} s")
    except NmapOutputError as error:
        return Nmap(error=str(error))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _read(pipe: asyncio.StreamReader) -> bytes:
    chunks, size = [], 0
    while chunk := await pipe.read(2**16):
        size += len(chunk)
        if size > MAX_OUTPUT:
            raise NmapOutputError(f"nmap wrote more than {MAX_OUTPUT} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _host(element: ET.Element) -> NmapHost | None:
    """None where it is not up or has no address that is one."""
    status = element.find("status")
    addresses = {found.get("addrtype"): found.get("addr", "") for found in element.iter("address")}
    address = addresses.get("ipv4") or addresses.get("ipv6") or ""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return None
    if status is None or status.get("state") != "up":
        return None
    timing = element.find("times")
    services = (_service(port) for port in element.iterfind("ports/port"))
    system = element.find("os/osmatch")
    return NmapHost(
        address,
        addresses.get("mac", "").lower() or None,
        _microseconds(timing.get("srtt")) if timing is not None else None,
        tuple(service for service in services if service is not None)[:MAX_SERVICES],
        clean_name(system.get("name", "")) if system is not None else None,
    )


def _service(port: ET.Element) -> NmapService | None:
    state, number = port.find("state"), port.get("portid", "")
    if state is None or state.get("state") != "open" or not number.isascii() or not number.isdigit():
        return None
    service = port.find("service")
    known = {} if service is None else service.attrib
    product = " ".join(known[key] for key in ("product", "version") if key in known)
    protocol = clean_name(port.get("protocol", "")) or "unknown"
    return NmapService(int(number), protocol, clean_name(known.get("name", "")) or "unknown", clean_name(product))


def _microseconds(text: str | None) -> float | None:
    """Times of nmap are in microseconds; negative for none."""
    if text is None or not text.isascii() or not text.isdigit() or int(text) > 60_000_000:
        return None
    return int(text) / 1_000_000
