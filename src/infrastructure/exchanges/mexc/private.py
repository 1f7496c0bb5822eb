"""MEXC spot v3, private channels: one account's orders, deals and balances.

Source: https://www.mexc.com/api-docs/spot-v3/websocket-user-data-streams. Each body of ``push.proto`` is read by a function below,
beside an example of it in JSON with the venue's names of its fields.
"""

from collections.abc import Sequence

from infrastructure.account_api import AccountAnswer, AccountCall, RefusalKind, RestCall, SignedCall
from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import DecodeError
from infrastructure.events import Fill, MessageType, OrderStatus, OrderUpdate
from infrastructure.exchanges.mexc import access, account
from infrastructure.exchanges.mexc.channels import NAME, SIDES, ByNative, MexcChannels, has_more, milliseconds, sent_ns
from infrastructure.exchanges.mexc.push_pb2 import Push
from infrastructure.exchanges.numbers import money_or_none, positive, positive_or_none
from infrastructure.instruments import Symbols
from infrastructure.venue import Acknowledgement, BookUpdate, Message, PrivateVenue

ORDERS = "spot@private.orders.v3.api.pb"
DEALS = "spot@private.deals.v3.api.pb"
ACCOUNT = "spot@private.account.v3.api.pb"

#: By the number on the wire. 3 is partially filled; 5 is partially filled and then cancelled, which is an end like 4.
_STATUSES = {
    1: OrderStatus.OPEN,
    2: OrderStatus.FILLED,
    3: OrderStatus.OPEN,
    4: OrderStatus.CANCELED,
    5: OrderStatus.CANCELED,
}
#: A leg of an OCO order that waits for the other; on the wire it is nothing, like every 0.
_WAITING = 0
#: Those that cannot be without something filled.
_WITH_FILLS = frozenset({2, 3, 5})
_MARKET = 5


def _order(push: Push, symbols: ByNative) -> list[Message]:
    """``{"id":"C02__505979017439002624115","clientId":"","price":"3.5121","quantity":"1","amount":"0","avgPrice":"3.6962","orderType":5,
    "tradeType":2,"remainAmount":"0","remainQuantity":"0","lastDealQuantity":"1","cumulativeQuantity":"1","cumulativeAmount":"3.6962",
    "status":2,"createTime":1736417034259}``

    An order to buy at the market may be for an amount of quote currency, with no quantity. What is filled is the cumulative quantity;
    what remains says nothing, for an order that ended keeps a remain. There is no sequence number: states are ordered by when they
    were sent, and ``createTime`` is that of the order.
    """
    symbol = symbols[push.symbol]
    body = push.private_order
    side, status = SIDES.get(body.trade_type), _STATUSES.get(body.status)
    if body.status == _WAITING and not has_more(body):
        status = OrderStatus.OPEN
    if side is None or status is None or not body.id:
        reason = f"no order with an id, a side and a status: trade type {body.trade_type}, status {body.status}"
        raise DecodeError(reason)
    quantity = positive_or_none(body.quantity, "quantity")
    value, price = positive_or_none(body.amount, "amount"), positive_or_none(body.price, "price")
    filled = account.filled(body.cumulative_quantity or "0", body.status in _WITH_FILLS)
    return [
        OrderUpdate(
            NAME,
            symbol,
            body.id,
            body.client_id or None,
            side,
            status,
            None if body.order_type == _MARKET else price,
            quantity,
            filled,
            sent_ns(push, ORDERS, symbol),
            average_price=positive_or_none(body.average_price, "average price"),
            quote_amount=value if quantity is None else None,
            native_status=str(body.status),
        )
    ]


def _deal(push: Push, symbols: ByNative) -> list[Message]:
    """``{"price":"3.6962","quantity":"1","amount":"3.6962","tradeType":2,"isMaker":false,"isSelfTrade":false,
    "tradeId":"505979017439002624X1","clientOrderId":"","orderId":"C02__505979017439002624115","feeAmount":"0.0018481",
    "feeCurrency":"USDT","time":1736417034280}``: what is false is not on the wire.
    """
    symbol = symbols[push.symbol]
    body = push.private_deal
    side = SIDES.get(body.trade_type)
    if side is None or not body.trade_id or not body.order_id:
        raise DecodeError(f"no deal with its id, its order and a side: trade type {body.trade_type}")
    return [
        Fill(
            NAME,
            symbol,
            body.trade_id,
            body.order_id,
            side,
            positive(body.price, "price"),
            positive(body.quantity, "quantity"),
            money_or_none(body.fee_amount, "fee"),
            body.fee_currency or None,
            milliseconds(body.time, DEALS, symbol) or sent_ns(push, DEALS, symbol),
            is_maker=body.is_maker,
            client_order_id=body.client_order_id or None,
        )
    ]


