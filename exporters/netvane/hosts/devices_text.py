"""Devices as text: tables for people, YAML and CSV to export and to import again."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from netvane.hosts.owner import Entry, Report

COLUMNS = ("device", "name", "trusted", "expected", "notes", "macs")
MAX_FILE_BYTES = 4 * 2**20
MAX_ENTRIES = 5_000
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
# What a spreadsheet takes for a formula; it is exported behind an apostrophe, as they write it themselves.
_FORMULA = ("=", "+", "-", "@")


class ImportFileError(Exception):
    """A file that cannot be imported: file, line or entry, and what is wrong."""


def table(reports: Sequence[Report]) -> str:
    heading = ("DEVICE", "STATE", "NAME", "VENDOR", "KIND", "ADDRESS", "LAST SEEN", "MARKS")
    rows = [heading, *(_row(report) for report in reports)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(line + "\n" for line in lines)


def _row(report: Report) -> tuple[str, ...]:
    address = next((entry.address for entry in report.addresses if ":" not in entry.address), "")
    unconfirmed = report.trusted and bool(report.assumed)
    words = (("trusted", report.trusted), ("unconfirmed", unconfirmed), ("expected", report.expected))
    marks = [word for word, is_set in words if is_set]
    seen = report.last_seen[:19].replace("T", " ")
    row = (report.device, report.state, report.name, report.vendor, report.kind, address, seen, " ".join(marks))
    return tuple(cell or "-" for cell in row)


def details(report: Report) -> str:
    because = f" ({', '.join(report.kind_because)})" if report.kind_because else ""
    lines = [
        f"device     {report.device}",
        f"name       {report.name or '-'}",
        f"state      {report.state}",
        f"trusted    {_yes(report.trusted)}{_except(report)}",
        f"expected   {_yes(report.expected)}",
        f"vendor     {report.vendor}",
        f"kind       {report.kind}{because}",
        f"network    {report.network or '-'}",
        f"seen       {report.first_seen} to {report.last_seen}",
        f"notes      {report.notes or '-'}",
        *(f"mac        {mac}" for mac in report.macs),
        *(f"merged     {mac}: {reason}" for mac, reason in report.merged),
        *(f"called     {name} (by {source})" for name, source in report.names),
        *(f"offers     {service}" for service in report.services),
        *(f"address    {a.address}  {a.mac}  {a.first_seen} to {a.last_seen}" for a in report.addresses),
    ]
    return "".join(line + "\n" for line in lines)


def changes(answers: Sequence[bytes]) -> str:
    """One line per change."""
    if not answers:
        return "nothing to change\n"
    decoded = (json.loads(answer) for answer in answers)
    return "".join(f"{e['device']}: {e['change']}: {_text(e['previous'])} -> {_text(e['current'])}\n" for e in decoded)


def export(reports: Sequence[Report], output: str) -> str:
    """What `read` reads."""
    entries = [
        {
            "device": report.device,
            "name": report.own_name,
            "trusted": report.trusted,
            "expected": report.expected,
            "notes": report.notes,
            "macs": [mac for mac in report.macs if mac not in report.assumed],  # the others are not the owner's word
        }
        for report in sorted(reports, key=lambda report: report.device)
    ]
    if output == "yaml":
        return str(yaml.safe_dump({"devices": entries}, sort_keys=False, allow_unicode=True))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow([_cell(entry[column]) for column in COLUMNS])
    return file.getvalue()


def read(file: Path) -> tuple[Entry, ...]:
    """Raises ImportFileError."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ImportFileError(f"{file}: is larger than 4 MiB")
        text = file.read_text(encoding="utf-8-sig")  # spreadsheets begin a CSV with a byte order mark
    except OSError as error:
        raise ImportFileError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ImportFileError(f"{file}: is not UTF-8 text (byte {error.start})") from error
    rows = _read_csv(file, text) if file.suffix.lower() == ".csv" else _read_yaml(file, text)
    if len(rows) > MAX_ENTRIES:
        raise ImportFileError(f"{file}: has more than {MAX_ENTRIES} devices")
    entries = []
    for place, row in rows:
        try:
            entries.append(msgspec.convert(row, Entry))
        except msgspec.ValidationError as error:
            raise ImportFileError(f"{file}: {place}: {error}") from error
    return tuple(entries)


def _read_yaml(file: Path, text: str) -> list[tuple[str, Any]]:
    try:
        tree = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ImportFileError(f"{file}: {line}is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ImportFileError(f"{file}: is not YAML") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("devices"), list) or len(tree) > 1:
        raise ImportFileError(f"{file}: expected `devices:` with a list")
    return [(f"devices[{number}]", row) for number, row in enumerate(tree["devices"])]


def _read_csv(file: Path, text: str) -> list[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    rows: list[tuple[str, Any]] = []
    try:
        unknown = set(reader.fieldnames or ()) - set(COLUMNS)
        if unknown or "device" not in (reader.fieldnames or ()):
            raise ImportFileError(f"{file}: line 1: expected the columns {', '.join(COLUMNS)}")
        for row in reader:
            place = f"line {reader.line_num}"
            if None in row:
                raise ImportFileError(f"{file}: {place}: has more cells than there are columns")
            rows.append((place, _csv_entry(file, place, row)))
    except csv.Error as error:
        raise ImportFileError(f"{file}: line {reader.line_num}: is not CSV: {error}") from error
    return rows


def _csv_entry(file: Path, place: str, row: dict[str, str | None]) -> dict[str, Any]:
    """A missing column leaves things as they are; an empty name or note takes it away."""
    entry: dict[str, Any] = {}
    for column, cell in row.items():
        if cell is None:
            raise ImportFileError(f"{file}: {place}: has fewer cells than there are columns")
        text = cell.removeprefix("'") if cell[1:2] in _FORMULA else cell
        if column in {"trusted", "expected"}:
            if text.casefold() not in _BOOLEANS:
                raise ImportFileError(f"{file}: {place}: {column}: expected true or false, got {text[:40]!r}")
            entry[column] = _BOOLEANS[text.casefold()]
        elif column == "macs":
            entry[column] = tuple(text.split())
        else:
            entry[column] = text
    return entry


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return " ".join(value)
    text = "" if value is None else str(value)
    return "'" + text if text.startswith(_FORMULA) else text


def _except(report: Report) -> str:
    if not report.trusted or not report.assumed:
        return ""
    return f", but not {', '.join(report.assumed)}; if that is it too: netvane devices trust {report.device}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _text(value: object) -> str:
    return "-" if value is None else str(value)
