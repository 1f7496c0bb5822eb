import copy
import re
from collections.abc import Callable, Sequence
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infrastructure.config import exchange_settings, parse_config, read_config
from infrastructure.errors import ConfigError, SettingsError, UnknownVenue
from infrastructure.events import Architecture
from infrastructure.exchanges import VENUES
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT
from infrastructure.networking.websocket.settings import (
    ExchangeSettings,
    FreshnessSettings,
    ReconnectSettings,
    RotationSettings,
    TransportSettings,
)
from tests.harness.captures import ROOT

EXAMPLE = ROOT / "tickrail.example.toml"
SECRET = "s3cr3t"
SECONDS = "a number of seconds above 0 and at most 3600"
SECRET_KEY = "looks like a secret, which has no place here; put it into the environment, or into a file that credentials_file names"
KNOWN_VENUES = ", ".join(VENUES)
KNOWN_CHANNELS = ", ".join(["trade", "book_ticker", "ticker", "candle", "orderbook", *GATEIO_SPOT.channels])
TABLES = (TransportSettings, ReconnectSettings, FreshnessSettings, RotationSettings)
KEYS = (
    "symbols, channels, architecture, websocket_url, rest_url, transport, reconnect, freshness, rotation, "
    "subscribe_timeout_s, close_deadline_s, high_water, account_check_s, snapshots_per_minute, credentials, private_channels, "
    "use_direct_handling, credentials_file"
)


def exchange(*lines: str, symbols: str = '["BTC/USDT"]', channels: str = '["trade"]') -> str:
    """A file with one exchange; ``lines`` stand from line 4 on."""
    return "\n".join(["[gateio_spot]", f"symbols = {symbols}", f"channels = {channels}", *lines])


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.toml")
    assert str(caught.value).split("\n") == [f"x.toml: {problem}" for problem in caught.value.problems]
    return list(caught.value.problems)


def refusal(make: Callable[[], object]) -> str:
    with pytest.raises(SettingsError) as caught:
        make()
    return str(caught.value)


class TestFile:
    def test_one_table_per_exchange_gives_its_settings(self) -> None:
        text = exchange(
            'architecture = "strategy"',
            'websocket_url = "ws://127.0.0.1:8080/ws"',
            'rest_url = "http://localhost:8080"',
            "high_water = 16",
            "[gateio_spot.transport]",
            "ping_interval_s = 15",
            "[gateio_spot.reconnect]",
            "max_attempts = 3",
            channels='["trade", "orderbook", "candle:5m"]',
        )
        assert parse_config(text, "x.toml") == {
            "gateio_spot": ExchangeSettings(
                venue=GATEIO_SPOT,
                symbols=("BTC/USDT",),
                channels=("trade", "orderbook", "candle:5m"),
                architecture=Architecture.STRATEGY,
                websocket_url="ws://127.0.0.1:8080/ws",
                rest_url="http://localhost:8080",
                high_water=16,
                transport=TransportSettings(ping_interval_s=15.0),
                reconnect=ReconnectSettings(max_attempts=3),
            )
        }

    @pytest.mark.parametrize(
        ("lines", "architecture"),
        [
            ([], Architecture.DIRECT),
            (["use_direct_handling = true"], Architecture.DIRECT),
            (["use_direct_handling = false"], Architecture.STRATEGY),
            (["use_direct_handling = false", 'architecture = "strategy"'], Architecture.STRATEGY),
            (["use_direct_handling = true", 'architecture = "direct"'], Architecture.DIRECT),
        ],
    )
    def test_the_architecture_has_two_names(self, lines: list[str], architecture: Architecture) -> None:
        assert parse_config(exchange(*lines), "x.toml")["gateio_spot"].architecture is architecture

    def test_a_file_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "own.toml"
        path.write_text(exchange().replace("\n", "\r\n"), encoding="utf-8")
        assert read_config(path) == read_config(str(path)) == parse_config(exchange(), "x.toml")

    @pytest.mark.parametrize(
        ("make", "problem"),
        [
            (lambda path: None, "cannot be read: No such file or directory"),
            (lambda path: path.mkdir(), "cannot be read: Is a directory"),
            (lambda path: path.write_bytes(b""), f"no exchange; write a table for one of: {KNOWN_VENUES}"),
            (lambda path: path.write_bytes(b"# nothing\n"), f"no exchange; write a table for one of: {KNOWN_VENUES}"),
            (lambda path: path.write_bytes(b"[gateio_spot]\n# \xff\n"), "line 2: not UTF-8"),
            (lambda path: path.write_bytes(b"[gateio_spot]\nhigh_water = \n"), "not TOML: Invalid value (at line 2, column 14)"),
        ],
    )
    def test_a_file_that_is_no_configuration_is_refused_by_name(self, tmp_path: Path, make: Callable[[Path], None], problem: str) -> None:
        path = tmp_path / "own.toml"
        make(path)
        with pytest.raises(ConfigError) as caught:
            read_config(path)
        assert str(caught.value) == f"{path}: {problem}"


