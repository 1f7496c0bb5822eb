"""Configurations: whatever is written, all of it is used or none, with every reason, and no reason tells a secret."""

import json
from collections.abc import Callable, Mapping
from datetime import date
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infrastructure.config import exchange_settings, parse_config, read_config
from infrastructure.errors import ConfigError, SettingsError
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT
from infrastructure.networking.websocket.settings import (
    ExchangeSettings,
    FreshnessSettings,
    ReconnectSettings,
    RotationSettings,
    TransportSettings,
)
from tests.harness.effort import effort

Accepts = Callable[[object], bool]


def number(least: float, most: float, *, whole: bool = False, least_included: bool = True) -> Accepts:
    def accepts(value: object) -> bool:
        if not isinstance(value, int if whole else int | float) or isinstance(value, bool):
            return False
        return least < value <= most or (least_included and value == least)

    return accepts


SECONDS = number(0, 3600, least_included=False)
DAY = number(0, 86_400, least_included=False)
MANY = number(1, 1_000_000, whole=True)

#: What each number and flag may be, told a second time.
RANGES: dict[type[Any], dict[str, Accepts]] = {
    TransportSettings: {
        "open_timeout_s": SECONDS,
        "close_timeout_s": SECONDS,
        "frame_timeout_s": SECONDS,
        "ping_interval_s": SECONDS,
        "ping_timeout_s": SECONDS,
        "max_message_bytes": number(1024, 1024**3, whole=True),
    },
    ReconnectSettings: {
        "first_delay_s": SECONDS,
        "factor": number(1, 100),
        "max_delay_s": SECONDS,
        "stable_s": SECONDS,
        "max_restarts": number(0, 1_000_000, whole=True),
        "window_s": DAY,
        "max_attempts": lambda value: value is None or MANY(value),
        "connects_per_minute": lambda value: value is None or number(0, 1_000_000, least_included=False)(value),
        "ban_delay_s": DAY,
        "reset_on_1005": lambda value: isinstance(value, bool),
    },
    FreshnessSettings: {
        "tick_s": SECONDS,
        "silent_s": SECONDS,
        "window_s": SECONDS,
        "learn_s": SECONDS,
        "regular": MANY,
        "degraded_share": number(0, 0.5, least_included=False),
        "first_wait_s": SECONDS,
        "max_wait_s": DAY,
        "asleep_s": SECONDS,
    },
    RotationSettings: {"overlap_s": SECONDS, "rotate_before_s": DAY, "timeout_s": SECONDS},
    ExchangeSettings: {
        "subscribe_timeout_s": SECONDS,
        "close_deadline_s": SECONDS,
        "high_water": MANY,
        "account_check_s": SECONDS,
        "snapshots_per_minute": number(0, 6000, least_included=False),
    },
}
TABLES: dict[str, type[Any]] = {
    "transport": TransportSettings,
    "reconnect": ReconnectSettings,
    "freshness": FreshnessSettings,
    "rotation": RotationSettings,
}

NUMBERS = st.one_of(
    st.sampled_from([0, 1, 100, 101, 1023, 1024, 3600, 3601, 86_400, 1_000_000, 1024**3, 10**400, 1e12, nan, inf, -inf]),
    st.integers(-5, 5000),
    st.floats(0, 100),
    st.integers(),
    st.floats(),
)
SCALARS = st.one_of(NUMBERS, st.booleans(), st.text("aB1 ./:\n\t\x00\u20ac'\"[]#=", max_size=8), st.dates())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab .", max_size=3), inner, max_size=3)),
    max_leaves=5,
)


@pytest.mark.parametrize("kind", RANGES)
@effort(150)
@given(data=st.data())
def test_settings_are_made_if_every_value_is_in_its_range_else_each_that_is_not_is_named(kind: type[Any], data: st.DataObject) -> None:
    ranges = RANGES[kind]
    values = data.draw(st.dictionaries(st.sampled_from(sorted(ranges)), NUMBERS | st.booleans() | st.none() | st.text("ab", max_size=3)))
    wrong = [name for name in ranges if name in values and not ranges[name](values[name])]
    venue = {"venue": GATEIO_SPOT} if kind is ExchangeSettings else {}
    try:
        made = kind(**venue, **values)
    except SettingsError as error:
        assert [problem.split(":")[0] for problem in str(error).split("; ")] == wrong
    else:
        assert wrong == []
        assert {name: getattr(made, name) for name in values} == values


def test_every_number_and_flag_is_told_a_second_time() -> None:
    others = {"venue", "symbols", "channels", "architecture", "websocket_url", "rest_url", "credentials", "private_channels", *TABLES}
    for kind, ranges in RANGES.items():
        assert set(kind.__struct_fields__) - others == set(ranges)


