"""What is traded at a venue: the list that its REST interface publishes, and the names of its markets in either notation."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

import msgspec

from infrastructure.errors import DecodeError, UnknownSymbol

#: Names that are kept of markets that no list has named.
_REMEMBERED = 16_384


class InstrumentStatus(StrEnum):
    """Whether an instrument can be traded at the moment."""

    TRADING = "trading"
    HALTED = "halted"


class Instrument(msgspec.Struct, frozen=True):
    """One market of a venue as its instrument list describes it. Steps and sizes are exact; None where the list does not say.

    ``symbol`` is unified: BASE/QUOTE, for futures BASE/QUOTE:SETTLE. Amounts of the venue's messages are in base currency or, where
    there is a ``contract_size``, in contracts of so much base currency each.
    """

    venue: str
    symbol: str
    native: str
    base: str
    quote: str
    settle: str | None
    status: InstrumentStatus
    tick_size: Decimal | None
    lot_size: Decimal | None
    min_amount: Decimal | None = None
    min_notional: Decimal | None = None
    contract_size: Decimal | None = None

    def base_amount(self, amount: float) -> float:
        """``amount``, as the venue's messages have it, in base currency; negative stays negative."""
        return amount if self.contract_size is None else amount * float(self.contract_size)


class _ByNative(dict[str, str]):
    """Unified symbols by native name; one that is missing is asked of ``missing``, which may raise."""

    __slots__ = ("missing",)

    missing: Callable[[str], str]

    def __missing__(self, native: str) -> str:
        return self.missing(native)


class Symbols:
    """The markets of one venue by either name.

    Once a list is loaded it alone counts. Until then, as in a replay of frames without one, names are read by the venue's notation:
    ``read`` makes a native name unified or raises DecodeError, ``write`` is the way back.
    """

    def __init__(self, venue: str, read: Callable[[str], str], write: Callable[[str], str]) -> None:
        self._venue = venue
        self._read = read
        self._write = write
        self._instruments: dict[str, Instrument] = {}
        #: Unified symbols by native name, for codecs: a lookup of an unknown name raises DecodeError.
        self.by_native = _ByNative()
        self.by_native.missing = self._missing

    def __repr__(self) -> str:
        return f"<Symbols {self._venue} {len(self._instruments) or 'by notation'}>"

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """By unified symbol; empty until a list is loaded."""
        return MappingProxyType(self._instruments)

    def load(self, instruments: Iterable[Instrument]) -> None:
        """Take a list. What only an earlier one had stays known, as halted: its streams may still be wanted."""
        gone = {symbol: msgspec.structs.replace(known, status=InstrumentStatus.HALTED) for symbol, known in self._instruments.items()}
        self._instruments = gone | {instrument.symbol: instrument for instrument in instruments}
        self.by_native.clear()
        self.by_native.update({instrument.native: instrument.symbol for instrument in self._instruments.values()})

    def native(self, symbol: str) -> str:
        """The venue's own name for the market of a unified symbol. Raises UnknownSymbol for one that the list does not have."""
        if not self._instruments:
            return self._write(symbol)
        instrument = self._instruments.get(symbol)
        if instrument is None:
            raise UnknownSymbol(symbol, f"one of the {len(self._instruments)} instruments of {self._venue}")
        return instrument.native

    def _missing(self, native: str) -> str:
        if self._instruments:
            raise DecodeError(f"{native[:64]!r} is not in the instrument list of {self._venue}")
        symbol = self._read(native)
        if len(self.by_native) >= _REMEMBERED:
            self.by_native.clear()
        self.by_native[native] = symbol
        return symbol