class TestExample:
    def test_the_shipped_file_is_valid(self) -> None:
        assert list(read_config(EXAMPLE)) == list(VENUES)

    def test_it_names_every_key_and_what_it_comments_out_is_the_default(self) -> None:
        text = re.sub(r"^# (?=\w+ = )", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
        shown = parse_config(text, "x.toml")["gateio_spot"]
        venue = shown.venue
        tables = ("transport", "reconnect", "freshness", "rotation")
        assert [f"{key} =" in text for key in KEYS.split(", ") if key not in tables] == [True] * 14
        assert [f"\n{key} =" in text for kind in TABLES for key in kind.__struct_fields__] == [True] * 28
        # There is no word in TOML for the defaults of these two.
        assert shown == msgspec.structs.replace(
            read_config(EXAMPLE)["gateio_spot"],
            websocket_url=venue.websocket_url,
            rest_url=venue.rest_url,
            reconnect=ReconnectSettings(max_attempts=shown.reconnect.max_attempts, connects_per_minute=shown.reconnect.connects_per_minute),
        )


#: A file, and all its problems.
WRONG_FILES = [
    # Tables
    ('[gateio_spt]\napi_key = "s3cr3t"', [f"line 1: gateio_spt: unknown venue 'gateio_spt'; known: {KNOWN_VENUES}"]),
    ("gateio_spot = 5", ["line 1: gateio_spot: 5 is not a table"]),
    ("[[gateio_spot]]\nhigh_water = 0", ["line 1: gateio_spot: [a table] is not a table"]),
    ('api_key = "s3cr3t"\n' + exchange(), [f"line 1: api_key: {SECRET_KEY}"]),
    ('[Credentials]\nuser = "s3cr3t"\n' + exchange(), [f"line 1: Credentials: {SECRET_KEY}"]),
    # Keys
    (exchange("high_watr = 1"), ["line 4: gateio_spot.high_watr: unknown key, did you mean high_water?"]),
    (exchange("use_direct = true"), ["line 4: gateio_spot.use_direct: unknown key, did you mean use_direct_handling?"]),
    (exchange('venue = "gateio_spot"'), [f"line 4: gateio_spot.venue: unknown key; known: {KEYS}"]),
    (exchange('"a\\nb" = 1'), [f"line 1: gateio_spot.'a\\nb': unknown key; known: {KEYS}"]),
    (
        exchange("[gateio_spot.transport]", "ping_interval = 5"),
        ["line 5: gateio_spot.transport.ping_interval: unknown key, did you mean ping_interval_s?"],
    ),
    (exchange('api_secret = "s3cr3t"'), [f"line 4: gateio_spot.api_secret: {SECRET_KEY}"]),
    (exchange('[gateio_spot.reconnect]\nPassword = "s3cr3t"'), [f"line 5: gateio_spot.reconnect.Password: {SECRET_KEY}"]),
    (exchange('[gateio_spot.tokens]\nmine = "s3cr3t"'), [f"line 4: gateio_spot.tokens: {SECRET_KEY}"]),
    # Symbols and channels
    (
        "[gateio_spot]",
        ["line 1: gateio_spot.symbols: at least one is needed", "line 1: gateio_spot.channels: at least one is needed"],
    ),
    (exchange(symbols="[]"), ["line 2: gateio_spot.symbols: at least one is needed"]),
    (exchange(channels="[]"), ["line 3: gateio_spot.channels: at least one is needed"]),
    (exchange(symbols='"BTC/USDT"'), ["line 2: gateio_spot.symbols: 'BTC/USDT' is not a list of texts"]),
    (exchange(symbols="{ a = 1 }"), ["line 2: gateio_spot.symbols: a table is not a list of texts"]),
    (exchange(symbols='["BTC/USDT", 5]'), ["line 2: gateio_spot.symbols: [a text, 5] is not a list of texts"]),
    (
        exchange(symbols='[\n"BTCUSDT", "ETH/USDT", ""]'),
        [
            "line 2: gateio_spot.symbols: unknown symbol 'BTCUSDT'; expected the unified notation, such as BTC/USDT or BTC/USDT:USDT",
            "line 2: gateio_spot.symbols: unknown symbol ''; expected the unified notation, such as BTC/USDT or BTC/USDT:USDT",
        ],
    ),
    (exchange(symbols='["BTC/USDT", "BTC/USDT"]'), ["line 2: gateio_spot.symbols: 'BTC/USDT' repeats 'BTC/USDT'"]),
    (exchange(channels='["trade", "spot.trades"]'), ["line 3: gateio_spot.channels: 'spot.trades' repeats 'trade'"]),
    (
        exchange(channels='["trades"]'),
        [f"line 3: gateio_spot.channels: gateio_spot has no channel 'trades'; known: {KNOWN_CHANNELS}"],
    ),
    # Architecture
    (exchange('architecture = "fast"'), ["line 4: gateio_spot.architecture: 'fast' is not direct or strategy"]),
    (exchange("architecture = []"), ["line 4: gateio_spot.architecture: [] is not direct or strategy"]),
    (exchange("use_direct_handling = 1"), ["line 4: gateio_spot.use_direct_handling: 1 is not true or false"]),
    (
        exchange('architecture = "strategy"', "use_direct_handling = true"),
        ["line 5: gateio_spot.use_direct_handling: contradicts architecture = 'strategy'"],
    ),
    (
        exchange("use_direct_handling = false", 'architecture = "direct"'),
        ["line 4: gateio_spot.use_direct_handling: contradicts architecture = 'direct'"],
    ),
    # Addresses
    (
        exchange('websocket_url = "ws://exchange.example/ws?api_key=s3cr3t"'),
        [
            "line 4: gateio_spot.websocket_url: 'ws://exchange.example/ws' would be sent in plain text; "
            "only addresses of this machine may be, use wss://"
        ],
    ),
    (
        exchange('rest_url = "wss://me:s3cr3t@exchange.example"'),
        ["line 4: gateio_spot.rest_url: 'wss://...' holds a user or a password, which has no place in an address"],
    ),
    (exchange('websocket_url = ["wss://host?key=s3cr3t"]'), ["line 4: gateio_spot.websocket_url: [a text] is not a text"]),
    # Numbers
    (exchange("close_deadline_s = 0"), [f"line 4: gateio_spot.close_deadline_s: 0 is not {SECONDS}"]),
    (exchange("close_deadline_s = -0.5"), [f"line 4: gateio_spot.close_deadline_s: -0.5 is not {SECONDS}"]),
    (exchange("close_deadline_s = 1e12"), [f"line 4: gateio_spot.close_deadline_s: 1000000000000.0 is not {SECONDS}"]),
    (exchange("close_deadline_s = inf"), [f"line 4: gateio_spot.close_deadline_s: inf is not {SECONDS}"]),
    (exchange("close_deadline_s = true"), [f"line 4: gateio_spot.close_deadline_s: True is not {SECONDS}"]),
    (exchange('close_deadline_s = "5"'), [f"line 4: gateio_spot.close_deadline_s: '5' is not {SECONDS}"]),
    (
        exchange("close_deadline_s = 2026-01-01"),
        [f"line 4: gateio_spot.close_deadline_s: datetime.date(2026, 1, 1) is not {SECONDS}"],
    ),
    (exchange('close_deadline_s = { a = "s3cr3t" }'), [f"line 4: gateio_spot.close_deadline_s: a table is not {SECONDS}"]),
    (
        exchange("", "[gateio_spot.transport]", "ping_interval_s = nan"),
        [f"line 6: gateio_spot.transport.ping_interval_s: nan is not {SECONDS}"],
    ),
    (exchange("transport = 5"), ["line 4: gateio_spot.transport: 5 is not a table"]),
    (exchange("transport = { ping_interval_s = 0 }"), [f"line 4: gateio_spot.transport.ping_interval_s: 0 is not {SECONDS}"]),
    (exchange("transport . 'ping_interval_s' = 0"), [f"line 4: gateio_spot.transport.ping_interval_s: 0 is not {SECONDS}"]),
    (exchange("high_water = 0"), ["line 4: gateio_spot.high_water: 0 is not a whole number from 1 to 1000000"]),
    (exchange("high_water = 8192.0"), ["line 4: gateio_spot.high_water: 8192.0 is not a whole number from 1 to 1000000"]),
    (exchange("high_water = 0x" + "f" * 5000), ["line 4: gateio_spot.high_water: a huge number is not a whole number from 1 to 1000000"]),
    (
        exchange("high_water = " + "9" * 100),
        ["line 4: gateio_spot.high_water: " + "9" * 57 + "... is not a whole number from 1 to 1000000"],
    ),
    (
        exchange("high_water = " + "[" * 200 + "]" * 200),
        ["line 4: gateio_spot.high_water: " + "[" * 57 + "... is not a whole number from 1 to 1000000"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), WRONG_FILES, ids=[str(number) for number in range(len(WRONG_FILES))])
def test_each_mistake_is_told_with_its_place_and_what_would_be_right(text: str, expected: list[str]) -> None:
    assert problems(text) == expected
    assert SECRET not in "".join(expected)


class TestWhatIsNotToml:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("gateio_spot", "not TOML: Expected '=' after a key in a key/value pair (at end of document)"),
            ("[gateio_spot]\n[gateio_spot]", "not TOML: Cannot declare ('gateio_spot',) twice (at line 2, column 13)"),
            ("a = " + "[" * 100_000, "not TOML: nested too deeply"),
        ],
    )
    def test_it_is_refused_with_the_reason(self, text: str, problem: str) -> None:
        assert problems(text) == [problem]

    def test_a_number_that_python_refuses_to_read_is_no_toml_either(self) -> None:
        (problem,) = problems("a = " + "9" * 5000)
        assert problem.startswith("not TOML: Exceeds the limit (4300 digits)")


