"""What the commands show in a terminal: tables of a demonstration, a run and a replay."""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from infrastructure.account_figures import AccountFigures
from infrastructure.book import OrderBook
from infrastructure.demo import Demo, DemoSummary, VenueFigures
from infrastructure.metrics import FrameAccounting
from infrastructure.replay import ReplaySummary
from infrastructure.run import Exchanges

#: Of a terminal of the usual size.
LINES = 24
#: Prices are shown with so many digits, and with cents at least.
_PRICE_DIGITS = 6


def picture(demo: Demo, elapsed: float, lines: int = LINES) -> Group:
    """What a demo shows while it runs: three venues fit 80 columns and 24 lines; where there are more ``lines``, there are more books."""
    seconds = demo.settings.seconds
    has_ended = elapsed >= seconds
    figures = {name: run.figures() for name, run in demo.runs.items()}
    now = {name: run.feed.architecture.value for name, run in demo.runs.items() if run.feed is not None and not has_ended}
    head = Text.assemble(
        ("tickrail demo", "bold"),
        f"  {min(elapsed, seconds):5.1f} of {seconds:g} s  ",
        ("comparing books and accounts" if has_ended else "", "bold cyan"),
    )
    accounts = {name: its.account for name, its in figures.items()}
    tables = [_architectures(figures, now), _progress(figures), _accounts(accounts, {name: run.symbols for name, run in demo.runs.items()})]
    # A line each for the head and for the names of columns, and one stays free.
    room = lines - 3 - sum(table.row_count + 1 for table in tables)
    books = {name: run.feed.books for name, run in demo.runs.items() if run.feed is not None}
    return Group(head, *tables, _books(_books_that_fit(books, room)))


def exchanges_picture(exchanges: Exchanges, lines: int = LINES) -> Group:
    """What a run shows: a line for each exchange and each account, then as many books as fit ``lines``, then the notes; fits 80 columns.

    Connections are those that it has, of all that were ever opened.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name, width in (("exchange", 14), ("state", 12), ("architecture", 12)):
        table.add_column(name, min_width=width, no_wrap=True)
    for name, width in (("frames", 10), ("rejected", 8), ("lag ms", 6), ("connections", 11)):
        table.add_column(name, justify="right", min_width=width, no_wrap=True)
    for name, manager in exchanges.managers.items():
        frames = manager.accounting.frames
        table.add_row(
            name,
            manager.state.value,
            manager.architecture.value,
            f"{frames.received:,}",
            f"{frames.rejected:,}",
            f"{manager.lag_ns / 1e6:.0f}",
            f"{manager.connections} of {manager.connects}",
        )
    notes = [Text(f"{name}: {note}", "yellow") for name, note in exchanges.notes.items()]
    tables = [table]
    if accounts := exchanges.accounts:
        tables.append(_accounts(accounts, {name: exchanges.managers[name].settings.symbols for name in accounts}))
    books = {name: manager.books for name, manager in exchanges.managers.items()}
    # A line each for the head, for the names of columns, for the books that do not fit, and one stays free.
    fitting = _books_that_fit(books, lines - 4 - sum(each.row_count + 1 for each in tables) - len(notes))
    if more := sum(map(len, books.values())) - len(fitting):
        notes.insert(0, Text(f"and {more} more books"))
    return Group(Text("tickrail run", "bold"), *tables, _books(fitting), *notes)


def _architectures(figures: Mapping[str, VenueFigures], now: Mapping[str, str]) -> Table:
    """Two lines for each venue; ``now`` is the architecture that its frames go to."""
    table = _table("venue", "architecture")
    for name, width in (("messages", 10), ("per second", 10), ("errors", 6), ("p50 us", 8), ("p99 us", 8)):
        table.add_column(name, justify="right", min_width=width, no_wrap=True)
    for venue, its in figures.items():
        for place, (name, path) in enumerate(its.architectures.items()):
            table.add_row(
                "" if place else venue,
                Text(name, "bold cyan" if now.get(venue) == name else ""),
                f"{path.messages:,}",
                f"{path.per_second:,.0f}",
                f"{path.errors:,}",
                _microseconds(path.p50_ns),
                _microseconds(path.p99_ns),
            )
    return table


def _progress(figures: Mapping[str, VenueFigures]) -> Table:
    """What a demo shows of each feed while it runs; ``_feeds`` and ``_proof`` have more room."""
    return _by_venue(
        figures,
        {
            "received": lambda its: f"{its.accounting.received:,}",
            "switches": lambda its: f"{its.switches:,}",
            "repaired": lambda its: f"{its.gaps_repaired:,}",
            **_PROOF,
        },
        min_width=4,
    )


def _feeds(figures: Mapping[str, VenueFigures]) -> Table:
    return _by_venue(
        figures,
        {
            "received": lambda its: f"{its.accounting.received:,}",
            "connections": lambda its: f"{its.connections:,}",
            "switches": lambda its: f"{its.switches:,}",
            "rotations": lambda its: f"{its.rotations:,}",
            "books live": lambda its: f"{its.books.live:,}",
            "repaired": lambda its: f"{its.gaps_repaired:,}",
        },
    )


def _accounts(accounts: Mapping[str, AccountFigures], symbols: Mapping[str, Sequence[str]]) -> Table:
    """A line for each account, with the balances of its first symbol; where it has a position, that in place of the base currency's."""
    table = _table("account", "state")
    for name, width in (("orders", 6), ("fills", 6), ("quote", 17), ("base or position", 18)):
        table.add_column(name, justify="right", min_width=width, max_width=width, no_wrap=True)
    for venue, its in accounts.items():
        symbol = next(iter(symbols[venue]), "")
        base, quote = _currencies(symbol)
        held = symbol if symbol in its.positions else next(iter(its.positions), None)
        table.add_row(
            venue,
            Text(its.state, "yellow" if its.orders is None else "green"),
            "-" if its.orders is None else f"{its.orders:,}",
            f"{its.fills:,}",
            _holding(its.balances, quote, digits=2),
            _holding(its.balances, base, digits=4) if held is None else _holding(its.positions, held, digits=4),
        )
    return table


