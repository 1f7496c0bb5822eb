import copy
import os
import pickle
import stat
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from infrastructure.account_api import RestCall
from infrastructure.config import exchange_settings, parse_config
from infrastructure.credentials import (
    LONGEST_FILE,
    Credentials,
    Secret,
    _objection,
    credentials_for,
    credentials_from_file,
    variables,
)
from infrastructure.errors import ConfigError, SettingsError
from infrastructure.events import MessageType
from infrastructure.exchanges import VENUES
from infrastructure.networking.websocket.settings import ExchangeSettings
from infrastructure.venue import PrivateVenue, Venue
from tests.harness import canary
from tests.harness.private_venue import ACCOUNT_VENUE

NAMES = variables("gateio_spot")
ENVIRONMENT = dict(zip(NAMES, (canary.KEY, canary.SECRET), strict=True))
TABLE = f'[gateio_spot]\nkey = "{canary.KEY}"\nsecret = "{canary.SECRET}"\n'


def refusal(make: Callable[[], object]) -> str:
    """What is said; and it, its repr and its traceback show no canary."""
    with pytest.raises(SettingsError) as caught:
        make()
    canary.assert_hidden(caught.value)
    return str(caught.value)


def kept(path: Path, text: str | bytes = TABLE, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


class TestSecret:
    def test_it_is_shown_by_nothing_that_shows(self) -> None:
        secret, both = Secret(canary.SECRET), canary.credentials()
        for thing in (secret, both, [secret], {"a": both}, {secret: 1}):
            canary.assert_hidden(thing)
        assert f"{secret} {secret!r} {secret:>10} {secret!s} %s %r" % (secret, both) == (
            "<Secret> <Secret>   <Secret> <Secret> <Secret> Credentials(key=<Secret>, secret=<Secret>)"
        )

    @pytest.mark.parametrize(
        "taken",
        [
            pickle.dumps,
            copy.copy,
            copy.deepcopy,
            msgspec.json.encode,
            msgspec.msgpack.encode,
            msgspec.to_builtins,
            lambda both: pickle.dumps(both.key),
            lambda both: copy.deepcopy(both.key),
        ],
    )
    def test_it_is_not_taken_along_by_what_copies_or_encodes(self, taken: Callable[[Credentials], object]) -> None:
        if taken is copy.copy:
            assert taken(canary.credentials()) == canary.credentials()  # The same Secrets.
            return
        with pytest.raises(TypeError) as caught:
            taken(canary.credentials())
        canary.assert_hidden(caught.value)

    def test_it_is_equal_to_one_of_the_same_text_alone(self) -> None:
        assert Secret("a" * 9) == Secret("a" * 9) and hash(Secret("a" * 9)) == hash(Secret("a" * 9))
        assert Secret("a" * 9) != Secret("b" * 9) and Secret("a" * 9) != "a" * 9

    def test_a_frame_that_holds_it_shows_nothing(self) -> None:
        def sign(credentials: Credentials) -> None:
            secret = credentials.secret  # noqa: F841
            raise ValueError

        with pytest.raises(ValueError) as caught:
            sign(canary.credentials())
        shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
        assert "secret = <Secret>" in shown and canary.found_in(shown) == []


class TestEnvironment:
    def test_each_venue_has_two_variables(self) -> None:
        assert variables("gateio_spot") == ("TICKRAIL_GATEIO_SPOT_KEY", "TICKRAIL_GATEIO_SPOT_SECRET")
        assert credentials_for("gateio_spot", ENVIRONMENT) == canary.credentials()

    def test_it_is_this_process_own_unless_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        assert credentials_for("gateio_spot") == canary.credentials()

    @pytest.mark.parametrize(
        "value",
        [None, "", " ", f"{canary.KEY} ", f"{canary.KEY}\n", f"{canary.KEY}\r\nHost: x", "ключ-ключ", "a\0b"],
        ids=str.split("none empty space trailing line header foreign zero"),
    )
    @pytest.mark.parametrize("name", NAMES)
    def test_what_is_missing_or_can_be_no_key_is_named(self, name: str, value: str | None) -> None:
        given = ENVIRONMENT | {name: value} if value is not None else {other: text for other, text in ENVIRONMENT.items() if other != name}
        assert refusal(lambda: credentials_for("gateio_spot", given)) == (
            f"no credentials of gateio_spot: {name} must be set in the environment, to printable text without spaces"
        )

    def test_both_are_named_at_once(self) -> None:
        assert f"{NAMES[0]} and {NAMES[1]} must be set" in refusal(lambda: credentials_for("gateio_spot", {}))


class TestFile:
    @pytest.mark.parametrize("mode", [0o600, 0o400])
    def test_one_that_nobody_else_can_read_is_read(self, tmp_path: Path, mode: int) -> None:
        path = kept(tmp_path / "keys.toml", TABLE + '[mexc_spot]\nkey = "other-key"\nsecret = "other-secret"\n', mode)
        assert credentials_from_file(path, "gateio_spot") == canary.credentials()
        assert credentials_from_file(str(path), "mexc_spot") == Credentials(Secret("other-key"), Secret("other-secret"))

    def test_a_link_is_judged_by_what_it_leads_to(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(kept(tmp_path / "keys.toml"))
        assert credentials_from_file(tmp_path / "link", "gateio_spot") == canary.credentials()
        (tmp_path / "keys.toml").chmod(0o604)
        assert "mode 0604" in refusal(lambda: credentials_from_file(tmp_path / "link", "gateio_spot"))

    @pytest.mark.parametrize("bit", [1 << place for place in range(12) if 1 << place & ~0o600])
    def test_every_wider_mode_is_refused_with_what_to_do(self, tmp_path: Path, bit: int) -> None:
        path = kept(tmp_path / "keys.toml", mode=0o600 | bit)
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & bit:
            pytest.skip("this user cannot set that bit")
        words = refusal(lambda: credentials_from_file(path, "gateio_spot"))
        assert words.startswith(f"the file of credentials '{path}' has mode {mode:04o}, ") and "chmod 600" in words

    def test_that_of_another_user_is_refused(self, tmp_path: Path) -> None:
        status = kept(tmp_path / "keys.toml").stat()
        assert _objection(status, status.st_uid) is None
        words = _objection(status, status.st_uid + 1)
        assert words == (f"belongs to user {status.st_uid}, not to {status.st_uid + 1} who runs this: chown it, or run as its owner")

    def test_the_owner_is_asked_of_the_file_that_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = kept(tmp_path / "keys.toml")
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        assert "belongs to user" in refusal(lambda: credentials_from_file(path, "gateio_spot"))

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
    def test_only_a_regular_file_is_read(self, tmp_path: Path, make: Callable[[Path], None]) -> None:
        make(tmp_path / "keys.toml")
        assert refusal(lambda: credentials_from_file(tmp_path / "keys.toml", "gateio_spot")).endswith("is not a regular file")

    @pytest.mark.parametrize(
        "name",
        [f"{canary.SECRET}/x", f"{canary.SECRET}\0", canary.SECRET * 20, "~nobody-here/x"],
        ids=["missing", "a zero", "too long", "no home"],
    )
    def test_a_name_that_is_none_is_not_repeated(self, name: str) -> None:
        assert refusal(lambda: credentials_from_file(Path(name), "gateio_spot")).startswith("the file of credentials cannot be read: ")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (f"{canary.SECRET}", "is not TOML (at "),
            (f"[gateio_spot]\nkey = {canary.SECRET}", "is not TOML (at line 2"),
            (f"[{canary.SECRET}]\n[{canary.SECRET}]", "is not TOML (at "),
            (f'a = "{canary.SECRET}\\q"', "is not TOML (at "),
            (TABLE.encode() + b"\xff", "is not TOML"),
            ("a = " + "[" * 10_000, "is not TOML"),
            (TABLE + "#" * LONGEST_FILE, "is longer than 65536 bytes"),
            ("", "must have a table [gateio_spot] with key and secret"),
            (f'gateio_spot = "{canary.SECRET}"', "must have a table [gateio_spot]"),
            (f'[gateio_spot]\nsecret = "{canary.SECRET}"', "must have a table [gateio_spot]"),
            (TABLE + f'passphrase = "{canary.SECRET}"', "and nothing else in it"),
            (TABLE.replace(canary.KEY, f"{canary.KEY}\\n"), "printable text without spaces"),
            (TABLE.replace(canary.KEY, ""), "printable text without spaces"),
            (TABLE.replace(f'"{canary.KEY}"', "5"), "printable text without spaces"),
        ],
        ids=range(14),
    )
    def test_one_that_holds_something_else_is_refused_and_nothing_of_it_told(self, tmp_path: Path, text: str, words: str) -> None:
        path = kept(tmp_path / "keys.toml", text)
        said = refusal(lambda: credentials_from_file(path, "gateio_spot"))
        assert said.startswith(f"the file of credentials '{path}' ") and words in said