def test_ten_mistakes_give_ten_problems_in_the_order_of_the_file() -> None:
    text = exchange(
        "high_water = 0",
        "close_deadline_s = nan",
        'architecture = "fast"',
        "colour = 1",
        "[gateio_spot.transport]",
        "ping_interval_s = true",
        'token = "s3cr3t"',
        "[gateio_spot.reconnect]",
        "factor = 0.5",
        "[nowhere]",
        symbols='["BTCUSDT"]',
        channels='["nope"]',
    )
    assert [problem.split(":")[0] for problem in problems(text)] == [f"line {line}" for line in (2, 3, 4, 5, 6, 7, 9, 10, 12, 13)]


def test_a_problem_whose_line_cannot_be_found_is_told_last_and_without_one() -> None:
    text = 'gateio_spot.symbols = ["BTC/USDT"]\ngateio_spot.high_water = 0'
    assert problems(text) == [
        "line 2: gateio_spot.high_water: 0 is not a whole number from 1 to 1000000",
        "gateio_spot.channels: at least one is needed",
    ]


def test_one_wrong_exchange_and_none_is_started() -> None:
    assert len(problems(exchange() + "\n[nowhere]")) == 1


MANY = "a whole number from 1 to 1000000"
DAY = "a number of seconds above 0 and at most 86400"
BYTES = "a whole number of bytes from 1024 to 1073741824"

