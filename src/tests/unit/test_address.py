"""Addresses: plain text to this machine only, and never shown with what may be secret in them."""

import pytest

from infrastructure.errors import SettingsError
from infrastructure.networking.address import check_address, is_loopback, port_of, shown

SECRET = "canary-4711"


@pytest.mark.parametrize(
    "url", ["wss://api.venue.example/ws/v4/", "wss://api.venue.example:8443/", "ws://127.0.0.1:1/ws", "ws://[::1]:80/", "ws://localhost/x"]
)
def test_what_is_safe_is_taken(url: str) -> None:
    assert check_address(url, "wss", "ws").scheme in ("wss", "ws")


@pytest.mark.parametrize("host", ["api.venue.example", "10.0.0.1", "127.0.0.1.example.com", "localhost.example.com"])
def test_plain_text_goes_to_this_machine_only(host: str) -> None:
    with pytest.raises(SettingsError, match="plain text"):
        check_address(f"ws://{host}/", "wss", "ws")


@pytest.mark.parametrize(
    "url", ["", "wss://", "https://venue.example", "venue.example", "wss://venue:port/", "wss://venue:0/", "wss://[::1", "wss:/x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="is not an address"):
        check_address(url, "wss", "ws")


@pytest.mark.parametrize(
    "url",
    [
        f"wss://me:{SECRET}@venue.example/ws",
        f"wss://me:ab/{SECRET}@venue.example",
        f"wss://me:{SECRET}@exa\u2100mple.com",
        f"me:{SECRET}@venue.example",
        f"wss://venue.example:x/ws?key={SECRET}",
        f"ws://venue.example/#{SECRET}",
    ],
)
def test_no_error_shows_what_may_be_secret(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_address(url, "wss", "ws")
    assert SECRET not in str(caught.value) and SECRET not in shown(url)


def test_the_port_is_the_schemes_own_unless_it_is_named() -> None:
    assert [port_of(check_address(url, "wss", "ws")) for url in ("wss://a/", "ws://localhost/", "wss://a:9/")] == [443, 80, 9]


@pytest.mark.parametrize(("host", "expected"), [("127.8.9.1", True), ("::1", True), ("localhost", True), ("::2", False), ("venue", False)])
def test_this_machine_is_known_by_name_and_number(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
