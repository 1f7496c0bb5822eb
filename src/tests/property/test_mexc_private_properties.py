"""An account at MEXC: money is what its text says to the last digit, streams and REST tell the same, no fill is left between pages."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infrastructure.account_api import AccountCall, Part
from infrastructure.credentials import Credentials, Secret
from infrastructure.errors import DecodeError
from infrastructure.events import BalanceUpdate, Fill, OrderUpdate
from infrastructure.exchanges.mexc.account import PAGE
from infrastructure.exchanges.mexc.private import MexcPrivateCodec
from tests.harness import mexc_frames as frames
from tests.harness.effort import effort
from tests.harness.mexc_frames import NATIVE, SENT_MS, SYMBOL

CODEC = MexcPrivateCodec(Credentials(Secret("key"), Secret("secret")))
MONEY = st.decimals(0, 10**20, places=18).map(lambda value: f"{value:f}")
PRICES = st.decimals(Decimal("1e-12"), 10**12, places=12).map(lambda value: f"{value:f}")


@given(available=MONEY, frozen=MONEY)
@effort(300)
def test_a_total_is_the_sum_of_both_texts(available: str, frozen: str) -> None:
    (balance,) = CODEC.decode(frames.own_balance(available=available, frozen=frozen))
    assert isinstance(balance, BalanceUpdate)
    assert (str(balance.available), str(balance.frozen)) == (str(Decimal(available)), str(Decimal(frozen)))
    assert Fraction(balance.total) == Fraction(available) + Fraction(frozen)


@given(price=PRICES, quantity=PRICES, fee=MONEY | st.none(), is_buyer=st.booleans(), is_maker=st.booleans())
@effort(300)
def test_a_fill_is_the_same_whoever_tells_of_it(price: str, quantity: str, fee: str | None, is_buyer: bool, is_maker: bool) -> None:
    side = 1 if is_buyer else 2
    raw = frames.own_deal(price=price, quantity=quantity, feeAmount=fee, tradeType=side, isMaker=1 if is_maker else None)
    (told,) = CODEC.decode(raw)
    trade: dict[str, Any] = {"symbol": NATIVE, "id": "1X1", "orderId": "C02__1", "price": price, "qty": quantity, "commission": fee}
    trade |= {"commissionAsset": "MX", "time": SENT_MS - 4, "isBuyer": is_buyer, "isMaker": is_maker}
    (asked,) = CODEC.decode_account(fills_call(0), json.dumps([trade])).events
    assert isinstance(told, Fill) and told == asked
    assert (Fraction(told.price), Fraction(told.amount)) == (Fraction(price), Fraction(quantity))


@given(price=PRICES, quantity=PRICES, status=st.sampled_from([(1, "NEW"), (4, "CANCELED")]), is_buy=st.booleans())
@effort(200)
def test_an_order_is_the_same_whoever_tells_of_it(price: str, quantity: str, status: tuple[int, str], is_buy: bool) -> None:
    number, words = status
    (told,) = CODEC.decode(frames.own_order(status=number, price=price, quantity=quantity, tradeType=1 if is_buy else 2))
    order: dict[str, Any] = {
        "symbol": NATIVE,
        "orderId": "C02__1",
        "price": price,
        "origQty": quantity,
        "executedQty": "0",
        "status": words,
    }
    order |= {"type": "LIMIT", "side": "BUY" if is_buy else "SELL", "updateTime": SENT_MS, "origQuoteOrderQty": "9"}
    (asked,) = CODEC.decode_account(CODEC.order_call(SYMBOL, "C02__1"), json.dumps(order)).events
    assert isinstance(told, OrderUpdate) and isinstance(asked, OrderUpdate)
    for name in set(OrderUpdate.__struct_fields__) - {"native_status"}:
        assert getattr(told, name) == getattr(asked, name), name


def fills_call(since_ms: int) -> AccountCall:
    return next(call for call in CODEC.account_calls([SYMBOL], since_ms) if call.part is Part.FILLS)


def venue_answer(times: list[int], call: AccountCall) -> str:
    """As the venue answers: what lies between the times asked for, both included, the newest first, no more than a page."""
    query = dict(call.call.query)
    since, until = int(query["startTime"]), int(query.get("endTime", 2**62))
    wanted = [(time, place) for place, time in enumerate(times) if since <= time <= until]
    usual = {"symbol": NATIVE, "orderId": "C02__1", "price": "1", "qty": "1", "isBuyer": True, "isMaker": True}
    page = sorted(wanted, reverse=True)[: int(query["limit"])]
    return json.dumps([usual | {"id": str(place), "time": time} for time, place in page])


#: How many fills a run of milliseconds has, each.
BURSTS = st.lists(st.sampled_from([0, 0, 1, 2, 30, 70, PAGE - 1, PAGE, PAGE + 1]), max_size=12)


@given(bursts=BURSTS, before=st.integers(0, 5))
@effort(150)
def test_every_fill_since_is_told_or_the_millisecond_that_holds_too_many_is(bursts: list[int], before: int) -> None:
    times = [SENT_MS + place for place, burst in enumerate(bursts) for _ in range(burst)]
    since_ms = SENT_MS + before
    call: AccountCall | None = fills_call(since_ms)
    told: set[str] = set()
    pages = 0
    try:
        while call is not None:
            answer = CODEC.decode_account(call, venue_answer(times, call))
            told |= {event.fill_id for event in answer.events if isinstance(event, Fill)}
            call = answer.following
            pages += 1
            assert pages <= len(times) + 1
    except DecodeError as error:
        assert max(bursts[before:]) >= PAGE and f"{PAGE} trades in the millisecond" in error.reason
    else:
        assert told == {str(place) for place, time in enumerate(times) if time >= since_ms}
        assert max(bursts[before:], default=0) <= PAGE