#: A field, values just outside its range or of another type, and the words for what it takes.
WRONG_VALUES: list[tuple[type[Any], str, Sequence[object], str]] = [
    *(
        (TransportSettings, name, [0, -1, 3600.1, 1e12, nan, inf, -inf, True, "5", None, 10**400], SECONDS)
        for name in ("open_timeout_s", "close_timeout_s", "frame_timeout_s", "ping_interval_s", "ping_timeout_s")
    ),
    (TransportSettings, "max_message_bytes", [1023, 1024**3 + 1, 0, -1, 4096.0, nan, True, None], BYTES),
    *((ReconnectSettings, name, [0, -1, 3601, nan, inf, True], SECONDS) for name in ("first_delay_s", "max_delay_s", "stable_s")),
    *((ReconnectSettings, name, [0, -1, 86401, nan, inf, True], DAY) for name in ("window_s", "ban_delay_s")),
    (ReconnectSettings, "factor", [0.99, 0, -2, 101, nan, inf, True], "a number from 1 to 100"),
    (ReconnectSettings, "max_restarts", [-1, 1_000_001, 1.0, True, None], "a whole number from 0 to 1000000"),
    (ReconnectSettings, "connects_per_minute", [0, -1, 1_000_001, inf, True], "a number above 0 and at most 1000000"),
    (ReconnectSettings, "max_attempts", [0, -1, 1_000_001, 1.0, True], MANY),
    (ReconnectSettings, "reset_on_1005", [0, 1, "true", None], "true or false"),
    *((ExchangeSettings, name, [0, -1, 3601, nan, inf, True], SECONDS) for name in ("subscribe_timeout_s", "close_deadline_s")),
    (ExchangeSettings, "high_water", [0, -1, 1_000_001, 1.0, True], MANY),
    (ExchangeSettings, "snapshots_per_minute", [0, -1, 6001, nan, inf, True], "a number above 0 and at most 6000"),
    (ExchangeSettings, "architecture", ["fast", "\ud800", 1, None], "direct or strategy"),
    (ExchangeSettings, "websocket_url", [5], "a text"),
    (ExchangeSettings, "symbols", ["BTC/USDT", 5, None, b"BTC/USDT"], "a list of texts"),
    (ExchangeSettings, "transport", [5, None, []], "a table"),
    (ExchangeSettings, "venue", ["gateio_spot", None], "a venue"),
]


