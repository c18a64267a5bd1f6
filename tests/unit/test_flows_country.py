from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvane.flows.country import country_of, data_date
from netvane.flows.domains import beneath, registrable_domain


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("8.8.8.8", "US"),
        ("193.0.6.139", "NL"),
        ("2001:67c:2e8:22::c100:68b", "NL"),
        ("::ffff:193.0.6.139", "NL"),
        ("10.0.0.1", None),
        ("100.64.0.1", None),
        ("127.0.0.1", None),
        ("169.254.1.1", None),
        ("198.51.100.1", None),
        ("224.0.0.251", None),
        ("255.255.255.255", None),
        ("fd00::1", None),
        ("fe80::1%eth0", None),
        ("::", None),
        ("example.org", None),
        ("", None),
    ],
)
def test_a_country_is_known_or_not_but_never_guessed(address: str, country: str | None) -> None:
    assert country_of(address) == country


@given(st.ip_addresses().map(str) | st.text(max_size=40))
def test_any_text_has_a_country_of_two_letters_or_none(address: str) -> None:
    country = country_of(address)
    assert country is None or (len(country) == 2 and country.isascii() and country.isupper())


def test_the_data_says_its_date() -> None:
    made = data_date()
    assert made is not None
    assert made > date(2026, 1, 1)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("www.example.co.uk", "example.co.uk"),
        ("example.com", "example.com"),
        ("a.b.c.example.com", "example.com"),
        ("alice.github.io", "alice.github.io"),
        ("printer.lan", "printer.lan"),
        ("co.uk", None),
        ("com", None),
        ("printer", None),
        ("", None),
        ("203.0.113.1", None),
        ("fd00::1", None),
    ],
)
def test_the_registrable_domain_is_cut_where_the_list_says(name: str, domain: str | None) -> None:
    assert registrable_domain(name) == domain


@given(st.text(st.characters(codec="ascii"), max_size=260))
def test_a_domain_is_the_end_of_its_name(name: str) -> None:
    domain = registrable_domain(name.lower())
    if domain is not None and beneath(name.lower(), domain):
        assert f"{beneath(name.lower(), domain)}.{domain}" == name.lower()


def test_what_is_beneath_a_domain() -> None:
    assert beneath("a.b.example.org", "example.org") == "a.b"
    assert beneath("example.org", "example.org") == ""
