"""What people and machines are shown of an account: as much of it as may be believed."""

import msgspec

from infrastructure.account import Account


class AccountFigures(msgspec.Struct):
    """Open orders, totals by currency and contracts by symbol, in numbers as the venue writes them; how many ``fills`` were told.

    Of an account that is not LIVE there are no orders (None), no balances and no positions.
    """

    state: str
    fills: int
    orders: int | None
    balances: dict[str, str]
    positions: dict[str, str]

    @classmethod
    def of(cls, account: Account, fills: int) -> "AccountFigures":
        """Of ``account`` as it is now."""
        if not account.is_live:
            return cls(account.state.value, fills, None, {}, {})
        return cls(
            account.state.value,
            fills,
            len(account.orders),
            {currency: f"{balance.total:f}" for currency, balance in sorted(account.balances.items())},
            {position.symbol: f"{position.amount:f}" for _, position in sorted(account.positions.items())},
        )