def with_values(kind: type[Any], **values: object) -> Any:
    return kind(**({"venue": GATEIO_SPOT} if kind is ExchangeSettings else {}) | values)


@pytest.mark.parametrize(
    ("kind", "name", "value", "wanted"),
    [(kind, name, value, wanted) for kind, name, values, wanted in WRONG_VALUES for value in values],
)
def test_no_settings_are_made_with_a_value_out_of_its_range(kind: type[Any], name: str, value: object, wanted: str) -> None:
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    assert refusal(lambda: with_values(kind, **{name: value})) == f"{name}: {shown} is not {wanted}"


#: Each range's ends.
EDGES: list[tuple[type[Any], str, Sequence[object]]] = [
    (TransportSettings, "ping_interval_s", [0.001, 3600]),
    (TransportSettings, "max_message_bytes", [1024, 1024**3]),
    (ReconnectSettings, "factor", [1, 100]),
    (ReconnectSettings, "window_s", [0.001, 86400]),
    (ReconnectSettings, "max_restarts", [0, 1_000_000]),
    (ReconnectSettings, "connects_per_minute", [None, 0.1, 1_000_000]),
    (ReconnectSettings, "max_attempts", [None, 1, 1_000_000]),
    (ExchangeSettings, "high_water", [1, 1_000_000]),
    (ExchangeSettings, "snapshots_per_minute", [0.1, 6000]),
]


@pytest.mark.parametrize(("kind", "name", "value"), [(kind, name, value) for kind, name, values in EDGES for value in values])
def test_the_ends_of_a_range_belong_to_it(kind: type[Any], name: str, value: object) -> None:
    assert getattr(with_values(kind, **{name: value}), name) == value