def private(venue: Venue) -> Venue:
    """``venue`` with an account."""
    channels = {
        "orders": MessageType.ORDER,
        "orders_v2": MessageType.ORDER,
        "fills": MessageType.FILL,
        "balances": MessageType.BALANCE,
    }
    private = PrivateVenue(
        codec=lambda credentials, symbols: ACCOUNT_VENUE.codec,  # type: ignore[arg-type, return-value]
        channels=channels,
        default_channels=("orders", "fills", "balances"),
        time_call=RestCall("GET", "/"),
    )
    return msgspec.structs.replace(venue, private=private)


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Venue]:
    """A venue of the table that has private channels; the environment has no keys."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    made = private(VENUES["gateio_spot"])
    monkeypatch.setitem(VENUES, "gateio_spot", made)
    yield made


def problems(*lines: str) -> list[str]:
    text = "\n".join(["[gateio_spot]", 'symbols = ["BTC/USDT"]', 'channels = ["trade"]', *lines])
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.toml")
    assert canary.found_in(f"{caught.value} {caught.value!r}") == []
    return list(caught.value.problems)


def parsed(*lines: str) -> ExchangeSettings:
    text = "\n".join(["[gateio_spot]", 'symbols = ["BTC/USDT"]', 'channels = ["trade"]', *lines])
    return parse_config(text, "x.toml")["gateio_spot"]


class TestConfiguration:
    def test_the_environment_may_be_named(self, venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        settings = parsed('credentials = "environment"')
        assert settings.credentials == canary.credentials()
        assert settings.account_channels == ("orders", "fills", "balances")
        canary.assert_hidden(settings)

    def test_or_a_file(self, venue: Venue, tmp_path: Path) -> None:
        settings = parsed(f'credentials_file = "{kept(tmp_path / "keys.toml")}"', 'private_channels = ["fill", "orders_v2"]')
        assert settings.credentials == canary.credentials()
        assert settings.account_channels == ("fills", "orders_v2")

    def test_or_they_are_given(self, venue: Venue) -> None:
        settings = exchange_settings("gateio_spot", credentials=canary.credentials(), private_channels=["balance"])
        assert (settings.credentials, settings.account_channels) == (canary.credentials(), ("balances",))

    def test_without_them_there_are_no_private_channels(self, venue: Venue) -> None:
        assert parsed().account_channels == ()
        assert problems('private_channels = ["order"]') == ["line 4: gateio_spot.private_channels: of no account; give its credentials"]

    @pytest.mark.parametrize("key", ["key", "secret", "api_key", "password", "listen_key", "token", "passphrase"])
    def test_themselves_have_no_place_there(self, venue: Venue, key: str) -> None:
        (problem,) = problems(f'{key} = "{canary.SECRET}"')
        assert problem == (
            f"line 4: gateio_spot.{key}: looks like a secret, which has no place here; put it into the environment, "
            "or into a file that credentials_file names"
        )

    @pytest.mark.parametrize(
        "written",
        [f'"{canary.SECRET}"', f'{{ key = "{canary.KEY}" }}', "5", f'["{canary.SECRET}"]'],
        ids=["text", "table", "number", "list"],
    )
    def test_not_even_where_it_is_said_where_they_are(self, venue: Venue, written: str) -> None:
        (problem,) = problems(f"credentials = {written}")
        assert problem.startswith("line 4: gateio_spot.credentials: only 'environment' may stand here")
        assert all(name in problem for name in (*NAMES, "0600", "credentials_file"))
        (problem,) = problems(f"credentials_file = {written}")
        assert problem.startswith("line 4: gateio_spot.credentials_file: ")

    def test_all_that_is_wrong_is_told_at_once_with_its_line(self, venue: Venue, tmp_path: Path) -> None:
        path = kept(tmp_path / "keys.toml", mode=0o644)
        assert problems(f'credentials_file = "{path}"', 'private_channels = ["order", "trade"]', "high_water = 0") == [
            f"line 4: gateio_spot.credentials_file: the file of credentials '{path}' has mode 0644, so that others could read or "
            "change it: chmod 600, and new keys if others may have read it",
            "line 5: gateio_spot.private_channels: gateio_spot has no channel 'trade'; "
            "known: order, fill, balance, orders, orders_v2, fills, balances",
            "line 6: gateio_spot.high_water: 0 is not a whole number from 1 to 1000000",
        ]

    def test_one_place_is_enough(self, venue: Venue, tmp_path: Path) -> None:
        assert problems('credentials = "environment"', 'credentials_file = "keys.toml"') == [
            "line 5: gateio_spot.credentials_file: contradicts credentials; give one of them"
        ]

    def test_what_the_environment_lacks_is_told(self, venue: Venue) -> None:
        (problem,) = problems('credentials = "environment"')
        assert problem.startswith(f"line 4: gateio_spot.credentials: no credentials of gateio_spot: {NAMES[0]} and {NAMES[1]}")

    def test_a_venue_without_private_channels_takes_none(self) -> None:
        with pytest.raises(SettingsError, match="credentials: account_venue has no private channels here"):
            ExchangeSettings(venue=ACCOUNT_VENUE, credentials=canary.credentials())

    def test_a_text_in_their_place_is_not_repeated(self, venue: Venue) -> None:
        with pytest.raises(SettingsError) as caught:
            ExchangeSettings(venue=venue, credentials=canary.SECRET)  # type: ignore[arg-type]
        assert str(caught.value) == "credentials: what it says is not credentials"

    def test_they_are_not_encoded_with_the_settings(self, venue: Venue) -> None:
        settings = exchange_settings("gateio_spot", credentials=canary.credentials())
        with pytest.raises(TypeError) as caught:
            msgspec.json.encode(msgspec.structs.replace(settings, venue=settings.venue).credentials)
        canary.assert_hidden(caught.value)
