"""docs/events.md: its schemas hold for every event, and say neither more nor less than the structs."""

import json
import re
import types
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.common.event_schema import KINDS, MAX_BODY_BYTES, Encoder, Event, Kind, kind_of
from tests.eventkit import MAC, SAMPLES

DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"
ENVELOPE = {"v", "ts", "event", "site", "host", "mac", "device_name"}
STRUCTS: dict[Kind, type[Event]] = {kind: type(event) for kind, event in SAMPLES.items()}


def schemas() -> dict[str, Any]:
    blocks = [
        json.loads(block)
        for block in re.findall(r"^```json\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    ]
    return {schema["title"]: schema for schema in blocks}


@pytest.fixture(scope="module")
def validators() -> dict[str, jsonschema.Draft202012Validator]:
    """By kind; a schema that is itself wrong fails here."""
    for schema in schemas().values():
        jsonschema.Draft202012Validator.check_schema(schema)
    return {kind: jsonschema.Draft202012Validator(schema) for kind, schema in schemas().items()}


def test_every_kind_has_a_schema() -> None:
    assert set(schemas()) == set(KINDS) == set(SAMPLES)


@pytest.mark.parametrize("kind", KINDS)
def test_fields_are_those_of_the_struct(kind: Kind) -> None:
    schema = schemas()[kind]
    fields = msgspec.structs.fields(STRUCTS[kind])
    assert set(schema["properties"]) == ENVELOPE | {field.name for field in fields}
    assert set(schema["required"]) == ENVELOPE | {field.name for field in fields if field.required}
    assert schema["additionalProperties"] is False
    hints = get_type_hints(STRUCTS[kind])
    for name, wanted in schema["properties"].items():
        assert name in {"event", "v"} or wanted["description"]
        if "enum" in wanted:
            literals = {value for part in (hints[name], *get_args(hints[name])) for value in get_args(part)}
            assert set(wanted["enum"]) == {value for value in literals if isinstance(value, str)}
        if (
            name in hints
            and "type" in wanted
            and types.NoneType in get_args(hints[name])
            and name in schema["required"]
        ):
            assert "null" in wanted["type"]


@pytest.mark.parametrize("kind", KINDS)
def test_samples_hold(kind: Kind, validators: dict[str, jsonschema.Draft202012Validator]) -> None:
    body = Encoder("home", "pi").encode(SAMPLES[kind], 1, MAC, "Küche")
    event = json.loads(body)
    validators[kind].validate(event)
    assert set(event) == set(schemas()[kind]["properties"])  # a sample has every field
    del event["ts"]
    assert not validators[kind].is_valid(event)


def test_a_schema_refuses_what_is_not_its_kind(validators: dict[str, jsonschema.Draft202012Validator]) -> None:
    for kind, event in SAMPLES.items():
        body = json.loads(Encoder("home", "pi").encode(event, 1, None, None))
        assert [name for name, validator in validators.items() if validator.is_valid(body)] == [kind]


text = st.text(max_size=20)
events = st.one_of([st.from_type(struct) for struct in STRUCTS.values()])


@given(events, st.integers(0, 2**63 - 1), st.none() | st.just(MAC), st.none() | text, text)
def test_whatever_the_fields_hold_is_json_with_an_envelope(
    event: Event, ts: int, mac: str | None, name: str | None, site: str
) -> None:
    body = Encoder(site, "pi").encode(event, ts, mac, name)
    decoded = json.loads(body)
    assert len(body) < MAX_BODY_BYTES
    assert decoded["event"] == kind_of(event)
    assert (decoded["site"], decoded["host"], decoded["mac"], decoded["device_name"]) == (site, "pi", mac, name)
    schema = schemas()[kind_of(event)]
    assert set(schema["required"]) <= set(decoded) <= set(schema["properties"])
    assert b"\n" not in body