def _account(push: Push, symbols: ByNative) -> list[Message]:
    """``{"vcoinName":"USDT","coinId":"128f589271cb4951b03e71e6323eb7be","balanceAmount":"0.006016465074677006",
    "balanceAmountChange":"-4.4022","frozenAmount":"4.4022","frozenAmountChange":"4.4022","type":"ENTRUST_PLACE",
    "time":1758134605364}``

    ``balanceAmount`` is what is available after the change, what is frozen apart from it. ``time`` is when the change was booked, which
    may lie minutes before it took effect: balances are ordered by when they were sent. The venue's list of types is not complete.
    """
    body = push.private_account
    return [account.balance(body.currency, body.available, body.frozen, sent_ns(push, ACCOUNT, ""), body.type)]


class MexcPrivateCodec(MexcChannels):
    """The wire format of one account at MEXC spot. Pure.

    The WebSocket asks for no signature: the listen key in its address says whose it is. A subscription that is agreed to proves that
    the venue knows the key.
    """

    readers = {"private_order": (ORDERS, _order), "private_deal": (DEALS, _deal), "private_account": (ACCOUNT, _account)}
    streams = dict.fromkeys((ORDERS, DEALS, ACCOUNT), ("", ""))

    def __init__(self, credentials: Credentials, symbols: Symbols | None = None) -> None:
        super().__init__(symbols)
        self._credentials = credentials

    def fresh(self) -> "MexcPrivateCodec":
        """The same account with names of its own."""
        return MexcPrivateCodec(self._credentials)

    def answers(self, raw: bytes) -> list[Message]:
        """What a text frame says; an agreement to a private channel confirms the login. Raises DecodeError."""
        messages = super().answers(raw)
        for message in messages:
            if isinstance(message, Acknowledgement) and message.error is None and not self.streams.keys().isdisjoint(message.payload):
                message.confirms_login = True
        return messages

    def decode_snapshot(self, symbol: str, raw: bytes | str) -> BookUpdate:
        """An account has no books: raises DecodeError."""
        raise DecodeError("an account has no books", symbol=symbol)

    def signed(self, call: RestCall, now_ms: int) -> SignedCall:
        """``call`` with the key, the time and the signature."""
        return access.signed(self._credentials, call, now_ms)

    def refusal(self, words: str, code: str | None = None, status: int | None = None) -> RefusalKind:
        """What a refusal means, by its code; the status says nothing that the body does not."""
        return access.refusal(words, code)

    def decode_server_time(self, raw: bytes | str) -> int:
        """``{"serverTime":1790281247251}``. Raises DecodeError."""
        return access.server_time(raw)

    @property
    def identity_call(self) -> RestCall | None:
        """None: subscriptions name no user."""
        return None

    def identify(self, raw: bytes | str) -> None:
        """Nothing was asked: raises DecodeError."""
        raise DecodeError("an answer to a question that was not asked")

    def decode_listen_key(self, raw: bytes | str) -> Secret:
        """The key that ``ListenKeys.create`` brought. Raises DecodeError."""
        return access.listen_key(raw)

    def account_calls(self, symbols: Sequence[str], since_ms: int | None) -> list[AccountCall]:
        """Open orders and trades of each of ``symbols``, and all balances."""
        return account.calls(self.symbols, symbols, since_ms)

    def order_call(self, symbol: str, order_id: str) -> AccountCall:
        """The request for one order, open or ended."""
        return account.order_call(self.symbols, symbol, order_id)

    def decode_account(self, call: AccountCall, raw: bytes | str) -> AccountAnswer:
        """Decode the answer to one of these, or raise DecodeError and nothing else."""
        return account.read(call, raw, self.symbols.by_native)


PRIVATE = PrivateVenue(
    codec=MexcPrivateCodec,
    channels={ORDERS: MessageType.ORDER, DEALS: MessageType.FILL, ACCOUNT: MessageType.BALANCE},
    default_channels=(ORDERS, DEALS, ACCOUNT),
    time_call=access.TIME_CALL,
    listen_keys=access.LISTEN_KEYS,
)