class TestConstruction:
    def test_every_wrong_field_is_named_at_once(self) -> None:
        assert refusal(lambda: TransportSettings(ping_interval_s=nan, max_message_bytes=10, open_timeout_s=0)) == (
            f"open_timeout_s: 0 is not {SECONDS}; ping_interval_s: nan is not {SECONDS}; max_message_bytes: 10 is not {BYTES}"
        )
        assert refusal(lambda: ExchangeSettings(venue=GATEIO_SPOT, high_water=0, symbols=("A/B", "A/B"), websocket_url="x")) == (
            f"high_water: 0 is not {MANY}; symbols: 'A/B' repeats 'A/B'; "
            "websocket_url: 'x' is not an address of the form wss://host[:port]/path"
        )

    def test_without_a_venue_nothing_is_asked_of_it(self) -> None:
        venue: Any = "gateio_spot"
        assert refusal(lambda: ExchangeSettings(venue=venue, channels=("trade",))) == "venue: 'gateio_spot' is not a venue"

    def test_every_copy_is_checked_too(self) -> None:
        assert "factor" in refusal(lambda: msgspec.structs.replace(ReconnectSettings(), factor=0))
        assert copy.deepcopy(ReconnectSettings()) == ReconnectSettings()

    def test_values_have_the_types_that_the_fields_name(self) -> None:
        values: dict[str, Any] = {
            "architecture": "direct",
            "symbols": ["BTC/USDT"],
            "close_deadline_s": 5,
            "transport": {"open_timeout_s": 1},
        }
        settings = with_values(ExchangeSettings, **values)
        assert settings.architecture is Architecture.DIRECT
        assert settings.symbols == ("BTC/USDT",)
        assert isinstance(settings.close_deadline_s, float)
        assert settings.transport == TransportSettings(open_timeout_s=1.0)

    def test_addresses_are_the_venues_own_unless_given(self) -> None:
        settings = ExchangeSettings(venue=GATEIO_SPOT)
        assert (settings.address, settings.rest_address) == (GATEIO_SPOT.websocket_url, GATEIO_SPOT.rest_url)
        settings = ExchangeSettings(venue=GATEIO_SPOT, websocket_url="ws://127.0.0.1:1/", rest_url="https://other.example")
        assert (settings.address, settings.rest_address) == ("ws://127.0.0.1:1/", "https://other.example")


class TestByKeyword:
    def test_it_gives_what_a_file_gives(self) -> None:
        text = exchange("use_direct_handling = false", "[gateio_spot.transport]", "ping_interval_s = 15")
        given: dict[str, Any] = {"symbols": ["BTC/USDT"], "channels": ("trade",), "use_direct_handling": False}
        for transport in ({"ping_interval_s": 15}, TransportSettings(ping_interval_s=15)):
            assert exchange_settings("gateio_spot", **given, transport=transport) == parse_config(text, "x.toml")["gateio_spot"]

    def test_nothing_is_required(self) -> None:
        assert exchange_settings("gateio_spot") == ExchangeSettings(venue=GATEIO_SPOT)

    def test_an_unknown_venue_is_named(self) -> None:
        with pytest.raises(UnknownVenue, match="unknown venue 'nowhere'; known: gateio_spot"):
            exchange_settings("nowhere")

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"high_watr": 1}, "high_watr: unknown key, did you mean high_water?"),
            ({"venue": GATEIO_SPOT}, f"venue: unknown key; known: {KEYS}"),
            ({"transport": {1: 2}}, f"transport.1: unknown key; known: {', '.join(TransportSettings.__struct_fields__)}"),
            ({"transport": {"passphrase": SECRET}}, f"transport.passphrase: {SECRET_KEY}"),
            ({"api_key": SECRET, "high_water": 0}, f"api_key: {SECRET_KEY}; high_water: 0 is not {MANY}"),
            (
                {"architecture": Architecture.DIRECT, "use_direct_handling": False},
                "use_direct_handling: contradicts architecture = 'direct'",
            ),
        ],
    )
    def test_everything_wrong_is_told_as_for_a_file(self, given: dict[str, Any], expected: str) -> None:
        assert refusal(lambda: exchange_settings("gateio_spot", **given)) == expected
