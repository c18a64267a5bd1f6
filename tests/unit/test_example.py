"""netvane.example.yml: every setting is in it, with its default."""

from pathlib import Path

import msgspec
import pytest
import yaml

from netvane.common import settings
from netvane.up.check import MODELS, check

EXAMPLE = Path(__file__).parents[2] / "netvane.example.yml"


def test_it_is_a_good_configuration() -> None:
    document = settings.load(EXAMPLE)
    check(document)
    assert settings.site_of(document) == "home"


def test_it_has_every_section_and_no_other() -> None:
    assert set(yaml.safe_load(EXAMPLE.read_text())) == settings.SECTIONS == {"site", *MODELS}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_it_has_every_setting_with_its_default(name: str) -> None:
    model = MODELS[name]
    assert list(yaml.safe_load(EXAMPLE.read_text())[name]) == list(msgspec.structs.asdict(model()))
    assert settings.load(EXAMPLE).section(name, model) == model()
