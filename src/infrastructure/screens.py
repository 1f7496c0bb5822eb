"""What the commands show in a terminal: tables of a demonstration, a run and a replay."""

import math
from collections.abc import Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from infrastructure.book import OrderBook
from infrastructure.demo import Demo, DemoSummary, VenueFigures
from infrastructure.metrics import FrameAccounting
from infrastructure.replay import ReplaySummary
from infrastructure.run import Exchanges

_BOOKS_SHOWN = 15
#: Prices are shown with so many digits, and with cents at least.
_PRICE_DIGITS = 6


def picture(demo: Demo, elapsed: float, seconds: float) -> Group:
    """What a demo shows while it runs; fits 80 columns and 24 lines."""
    assert demo.feed is not None
    figures = demo.figures()
    head = Text.assemble(
        ("tickrail demo", "bold"),
        f"  {demo.venue.name}  {min(elapsed, seconds):5.1f} of {seconds:g} s  now: ",
        (demo.feed.architecture.value if elapsed < seconds else "comparing", "bold cyan"),
    )
    ledger = demo.ledger
    proof = Text.assemble(
        "lost ", _verdict(ledger.lost), "  duplicated ", _verdict(ledger.duplicated), "  reordered ", _verdict(ledger.reordered)
    )
    return Group(head, _architectures(figures), _books(demo.feed.books), _account(figures.accounting), _changes(figures), proof)


def exchanges_picture(exchanges: Exchanges) -> Group:
    """What a run shows: a line for each exchange, then the books, as many as fit; fits 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name, width in (("exchange", 14), ("state", 12), ("architecture", 12)):
        table.add_column(name, min_width=width, no_wrap=True)
    for name, width in (("frames", 11), ("rejected", 8), ("lag ms", 6), ("connects", 8)):
        table.add_column(name, justify="right", min_width=width, no_wrap=True)
    books: dict[str, OrderBook] = {}
    for name, manager in exchanges.managers.items():
        frames = manager.accounting.frames
        books |= {f"{name} {symbol}": book for symbol, book in manager.books.items()}
        table.add_row(
            name,
            manager.state.value,
            manager.architecture.value,
            f"{frames.received:,}",
            f"{frames.rejected:,}",
            f"{manager.lag_ns / 1e6:.0f}",
            f"{manager.connects:,}",
        )
    notes = [Text(f"{name}: {note}", "yellow") for name, note in exchanges.notes.items()]
    if len(books) > _BOOKS_SHOWN:
        notes.insert(0, Text(f"and {len(books) - _BOOKS_SHOWN} more books"))
    return Group(Text("tickrail run", "bold"), table, _books(dict(list(books.items())[:_BOOKS_SHOWN])), *notes)


def _architectures(figures: VenueFigures) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("architecture")
    for name, width in (("messages", 11), ("per second", 10), ("errors", 6), ("p50 us", 9), ("p99 us", 9)):
        table.add_column(name, justify="right", min_width=width)
    for name, path in figures.architectures.items():
        table.add_row(
            name, f"{path.messages:,}", f"{path.per_second:,.0f}", str(path.errors), _microseconds(path.p50_ns), _microseconds(path.p99_ns)
        )
    return table


def _books(books: Mapping[str, OrderBook]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("book")
    for name, width in (("state", 7), ("best bid", 10), ("best ask", 10), ("update id", 12)):
        table.add_column(name, justify="right", min_width=width)
    for symbol, book in sorted(books.items()):
        bid, ask = (book.best_bid, book.best_ask) if book.is_live else (None, None)
        state = Text(book.state.value, "green" if book.is_live else "yellow")
        table.add_row(symbol, state, _price(bid), _price(ask), str(book.last_id or "-"))
    return table


def _account(frames: FrameAccounting) -> Table:
    names = ("received", "delivered", "control", "rejected", "shed", "in_flight")
    return _counts({name.replace("_", " "): getattr(frames, name) for name in names}, min_width=9)


def _counts(counts: Mapping[str, int], min_width: int = 0) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in counts:
        table.add_column(name, justify="right", min_width=min_width)
    table.add_row(*(f"{count:,}" for count in counts.values()))
    return table


def _changes(figures: VenueFigures) -> Text:
    return Text(f"switches {figures.switches:,}   holes in books repaired {figures.gaps_repaired:,}")


def demo_end(summary: DemoSummary) -> Group:
    """What a demonstration ended with."""
    parts: list[Text | Table] = []
    for venue, figures in summary.venues.items():
        parts += [Text(f"{venue}: {summary.seconds:.1f} s", "bold"), _architectures(figures)]
        parts += [_account(figures.accounting), _changes(figures)]
        parts.append(Text(f"books: {figures.books.live} live, all compared with the exchange's own, level by level"))
    parts += [Text(finding, "red") for finding in summary.findings]
    parts += [Text(f"wrong book: {symbol}", "red") for symbol in summary.wrong_books]
    parts.append(
        Text.assemble(
            "lost ", _verdict(summary.lost), "  duplicated ", _verdict(summary.duplicated), "  reordered ", _verdict(summary.reordered)
        )
    )
    return Group(*parts)


def replay_end(summary: ReplaySummary) -> Group:
    """What a replay ended with."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("book", "state"):
        table.add_column(name)
    for name in ("best bid", "best ask", "levels", "update id"):
        table.add_column(name, justify="right")
    for symbol, book in summary.books.items():
        bid, ask = (_price(side[0] if side else None) for side in (book.bids, book.asks))
        table.add_row(symbol, book.state, bid, ask, f"{len(book.bids)} + {len(book.asks)}", str(book.last_id))
    return Group(
        _account(summary.accounting),
        _counts(summary.events),
        Text(f"switches {summary.switches:,}"),
        table,
        Text(f"sha256 {summary.events_sha256}"),
    )


def _verdict(count: int) -> tuple[str, str]:
    return (f"{count:,}", "bold red" if count else "bold green")


def _price(level: tuple[float, float] | None) -> str:
    if level is None:
        return "-"
    price, _ = level
    return f"{price:.{max(2, _PRICE_DIGITS - 1 - math.floor(math.log10(price)))}f}"


def _microseconds(nanoseconds: int | None) -> str:
    return "-" if nanoseconds is None else f"{nanoseconds / 1000:.1f}"