def _currencies(symbol: str) -> tuple[str, str]:
    """``BTC/USDT:USDT``: what is traded, and what it is paid for with."""
    base, _, rest = symbol.partition("/")
    quote, _, settled_in = rest.partition(":")
    return base, settled_in or quote


def _holding(amounts: Mapping[str, str], name: str, digits: int) -> str:
    """How much there is, with so many digits behind the point at most."""
    if name not in amounts:
        return "-"
    amount = f"{Decimal(amounts[name]):,.{digits}f}"
    return f"{amount.rstrip('0').rstrip('.')} {name}"


def _proof(figures: Mapping[str, VenueFigures]) -> Table:
    return _by_venue(figures, _PROOF)


def _fills(figures: Mapping[str, VenueFigures]) -> Table:
    """The proof of the accounts."""
    return _by_venue(
        figures,
        {
            "fills": lambda its: f"{its.account.fills:,}",
            "lost": lambda its: Text(*_verdict(its.fills_lost)),
            "duplicated": lambda its: Text(*_verdict(its.fills_duplicated)),
            "orders back": lambda its: Text(*_verdict(its.orders_reordered)),
            "gaps": lambda its: f"{its.account_gaps:,}",
            "equal": lambda its: Text("no", "bold red") if its.wrong_account else Text("yes", "bold green"),
        },
    )


def _frames(figures: Mapping[str, VenueFigures]) -> Table:
    return _by_venue(
        figures,
        {
            "received": lambda its: f"{its.accounting.received:,}",
            "delivered": lambda its: f"{its.accounting.delivered:,}",
            "control": lambda its: f"{its.accounting.control:,}",
            "rejected": lambda its: f"{its.accounting.rejected:,}",
            "shed": lambda its: f"{its.accounting.shed:,}",
            "in flight": lambda its: f"{its.accounting.in_flight:,}",
        },
    )


_PROOF: dict[str, Callable[[VenueFigures], str | Text]] = {
    "lost": lambda its: Text(*_verdict(its.lost)),
    "duplicated": lambda its: Text(*_verdict(its.duplicated)),
    "reordered": lambda its: Text(*_verdict(its.reordered)),
    "identities": lambda its: Text("unbalanced", "bold red") if its.unbalanced else Text("balanced", "bold green"),
}


def _by_venue(
    figures: Mapping[str, VenueFigures], columns: Mapping[str, Callable[[VenueFigures], str | Text]], min_width: int = 9
) -> Table:
    """A line for each venue; of a column, its name and what it shows."""
    table = _table("venue")
    for name in columns:
        table.add_column(name, justify="right", min_width=min_width, no_wrap=True)
    for venue, its in figures.items():
        table.add_row(venue, *(show(its) for show in columns.values()))
    return table


def _table(*names: str) -> Table:
    """A table without lines, whose first columns hold names."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, min_width=14, no_wrap=True)
    return table


def _books_that_fit(by_venue: Mapping[str, Mapping[str, OrderBook]], room: int) -> dict[str, OrderBook]:
    """So many books, the first of each venue before the second of any."""
    books = [
        (place, f"{venue} {symbol}", book) for venue, its in by_venue.items() for place, (symbol, book) in enumerate(sorted(its.items()))
    ]
    books.sort(key=lambda item: item[0])
    return {name: book for _, name, book in books[: max(room, 0)]}


def _books(books: Mapping[str, OrderBook]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
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


def demo_end(summary: DemoSummary) -> Group:
    """What a demonstration ended with."""
    venues = summary.venues
    live = sum(venue.books.live for venue in venues.values())
    return Group(
        Text(f"{', '.join(venues)}: {summary.seconds:.1f} s", "bold"),
        _architectures(venues, {}),
        _feeds(venues),
        _frames(venues),
        _proof(venues),
        _fills(venues),
        *(Text(finding, "red") for finding in summary.findings),
        *(Text(f"wrong book: {book}", "red") for book in summary.wrong_books),
        *(Text(f"wrong account: {account}", "red") for account in summary.wrong_account),
        Text(f"books: {live} live, all compared with the exchanges' own, level by level"),
        Text("accounts: orders, balances and positions compared with theirs, digit by digit"),
        Text.assemble("fills lost ", _verdict(summary.fills_lost), "  duplicated ", _verdict(summary.fills_duplicated)),
        Text.assemble(
            "lost ", _verdict(summary.lost), "  duplicated ", _verdict(summary.duplicated), "  reordered ", _verdict(summary.reordered)
        ),
    )


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