def toml(value: object) -> str:
    """``value`` as it is written in a file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:#x}" if value > 10**4000 else str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    return repr(value)


def written(exchange: Mapping[str, object], *, inline: bool = False) -> str:
    """The file with the table of one exchange, and the tables within it on their own or in their line."""
    tables = {} if inline else {key: value for key, value in exchange.items() if key in TABLES and isinstance(value, dict)}
    lines = ["[gateio_spot]", *(f"{json.dumps(key)} = {toml(value)}" for key, value in exchange.items() if key not in tables)]
    for name, table in tables.items():
        lines += [f"[gateio_spot.{name}]", *(f"{json.dumps(key)} = {toml(value)}" for key, value in table.items())]
    return "\n".join(lines)


def reasons(error: ConfigError) -> tuple[str, ...]:
    """The problems, which are what the error shows line by line."""
    assert error.problems
    assert str(error).split("\n") == [f"x.toml: {problem}" for problem in error.problems]
    assert all(problem.isprintable() for problem in error.problems)
    return error.problems


def check_ranges(settings: ExchangeSettings) -> None:
    for part in (settings, settings.transport, settings.reconnect):
        for name, accepts in RANGES[type(part)].items():
            assert accepts(getattr(part, name)), name
    assert settings.symbols and settings.channels


RIGHT: dict[str, Any] = {
    "symbols": ["BTC/USDT", "ETH/USDT"],
    "channels": ["trade", "orderbook", "candle:5m"],
    "architecture": "strategy",
    "use_direct_handling": False,
    "websocket_url": "wss://exchange.example/ws",
    "rest_url": "http://127.0.0.1:8080",
    "subscribe_timeout_s": 10,
    "close_deadline_s": 5.0,
    "high_water": 8192,
    "snapshots_per_minute": 120,
    "transport": {"open_timeout_s": 10, "ping_interval_s": 15.5, "max_message_bytes": 1024},
    "reconnect": {"first_delay_s": 0.5, "factor": 2, "max_attempts": 5, "reset_on_1005": True},
}
KEYS = st.sampled_from([*RIGHT, "venue", "colour", "", "a b", "\u20ac\n"])
INNER_KEYS = st.sampled_from([*TransportSettings.__struct_fields__, *ReconnectSettings.__struct_fields__, "colour"])


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, Any]:
    """RIGHT with some values replaced, added and left out."""
    exchange = {key: dict(value) if isinstance(value, dict) else value for key, value in RIGHT.items()}
    for _ in range(draw(st.integers(0, 4))):
        key = draw(KEYS | st.sampled_from(sorted(TABLES)))
        place, key = (exchange[key], draw(INNER_KEYS)) if key in TABLES and isinstance(exchange.get(key), dict) else (exchange, key)
        if draw(st.integers(0, 9)):
            place[key] = draw(VALUES | NUMBERS)
        else:
            place.pop(key, None)
    return exchange


class TestAnyValues:
    @effort(400)
    @given(exchange=mutations(), inline=st.booleans())
    @example(exchange=RIGHT, inline=False)
    def test_a_file_gives_settings_in_their_ranges_or_reasons(self, exchange: dict[str, Any], inline: bool) -> None:
        try:
            made = parse_config(written(exchange, inline=inline), "x.toml")
        except ConfigError as error:
            reasons(error)
        else:
            assert list(made) == ["gateio_spot"]
            check_ranges(made["gateio_spot"])

    @effort(400)
    @given(exchange=mutations())
    @example(exchange=RIGHT)
    def test_keyword_arguments_are_judged_as_a_file_is_but_need_no_symbols_and_channels(self, exchange: dict[str, Any]) -> None:
        told: list[str] = []
        try:
            made = parse_config(written(exchange), "x.toml")
        except ConfigError as error:
            told = [problem.partition("gateio_spot.")[2] for problem in reasons(error) if "at least one is needed" not in problem]
            made = {}
        try:
            by_keyword = exchange_settings("gateio_spot", **exchange)
        except SettingsError as error:
            assert len(str(error)) == len("; ".join(told))
            assert all(problem in str(error) for problem in told)
        else:
            assert told == []
            assert made in ({}, {"gateio_spot": by_keyword})


#: Mistakes, each of which is one problem, whatever others there are.
MISTAKES: dict[str, list[Any]] = {
    "symbols": [["BTCUSDT"], ["BTC/USDT", "BTC/USDT"], 5, [], [1.5]],
    "channels": [["nope"], ["trade", "spot.trades"], {}, []],
    "architecture": ["fast", 5, []],
    "websocket_url": ["ws://exchange.example", "https://exchange.example", 5],
    "rest_url": ["http://exchange.example", "", []],
    "subscribe_timeout_s": [0, nan, "10"],
    "high_water": [0, 1.5, 1 << 20_000],
    "colour": [1, {"a": 1}],
    "api_key": ["x", {"a": 1}],
    "transport.ping_interval_s": [-1, inf, True],
    "transport.max_message_bytes": [1, 1e12],
    "transport.ping": [1],
    "reconnect.factor": [0.5, nan],
    "reconnect.reset_on_1005": [1, "yes"],
    "reconnect.token": [1],
}


@effort(200)
@given(chosen=st.dictionaries(st.sampled_from(sorted(MISTAKES)), st.integers(0, 4)))
def test_so_many_mistakes_so_many_problems_each_with_its_line(chosen: dict[str, int]) -> None:
    exchange = {key: dict(value) if isinstance(value, dict) else value for key, value in RIGHT.items() if key != "use_direct_handling"}
    for path, which in chosen.items():
        table, _, key = path.rpartition(".")
        (exchange[table] if table else exchange)[key] = MISTAKES[path][which % len(MISTAKES[path])]
    text = written(exchange)
    if not chosen:
        check_ranges(parse_config(text, "x.toml")["gateio_spot"])
        return
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "x.toml")
    lines = {f'"{path.rpartition(".")[2]}" = ': path for path in chosen}
    expected = [(number, lines[start]) for number, line in enumerate(text.split("\n"), 1) for start in lines if line.startswith(start)]
    told = [problem.split(":")[:2] for problem in reasons(caught.value)]
    assert told == [[f"line {number}", f" gateio_spot.{path}"] for number, path in expected]


SECRET = "s3cr3t-0f-m1ne"
SECRET_KEYS = st.builds(
    lambda before, word, after: before + word + after,
    st.sampled_from(["", "api_", "GATEIO_", "my "]),
    st.sampled_from(["key", "secret", "password", "passphrase", "token", "credentials", "Secret", "TOKEN", "apiKey"]),
    st.sampled_from(["", "_v4", "_file", "2"]),
)
SECRET_VALUES = st.sampled_from([SECRET, [SECRET], {"a": SECRET}, [{"b": [SECRET]}], f"wss://me:{SECRET}@exchange.example"])
SECRET_URLS = st.sampled_from(
    [
        f"{scheme}://{host}"
        for scheme in ("ws", "wss", "http", "https", "ftp", "")
        for host in (
            f"me:{SECRET}@exchange.example/ws",
            f"exchange.example/?a={SECRET}",
            f"exchange.example#{SECRET}",
            f"127.0.0.1:0/?{SECRET}",
        )
    ]
)


class TestSecrets:
    @effort(200)
    @given(key=SECRET_KEYS, value=SECRET_VALUES, place=st.sampled_from(["file", "exchange", "transport", "reconnect", "unknown"]))
    def test_a_secret_is_refused_wherever_it_stands_and_never_told(self, key: str, value: object, place: str) -> None:
        entry = f"{json.dumps(key)} = {toml(value)}\n"
        if place == "file":
            text = entry + written(RIGHT)
        elif place == "exchange":
            text = written(RIGHT | {key: value})
        elif place == "unknown":
            text = f"{written(RIGHT)}\n[gateio_spot.other]\n{entry}"
        else:
            text = written(RIGHT | {place: {key: value}})
        with pytest.raises(ConfigError) as caught:
            parse_config(text, "x.toml")
        (problem,) = reasons(caught.value)
        assert ("put it into the environment" in problem) == (place != "unknown")
        assert SECRET not in problem

    @effort(100)
    @given(url=SECRET_URLS, key=st.sampled_from(["websocket_url", "rest_url"]), in_list=st.booleans())
    def test_nothing_secret_of_an_address_is_told(self, url: str, key: str, in_list: bool) -> None:
        try:
            parse_config(written(RIGHT | {key: [url] if in_list else url}), "x.toml")
        except ConfigError as error:
            assert SECRET not in str(error)

    @effort(100)
    @given(value=SECRET_VALUES.filter(lambda value: not isinstance(value, str)), key=st.sampled_from([*RIGHT, "other"]))
    def test_nothing_within_a_list_or_table_of_the_wrong_place_is_told(self, value: Any, key: str) -> None:
        if key in ("symbols", "channels", "websocket_url", "rest_url") and value == [SECRET]:
            return  # There it is read as a symbol, a channel or an address, which is told.
        with pytest.raises(ConfigError) as caught:
            parse_config(written(RIGHT | {key: value}), "x.toml")
        assert SECRET not in str(caught.value)


PIECES = st.lists(
    st.sampled_from(
        [
            "[gateio_spot]",
            "[",
            "]",
            "gateio_spot",
            ".",
            "transport",
            "symbols",
            "=",
            '"BTC/USDT"',
            '"',
            "'",
            '"""',
            "\n",
            "\r\n",
            " ",
            "#",
            "0",
            "nan",
        ]
        + ["ping_interval_s", "\\", "\x00", "{", "}", ",", "9" * 5000, "[" * 2000, "\u2028", "\ufeff"]
    )
    | st.text(max_size=3),
    max_size=25,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "x.toml"


class TestAnyText:
    @effort(400)
    @given(text=PIECES.map("".join))
    @example(text="a = " + "[" * 100_000)
    @example(text="a = " + "9" * 5000)
    def test_any_text_gives_settings_or_reasons(self, text: str) -> None:
        try:
            parse_config(text, "x.toml")
        except ConfigError as error:
            reasons(error)

    @effort(200)
    @given(raw=st.binary(max_size=40))
    def test_any_bytes_give_settings_or_reasons(self, path: Path, raw: bytes) -> None:
        path.write_bytes(raw)
        with pytest.raises(ConfigError):
            read_config(path)
