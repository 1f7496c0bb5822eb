"""The session of an account: what is held back, what ends that, what a lost frame means, and that every message is somewhere, once."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from infrastructure.account import AccountSnapshot
from infrastructure.errors import AccountNotLive, DecodeError
from infrastructure.events import (
    AccountState,
    AccountStateChange,
    BalanceUpdate,
    ErrorEvent,
    Fill,
    Gap,
    GapReason,
    OrderStatus,
    OrderUpdate,
    PositionUpdate,
    RiskKind,
    RiskNotice,
    Side,
)
from infrastructure.freshness import Freshness, Mute
from infrastructure.networking.websocket.settings import FreshnessSettings
from infrastructure.private_session import WITHHELD_LIMIT, PrivateSession
from infrastructure.session import Emission
from infrastructure.venue import ALL, Acknowledgement, Message, Pong
from tests.harness.private_venue import ACCOUNT_VENUE

VENUE = ACCOUNT_VENUE.name
SYMBOL, OTHER = "BTC/USDT", "ETH/USDT"
ORDERS, FILLS, BALANCES, POSITIONS = "orders", "fills", "balances", "positions"
LOGIN = Acknowledgement(ORDERS, "subscribe", confirms_login=True)
REFUSAL = replace(LOGIN, error="INVALID_KEY", error_code="4")
OFFLINE, AUTHENTICATING, RECONCILING = AccountState.OFFLINE, AccountState.AUTHENTICATING, AccountState.RECONCILING
LIVE, EXPIRED, REFUSED = AccountState.LIVE, AccountState.EXPIRED, AccountState.REFUSED
OPEN, CANCELED = OrderStatus.OPEN, OrderStatus.CANCELED
DISCONNECTED = GapReason.DISCONNECTED
RECEIVED_NS = 42


def order(number: int, filled: str = "0", status: OrderStatus = OPEN, exchange_ns: int | None = None, price: str = "1") -> OrderUpdate:
    return OrderUpdate(VENUE, SYMBOL, str(number), None, Side.BUY, status, Decimal(price), Decimal(9), Decimal(filled), exchange_ns)


def fill(number: int, symbol: str = SYMBOL, exchange_ns: int | None = None, side: Side = Side.BUY) -> Fill:
    return Fill(VENUE, symbol, str(number), "1", side, Decimal(1), Decimal(2), None, None, exchange_ns)


def balance(total: int, currency: str = "USDT", exchange_ns: int | None = None, reason: str = "") -> BalanceUpdate:
    return BalanceUpdate(VENUE, currency, Decimal(total), Decimal(total), Decimal(0), exchange_ns, reason=reason)


def position(amount: int, mode: str = "", exchange_ns: int | None = None, entry_price: int = 1) -> PositionUpdate:
    return PositionUpdate(VENUE, SYMBOL, Decimal(amount), Decimal(entry_price), exchange_ns, mode=mode)


class Desk:
    """An owner of a session that notes what it is asked for. After each step its account must be balanced."""

    def __init__(self, *, reconciles: bool = False) -> None:
        self.epochs: list[int] = []
        self.flowing: list[tuple[str, str]] = []
        self.session = PrivateSession(
            ACCOUNT_VENUE,
            on_answer=(lambda answer: [(answer.channel, ALL)]) if reconciles else None,
            on_flowing=lambda channel, symbol: self.flowing.append((channel, symbol)),
            reconciles=reconciles,
            on_reconcile=self.epochs.append,
        )
        self.session.received_ns = RECEIVED_NS

    @property
    def state(self) -> AccountState:
        return self.session.account.state

    def apply(self, *messages: Message) -> list[Emission]:
        return self.balanced(self.session.apply(messages))

    def balanced(self, events: list[Emission]) -> list[Emission]:
        session = self.session
        assert session.decoded + session.raised == session.handed_over + session.absorbed + session.held
        return events

    def reconcile(self, *events: OrderUpdate | Fill, epoch: int | None = None, **parts: Any) -> list[Emission]:
        orders = tuple(event for event in events if isinstance(event, OrderUpdate))
        fills = tuple(event for event in events if isinstance(event, Fill))
        return self.balanced(self.session.reconcile(AccountSnapshot(orders, fills, **parts), epoch))

    def agreed(self, *channels: str) -> "Desk":
        """On an open connection that the venue has confirmed, but not reconciled."""
        self.balanced(self.session.begin())
        self.apply(*(replace(LOGIN, channel=channel) for channel in channels or (ORDERS, FILLS)))
        self.balanced(self.session.confirm())
        return self

    def live(self, *channels: str) -> "Desk":
        self.agreed(*channels).reconcile()
        return self


def kinds(events: Sequence[Emission]) -> list[str]:
    return [type(event).__name__ for event in events]


def gaps(events: Sequence[Emission]) -> list[tuple[str | None, str | None, GapReason]]:
    return [(event.channel, event.symbol, event.reason) for event in events if isinstance(event, Gap)]


def changes(events: Sequence[Emission]) -> list[tuple[AccountState, AccountState, str]]:
    return [(event.old, event.new, event.text) for event in events if isinstance(event, AccountStateChange)]


def order_ids(events: Sequence[Emission]) -> list[str]:
    return [event.order_id for event in events if isinstance(event, OrderUpdate)]


def fill_ids(events: Sequence[Emission]) -> list[str]:
    return [event.fill_id for event in events if isinstance(event, Fill)]


def totals(events: Sequence[Emission]) -> list[int]:
    return [int(event.total) for event in events if isinstance(event, BalanceUpdate)]


def amounts(events: Sequence[Emission]) -> list[int]:
    return [int(event.amount) for event in events if isinstance(event, PositionUpdate)]


class TestLogin:
    """Without reconciliation: LIVE with the first confirmation."""

    @pytest.fixture
    def desk(self) -> Iterator[Desk]:
        made = Desk()
        yield made
        made.balanced([])

    def test_nothing_is_published_before_the_venue_confirmed_the_login(self, desk: Desk) -> None:
        assert [desk.apply(order(number)) for number in range(3)] == [[], [], []]
        assert desk.session.held == 3

    def test_what_came_early_is_published_with_the_confirmation_in_order(self, desk: Desk) -> None:
        desk.apply(order(1))
        desk.session.received_ns = 43
        desk.apply(order(2))
        desk.session.received_ns = 44
        events = desk.apply(LOGIN, order(3))
        assert order_ids(events) == ["1", "2", "3"]
        assert [event.received_ns for event in events] == [RECEIVED_NS, 43, 44, 44]
        assert changes(events) == [(OFFLINE, LIVE, "")]
        assert desk.session.held == 0

    def test_after_the_confirmation_events_pass_at_once(self, desk: Desk) -> None:
        desk.apply(LOGIN)
        assert order_ids(desk.apply(order(1))) == ["1"]
        assert desk.session.is_confirmed

    @pytest.mark.parametrize("answer", [Acknowledgement(ORDERS, "subscribe"), REFUSAL, Pong(None)])
    def test_another_answer_confirms_nothing(self, desk: Desk, answer: Message) -> None:
        desk.apply(answer)
        assert desk.apply(order(1)) == []

    def test_a_refused_login_is_told_in_the_venues_words(self, desk: Desk) -> None:
        (event,) = desk.apply(REFUSAL)
        assert isinstance(event, ErrorEvent)
        assert (event.kind, event.text, event.code, event.received_ns) == ("refused", "INVALID_KEY", "4", RECEIVED_NS)

    def test_each_connection_has_to_be_confirmed(self, desk: Desk) -> None:
        desk.apply(LOGIN, order(1))
        assert gaps(desk.session.disconnect()) == [(ORDERS, None, DISCONNECTED)]
        assert desk.apply(order(2)) == []
        assert order_ids(desk.apply(LOGIN)) == ["2"]

    def test_what_was_withheld_when_the_connection_is_lost_is_a_gap_of_its_channels(self, desk: Desk) -> None:
        desk.apply(order(1), order(2), fill(3, OTHER))
        assert gaps(desk.balanced(desk.session.disconnect())) == [(FILLS, None, DISCONNECTED), (ORDERS, None, DISCONNECTED)]
        assert kinds(desk.apply(LOGIN)) == ["AccountStateChange"]

    def test_no_more_than_the_limit_is_withheld_and_what_goes_is_one_gap(self, desk: Desk) -> None:
        events = [event for number in range(WITHHELD_LIMIT + 2) for event in desk.session.apply([order(number)])]
        assert gaps(events) == [(ORDERS, None, GapReason.OVERFLOW)]
        assert (desk.session.held, order_ids(desk.apply(LOGIN))[0]) == (WITHHELD_LIMIT, "2")

    def test_a_lost_frame_is_a_gap_and_nothing_else(self, desk: Desk) -> None:
        desk.apply(LOGIN)
        assert kinds(desk.session.reject(DecodeError("bad", channel=ORDERS, symbol=SYMBOL))) == ["Gap"]
        assert (desk.state, desk.session.needs_reconciliation, desk.epochs) == (LIVE, False, [])

    def test_a_lost_frame_before_the_login_is_a_gap_because_nobody_asks_for_it(self, desk: Desk) -> None:
        assert gaps(desk.session.reject(None)) == [(None, None, GapReason.REJECTED)]

    def test_a_confirmed_channel_gets_its_gap_though_nothing_has_come(self, desk: Desk) -> None:
        desk.apply(LOGIN)
        assert gaps(desk.session.disconnect()) == [(ORDERS, None, DISCONNECTED)]


class TestPhases:
    @pytest.fixture
    def desk(self) -> Iterator[Desk]:
        made = Desk(reconciles=True)
        yield made
        made.balanced([])

    def test_the_way_to_a_live_account(self, desk: Desk) -> None:
        assert changes(desk.session.begin()) == [(OFFLINE, AUTHENTICATING, "")]
        desk.apply(LOGIN)
        assert (desk.state, desk.session.needs_reconciliation) == (AUTHENTICATING, False)
        assert changes(desk.session.confirm()) == [(AUTHENTICATING, RECONCILING, "")]
        assert (desk.session.needs_reconciliation, desk.epochs) == (True, [1])
        assert changes(desk.reconcile()) == [(RECONCILING, LIVE, "")]
        assert (desk.session.needs_reconciliation, desk.session.account.is_live) == (False, True)

    def test_what_was_confirmed_is_not_confirmed_again(self, desk: Desk) -> None:
        desk.live()
        assert (desk.session.begin(), desk.session.confirm(), desk.epochs) == ([], [], [1])

    @pytest.mark.parametrize("is_confirmed", [False, True])
    def test_everything_is_withheld_until_it_is_reconciled(self, desk: Desk, is_confirmed: bool) -> None:
        desk.session.begin()
        if is_confirmed:
            desk.session.confirm()
        assert desk.apply(order(1), fill(2), balance(3), position(4)) == []
        assert desk.session.held == 4
        with pytest.raises(AccountNotLive, match=desk.state.value.upper()):
            _ = desk.session.account.orders

    def test_what_is_missed_is_told_first_then_what_was_withheld_and_then_that_the_account_is_live(self, desk: Desk) -> None:
        desk.agreed().apply(fill(3), order(2))
        events = desk.reconcile(order(1), fill(2, exchange_ns=2), fill(1, exchange_ns=1), balances=(balance(5),), positions=(position(6),))
        assert kinds(events) == [
            *["Fill"] * 2,
            "OrderUpdate",
            "BalanceUpdate",
            "PositionUpdate",
            "Fill",
            "OrderUpdate",
            "AccountStateChange",
        ]
        assert (fill_ids(events), order_ids(events)) == (["1", "2", "3"], ["1", "2"])
        assert sorted(desk.session.account.orders) == ["1", "2"]

    def test_a_fill_that_both_rest_and_the_stream_tell_is_told_once(self, desk: Desk) -> None:
        desk.live().apply(fill(1))
        desk.session.disconnect()
        desk.agreed().apply(fill(2))
        assert fill_ids(desk.reconcile(fill(1), fill(2), fill(3), fill(3))) == ["2", "3"]
        assert desk.apply(fill(3)) == []

    def test_rest_does_not_take_an_order_back(self, desk: Desk) -> None:
        desk.live().apply(order(1, "3"), order(2, "3", CANCELED))
        desk.session.disconnect()
        desk.agreed()
        assert order_ids(desk.reconcile(order(1, "2"), order(2, "4"), order(3))) == ["3"]
        account = desk.session.account
        assert [(key, int(held.filled)) for key, held in account.orders.items()] == [("1", 3), ("3", 0)]

    def test_an_order_that_rest_does_not_know_any_more_has_ended_as_far_as_the_stream_filled_it(self, desk: Desk) -> None:
        desk.live().apply(order(1), order(2))
        desk.session.disconnect()
        desk.agreed().apply(order(2, "1"), order(3))
        events = desk.reconcile()
        told = [(event.order_id, event.status, int(event.filled)) for event in events if isinstance(event, OrderUpdate)]
        assert told == [("2", OPEN, 1), ("3", OPEN, 0), ("1", CANCELED, 0), ("2", CANCELED, 1)]
        assert list(desk.session.account.orders) == ["3"]

    def test_what_stands_no_longer_in_rest_is_zero(self, desk: Desk) -> None:
        desk.live().apply(balance(5), balance(6, "BTC"), balance(0, "ETH"), position(7), position(8, "dual_long"))
        desk.session.disconnect()
        events = desk.agreed().reconcile(balances=(balance(5),), positions=(position(7),))
        assert [(event.currency, int(event.total)) for event in events if isinstance(event, BalanceUpdate)] == [("BTC", 0)]
        assert [(event.mode, int(event.amount)) for event in events if isinstance(event, PositionUpdate)] == [("dual_long", 0)]
        assert list(desk.session.account.positions) == [(SYMBOL, "")]

    def test_where_a_venue_has_none_of_them_nothing_becomes_zero(self, desk: Desk) -> None:
        desk.live().apply(balance(5), position(7))
        desk.session.disconnect()
        assert kinds(desk.agreed().reconcile()) == ["AccountStateChange"]
        assert (len(desk.session.account.balances), len(desk.session.account.positions)) == (1, 1)

    def test_rest_is_newer_than_what_was_known_whatever_its_times_say(self, desk: Desk) -> None:
        desk.live().apply(balance(5, exchange_ns=100), position(5, exchange_ns=100), order(1, exchange_ns=100))
        desk.session.disconnect()
        amended = order(1, exchange_ns=99, price="2")
        events = desk.agreed().reconcile(
            amended, balances=(balance(6, exchange_ns=99),), positions=(position(5, exchange_ns=99, entry_price=2),)
        )
        assert kinds(events) == ["OrderUpdate", "BalanceUpdate", "PositionUpdate", "AccountStateChange"]

    def test_what_rest_tells_and_is_known_is_no_news(self, desk: Desk) -> None:
        desk.live().apply(balance(5, exchange_ns=100, reason="deposit"), position(5, exchange_ns=100), order(1, exchange_ns=100), fill(1))
        desk.session.disconnect()
        events = desk.agreed().reconcile(
            order(1, exchange_ns=101), fill(1), balances=(balance(5), balance(0, "BTC")), positions=(position(5),)
        )
        assert kinds(events) == ["AccountStateChange"]

    @pytest.mark.parametrize("asked", [1, 2, 3, 4], ids=["before all", "between", "the last", "after all"])
    def test_whenever_rest_was_asked_no_balance_or_position_steps_back(self, desk: Desk, asked: int) -> None:
        desk.live().apply(balance(0), position(9, entry_price=9))
        desk.session.disconnect()
        desk.agreed().apply(balance(2), position(2), balance(3), position(3))
        events = desk.reconcile(balances=(balance(asked),), positions=(position(asked),))
        assert (totals(events), amounts(events)) == ([2, 3], [2, 3])
        assert totals(desk.apply(balance(4))) == [4]

    def test_a_currency_of_which_the_stream_says_nothing_is_told_by_rest(self, desk: Desk) -> None:
        desk.agreed().apply(balance(2))
        assert totals(desk.reconcile(balances=(balance(1), balance(7, "BTC")))) == [7, 2]

    def test_an_answer_of_before_something_was_lost_is_absorbed(self, desk: Desk) -> None:
        desk.agreed()
        asked = desk.session.epoch
        desk.balanced(desk.session.reject(None))
        assert desk.epochs == [1, 2]
        assert desk.reconcile(fill(1), balances=(balance(1),), epoch=asked) == []
        assert desk.state is RECONCILING
        assert fill_ids(desk.reconcile(fill(1), epoch=desk.session.epoch)) == ["1"]

    def test_an_answer_to_a_connection_that_is_lost_is_absorbed(self, desk: Desk) -> None:
        desk.agreed()
        desk.session.disconnect()
        desk.session.begin()
        assert desk.reconcile(fill(1)) == []
        assert desk.state is AUTHENTICATING

    def test_notices_of_risk_are_told_each_time(self, desk: Desk) -> None:
        notice = RiskNotice(VENUE, SYMBOL, RiskKind.DELEVERAGED, Decimal(1), Decimal(2), None, 3)
        desk.agreed().apply(notice)
        assert kinds(desk.reconcile()) == ["RiskNotice", "AccountStateChange"]
        assert kinds(desk.apply(replace(notice))) == ["RiskNotice"]


class TestLoss:
    @pytest.fixture
    def desk(self) -> Iterator[Desk]:
        made = Desk(reconciles=True)
        yield made
        made.balanced([])

    def test_each_channel_that_was_agreed_or_flows_gets_one_gap_before_the_state_is_told(self, desk: Desk) -> None:
        desk.live(ORDERS, FILLS).apply(balance(1), fill(1))
        events = desk.balanced(desk.session.disconnect())
        assert gaps(events) == [(channel, None, DISCONNECTED) for channel in (BALANCES, FILLS, ORDERS)]
        assert changes(events[3:]) == [(LIVE, OFFLINE, "")]
        assert desk.session.disconnect() == []

    def test_before_anything_was_agreed_nothing_is_announced(self, desk: Desk) -> None:
        desk.session.begin()
        assert gaps(desk.session.reject(None)) == []
        assert kinds(desk.session.disconnect()) == ["AccountStateChange"]

    def test_an_outage_that_follows_an_outage_is_told_once_more_where_the_venue_had_agreed_again(self, desk: Desk) -> None:
        desk.live(ORDERS)
        desk.session.disconnect()
        desk.session.begin()
        assert gaps(desk.session.disconnect()) == []
        desk.agreed(ORDERS)
        assert gaps(desk.session.disconnect()) == [(ORDERS, None, DISCONNECTED)]

    def test_what_is_withheld_is_absorbed_for_it_will_be_asked_for(self, desk: Desk) -> None:
        desk.agreed().apply(fill(1))
        desk.balanced(desk.session.disconnect())
        assert desk.session.held == 0
        assert fill_ids(desk.agreed().reconcile(fill(1))) == ["1"]

    def test_the_end_of_a_connection_that_carries_nothing_is_no_outage(self, desk: Desk) -> None:
        desk.live()
        assert desk.session.disconnect(set()) == []
        assert desk.state is LIVE
        assert gaps(desk.session.disconnect({(ORDERS, ALL)})) == [(ORDERS, None, DISCONNECTED)]

    def test_a_key_that_lapses_is_its_own_gap_and_stays_told_until_the_next_connection(self, desk: Desk) -> None:
        events = desk.live(ORDERS).balanced(desk.session.expire("not renewed"))
        assert gaps(events) == [(ORDERS, None, GapReason.EXPIRED)]
        assert changes(events) == [(LIVE, EXPIRED, "not renewed")]
        assert (desk.session.disconnect(), desk.state) == ([], EXPIRED)
        assert changes(desk.session.begin()) == [(EXPIRED, AUTHENTICATING, "")]

    def test_a_refusal_is_told_in_the_venues_words_and_outlives_the_connection(self, desk: Desk) -> None:
        desk.session.begin()
        assert changes(desk.session.refuse("INVALID_KEY")) == [(AUTHENTICATING, REFUSED, "INVALID_KEY")]
        assert (desk.session.disconnect(), desk.state) == ([], REFUSED)

    @pytest.mark.parametrize(("error", "channel"), [(None, None), (DecodeError("bad", channel=FILLS, symbol=SYMBOL), FILLS)])
    def test_a_rejected_frame_may_have_held_a_fill(self, desk: Desk, error: DecodeError | None, channel: str | None) -> None:
        events = desk.live().balanced(desk.session.reject(error))
        assert gaps(events) == [(channel, None, GapReason.REJECTED)]
        assert changes(events) == [(LIVE, RECONCILING, "a frame was rejected")]
        assert (desk.session.needs_reconciliation, desk.epochs) == (True, [1, 2])
        assert desk.apply(fill(2)) == []
        assert fill_ids(desk.reconcile(fill(1))) == ["1", "2"]

    def test_an_order_that_is_only_held_back_and_ended_in_a_lost_frame_is_open_no_more(self, desk: Desk) -> None:
        desk.agreed().apply(order(1), order(2))
        desk.balanced(desk.session.reject(None))
        desk.apply(order(3))
        assert sorted(desk.session.open_orders()) == ["1", "2"]  # The third may be younger than what REST will say.
        desk.reconcile(order(1))
        assert sorted(desk.session.account.orders) == ["1", "3"]

    def test_an_amendment_that_is_held_back_is_older_than_what_rest_says_of_the_order(self, desk: Desk) -> None:
        desk.agreed().apply(order(1), order(1, price="2"))
        desk.balanced(desk.session.reject(None))
        desk.reconcile(order(1, price="3"))
        assert str(desk.session.account.orders["1"].price) == "3"

    def test_a_lost_frame_may_have_held_a_newer_balance_than_those_withheld(self, desk: Desk) -> None:
        desk.agreed().apply(balance(1), position(1), fill(1))
        desk.balanced(desk.session.reject(None))
        assert desk.session.held == 1
        events = desk.reconcile(balances=(balance(2),), positions=(position(2),))
        assert (totals(events), amounts(events), fill_ids(events)) == ([2], [2], ["1"])

    def test_and_so_it_may_before_the_venue_has_confirmed(self, desk: Desk) -> None:
        desk.session.begin()
        desk.apply(balance(1))
        desk.balanced(desk.session.reject(None))
        desk.agreed()
        assert (totals(desk.reconcile(balances=(balance(2),))), desk.epochs) == ([2], [1])

    def test_what_a_failing_frame_had_told_by_then_is_told_and_the_rest_is_asked_for(self, desk: Desk) -> None:
        desk.live()
        bad = replace(order(1), filled=None)
        desk.apply(order(1))
        with pytest.raises(TypeError):
            desk.session.apply([fill(1), bad, fill(2)])
        events = desk.balanced(desk.session.fail())
        assert kinds(events) == ["Fill", "Gap", "Gap", "AccountStateChange"]
        assert gaps(events) == [(FILLS, None, GapReason.FAILED), (ORDERS, None, GapReason.FAILED)]
        assert fill_ids(desk.reconcile(fill(1), fill(2), order(1))) == ["2"]

    def test_a_reconciliation_that_fails_leaves_what_is_withheld_for_the_next(self, desk: Desk) -> None:
        desk.agreed().apply(order(1), fill(2))
        bad = replace(order(1), filled=None)
        with pytest.raises(TypeError):
            desk.session.reconcile(AccountSnapshot((order(1), bad), (fill(1),)))
        events = desk.balanced(desk.session.fail())
        assert (fill_ids(events), order_ids(events), gaps(events)) == (["1"], ["1"], [(None, None, GapReason.FAILED)])
        assert desk.state is RECONCILING
        assert fill_ids(desk.reconcile(fill(1), order(1))) == ["2"]

    def test_a_failure_outside_any_frame_could_touch_everything(self, desk: Desk) -> None:
        assert gaps(desk.live().session.fail()) == [(None, None, GapReason.FAILED)]
        assert desk.state is RECONCILING

    def test_more_than_is_withheld_has_to_be_asked_for_anew(self, desk: Desk) -> None:
        desk.agreed()
        events = [event for number in range(WITHHELD_LIMIT + 2) for event in desk.apply(fill(number))]
        assert gaps(events) == [(FILLS, None, GapReason.OVERFLOW)]
        # What is still held is covered by asking again, so that as many more may come before that is too old as well.
        assert desk.epochs == [1, 2]
        assert desk.reconcile(epoch=1) == []
        assert fill_ids(desk.reconcile(fill(0), fill(1), epoch=2)) == [str(number) for number in range(WITHHELD_LIMIT + 2)]

    def test_and_anew_when_what_has_come_since_is_more_again(self, desk: Desk) -> None:
        desk.agreed()
        for number in range(2 * WITHHELD_LIMIT + 1):
            desk.session.apply([fill(number)])
        assert desk.epochs == [1, 2]
        desk.apply(fill(2 * WITHHELD_LIMIT + 1))
        assert desk.epochs == [1, 2, 3]

    def test_what_came_before_the_venue_confirmed_is_covered_by_the_first_request(self, desk: Desk) -> None:
        desk.session.begin()
        for number in range(WITHHELD_LIMIT + 1):
            desk.session.apply([fill(number)])
        desk.agreed().apply(fill(-1))
        assert desk.epochs == [1]

    def test_an_overflow_is_told_again_after_the_account_was_live(self, desk: Desk) -> None:
        for _ in range(2):
            desk.agreed()
            events = [event for number in range(WITHHELD_LIMIT + 1) for event in desk.session.apply([order(number)])]
            assert gaps(events) == [(ORDERS, None, GapReason.OVERFLOW)]
            desk.reconcile(*(order(number) for number in range(WITHHELD_LIMIT + 1)))
            assert desk.state is LIVE
            desk.session.disconnect()

    def test_an_overflow_is_told_again_when_a_live_account_has_to_be_reconciled_once_more(self, desk: Desk) -> None:
        desk.agreed()
        for _ in range(2):
            events = [event for number in range(WITHHELD_LIMIT + 1) for event in desk.session.apply([fill(number)])]
            assert gaps(events) == [(FILLS, None, GapReason.OVERFLOW)]
            desk.reconcile()
            desk.session.reject(None)

    def test_a_gap_ends_when_the_account_is_live(self, desk: Desk) -> None:
        desk.live(ORDERS)
        desk.session.silence(ORDERS, ALL, "no message")
        desk.session.reject(None)
        desk.reconcile()
        assert gaps(desk.session.disconnect()) == [(ORDERS, None, DISCONNECTED)]


class TestStreams:
    def test_a_channel_is_one_stream_for_the_whole_account(self) -> None:
        desk = Desk(reconciles=True)
        desk.live().apply(replace(order(1, exchange_ns=5), symbol=OTHER), order(2))
        desk.session.received_ns = 50
        desk.apply(fill(1))
        assert desk.flowing == [(ORDERS, ALL), (FILLS, ALL)]
        stream = desk.session.streams()[ORDERS, ALL]
        assert (stream.count, stream.received_ns, stream.exchange_ns, stream.is_flowing) == (2, RECEIVED_NS, 5, True)
        assert desk.session.stream(BALANCES, ALL) is None
        assert desk.session.age_ns(FILLS, ALL, 60) == 10

    def test_data_flows_though_it_is_withheld(self) -> None:
        desk = Desk(reconciles=True)
        desk.apply(order(1))
        assert desk.flowing == [(ORDERS, ALL)]
        desk.session.disconnect()
        desk.apply(order(1))
        assert len(desk.flowing) == 2

    def test_what_was_ended_gives_nothing_any_more_until_it_is_wanted_again(self) -> None:
        desk = Desk(reconciles=True)
        desk.live(ORDERS, FILLS)
        desk.session.readmit(ORDERS, ALL)
        desk.balanced(desk.session.forget(ORDERS, ALL))
        assert desk.apply(order(1)) == []
        assert gaps(desk.session.disconnect()) == [(FILLS, None, DISCONNECTED)]
        desk.session.readmit(ORDERS, ALL)
        assert order_ids(desk.agreed().reconcile(order(1))) == ["1"]

    def test_silence_is_a_gap_of_the_channel(self) -> None:
        desk = Desk(reconciles=True)
        desk.live(ORDERS)
        assert gaps(desk.balanced(desk.session.silence(ORDERS, ALL, "no message"))) == [(ORDERS, None, GapReason.SILENT)]

    def test_an_account_whose_owner_rests_is_not_mute(self) -> None:
        desk = Desk(reconciles=True)
        desk.live()
        settings = FreshnessSettings(silent_s=1.0, window_s=1.0, learn_s=3.0, regular=1, tick_s=0.25)
        freshness = Freshness(settings, ACCOUNT_VENUE)
        judged = 0
        for tick in range(200):
            now_ns = tick * 250_000_000
            if tick < 100:
                desk.session.received_ns = now_ns
                desk.apply(fill(tick))
            findings = freshness.judge(now_ns, desk.session.streams(), {(FILLS, ALL): 1})
            assert not [finding for finding in findings if isinstance(finding, Mute)]
            judged += 1
        assert (judged, freshness.threshold_ns((FILLS, ALL))) == (200, None)


def test_repr_shows_the_state() -> None:
    desk = Desk(reconciles=True)
    desk.agreed().apply(order(1))
    assert repr(desk.session) == "<PrivateSession account_venue reconciling epoch=1 held=1>"
