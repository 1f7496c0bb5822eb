"""Instrument lists, and names by them."""

from decimal import Decimal

import pytest

from infrastructure.errors import DecodeError, UnknownSymbol
from infrastructure.instruments import Instrument, InstrumentStatus, Symbols


def instrument(base: str, *, contract_size: str | None = None) -> Instrument:
    size = None if contract_size is None else Decimal(contract_size)
    names = (f"{base}/USDT", f"{base}_USDT", base, "USDT")
    return Instrument("venue", *names, None, InstrumentStatus.TRADING, Decimal("0.01"), Decimal("0.1"), contract_size=size)


def by_notation() -> Symbols:
    return Symbols("venue", lambda native: native.replace("_", "/"), lambda symbol: symbol.replace("/", "_"))


def test_without_a_list_names_are_read_and_written_by_notation() -> None:
    symbols = by_notation()
    assert symbols.by_native["A_USDT"] == "A/USDT" and symbols.native("A/USDT") == "A_USDT" and not symbols.instruments


def test_once_there_is_a_list_it_alone_counts() -> None:
    symbols = by_notation()
    assert symbols.by_native["B_USDT"] == "B/USDT"
    symbols.load([instrument("A")])
    assert symbols.by_native["A_USDT"] == "A/USDT" and symbols.native("A/USDT") == "A_USDT"
    with pytest.raises(DecodeError, match="'B_USDT' is not in the instrument list of venue"):
        symbols.by_native["B_USDT"]
    with pytest.raises(UnknownSymbol, match="one of the 1 instruments of venue"):
        symbols.native("B/USDT")


def test_what_a_later_list_has_no_more_is_halted_and_keeps_its_name() -> None:
    symbols = by_notation()
    symbols.load([instrument("A"), instrument("B")])
    symbols.load([instrument("B"), instrument("C")])
    assert {symbol: known.status.value for symbol, known in symbols.instruments.items()} == {
        "A/USDT": "halted",
        "B/USDT": "trading",
        "C/USDT": "trading",
    }
    assert symbols.native("A/USDT") == "A_USDT" and symbols.by_native["A_USDT"] == "A/USDT"


def test_amounts_are_turned_into_base_currency_by_the_size_of_a_contract() -> None:
    assert instrument("A").base_amount(2.5) == 2.5
    assert instrument("A", contract_size="0.0001").base_amount(-30.0) == -0.003
