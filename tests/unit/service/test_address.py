"""Addresses as people write them (reference behaviour 4.1)."""

import pytest

from caterva2_service.address import Address


@pytest.mark.parametrize(
    ("text", "expected", "url"),
    [
        ("localhost:8002", Address("localhost", 8002), "http://localhost:8002"),
        ("[::1]:8002", Address("::1", 8002), "http://[::1]:8002"),
        ("::1:8002", Address("::1", 8002), "http://[::1]:8002"),
        ("*:8000", Address("*", 8000), "http://localhost:8000"),
        ("http://pub.example.org:80/", Address("pub.example.org", 80), "http://pub.example.org:80"),
        ("https://pub.example.org", Address("pub.example.org", 443, tls=True), "https://pub.example.org:443"),
        ("https://[2001:db8::1]/", Address("2001:db8::1", 443, tls=True), "https://[2001:db8::1]:443"),
        ("https://[2001:db8::1]:8001", Address("2001:db8::1", 8001, tls=True), "https://[2001:db8::1]:8001"),
        ("run/bro.socket", Address(uds="run/bro.socket"), "http://localhost"),
    ],
)
def test_addresses_are_understood(text: str, expected: Address, url: str) -> None:
    assert Address.parse(text) == expected
    assert expected.url == url


@pytest.mark.parametrize("text", ["", "localhost:http", "localhost:", "localhost:65536", "localhost:-1", "localhost:٣"])
def test_a_wrong_address_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["localhost:8002", "[::1]:8002", "*:8000", "run/bro.socket", "https://a.org:443"])
def test_an_address_is_shown_as_it_was_written(text: str) -> None:
    assert str(Address.parse(text)) == text
