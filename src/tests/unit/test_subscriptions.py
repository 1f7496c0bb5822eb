"""What is wanted, asked, acknowledged and flowing, with the requests and the answers of a real wire format."""

import json
from collections.abc import Mapping

import pytest

from infrastructure.errors import SubscriptionRefused
from infrastructure.exchanges.gateio.spot import CANDLESTICKS, OBU, TRADES, GateioSpotCodec
from infrastructure.networking.websocket.subscriptions import Answer, RequestIds, Stage, Subscriptions
from infrastructure.venue import Acknowledgement, SubscriptionRequest

VENUE = "gateio_spot"
BTC, ETH, LTC = "BTC/USDT", "ETH/USDT", "LTC/USDT"
MINUTES, HOURS = f"{CANDLESTICKS}:1m", f"{CANDLESTICKS}:1h"
CODEC = GateioSpotCodec()


class Wire:
    """Sends what the table wants, and answers as the venue would."""

    def __init__(self, *, is_numbered: bool = True) -> None:
        self.table = Subscriptions(VENUE, timeout_s=10.0)
        self.next_id = RequestIds() if is_numbered else None

    def send(self, action: str, channel: str, symbols: list[str], at_s: float = 0.0) -> list[SubscriptionRequest]:
        requests = CODEC.subscription_requests(action, channel, symbols, 1_700_000_000, self.next_id)
        self.table.asked(requests, at_s)
        return requests

    def ask(self, at_s: float = 0.0) -> list[SubscriptionRequest]:
        """Everything that is to be asked for."""
        return [request for channel, symbols in self.table.to_ask() for request in self.send("subscribe", channel, symbols, at_s)]

    def drop(self, channel: str, *symbols: str) -> list[SubscriptionRequest]:
        return self.send("unsubscribe", channel, self.table.drop(channel, symbols))

    def asked(self, channel: str, *symbols: str, at_s: float = 0.0) -> SubscriptionRequest:
        """Want and ask for symbols that go into one request."""
        self.table.want(channel, symbols)
        (request,) = self.ask(at_s)
        return request

    def answer(
        self, request: SubscriptionRequest, error: Mapping[str, object] | None = None, changes: Mapping[str, object] | None = None
    ) -> Answer | None:
        """The venue's frame in answer to ``request``; a change to None leaves a field out."""
        fields = {"result": {"status": "success"}, "error": error, **request.message, **(changes or {})}
        frame = json.dumps({key: value for key, value in fields.items() if value is not None})
        (acknowledgement,) = CODEC.decode(frame)
        assert isinstance(acknowledgement, Acknowledgement)
        return self.table.acknowledge(acknowledgement)

    def stages(self, channel: str, *symbols: str) -> list[Stage | None]:
        return [self.table.stage(channel, symbol) for symbol in symbols]


class TestStages:
    def test_a_symbol_goes_from_wanted_to_flowing(self) -> None:
        wire = Wire()
        wire.table.want(TRADES, [BTC])
        assert wire.stages(TRADES, BTC) == [Stage.WANTED]
        (request,) = wire.ask()
        assert wire.stages(TRADES, BTC) == [Stage.ASKED]
        assert wire.answer(request) == Answer(request, request.symbols)
        assert wire.stages(TRADES, BTC) == [Stage.ACKNOWLEDGED]
        wire.table.flowing(TRADES, BTC)
        assert wire.stages(TRADES, BTC) == [Stage.FLOWING]

    def test_data_may_come_before_the_acknowledgement(self) -> None:
        wire = Wire()
        request = wire.asked(TRADES, BTC)
        wire.table.flowing(TRADES, BTC)
        assert wire.stages(TRADES, BTC) == [Stage.FLOWING]
        assert wire.answer(request) == Answer(request, request.symbols)
        assert wire.stages(TRADES, BTC) == [Stage.FLOWING]

    def test_an_acknowledgement_is_that_of_its_own_symbols_only(self) -> None:
        wire = Wire()
        first = wire.asked(TRADES, BTC, ETH)
        wire.asked(TRADES, LTC)
        wire.answer(first)
        assert wire.stages(TRADES, BTC, ETH, LTC) == [Stage.ACKNOWLEDGED, Stage.ACKNOWLEDGED, Stage.ASKED]

    def test_data_of_what_was_not_asked_for_changes_nothing(self) -> None:
        wire = Wire()
        wire.table.want(TRADES, [BTC])
        wire.table.flowing(TRADES, BTC)
        wire.table.flowing(TRADES, ETH)
        wire.table.flowing(OBU, BTC)
        assert wire.stages(TRADES, BTC, ETH) == [Stage.WANTED, None]

    def test_data_of_a_channel_counts_for_each_of_its_options(self) -> None:
        wire = Wire()
        wire.asked(MINUTES, BTC)
        wire.asked(HOURS, BTC)
        wire.asked(OBU, BTC)
        wire.table.flowing(CANDLESTICKS, BTC)
        assert [wire.table.stage(channel, BTC) for channel in (MINUTES, HOURS, OBU)] == [Stage.FLOWING, Stage.FLOWING, Stage.ASKED]

    def test_the_counts_by_stage_are_shown(self) -> None:
        wire = Wire()
        wire.answer(wire.asked(TRADES, BTC, ETH))
        wire.table.flowing(TRADES, ETH)
        wire.asked(TRADES, LTC)
        wire.drop(TRADES, BTC)
        wire.table.want(OBU, [BTC, ETH])
        assert repr(wire.table) == "<Subscriptions gateio_spot wanted=2 asked=1 acknowledged=0 flowing=1 leaving=1 pending=2>"


class TestAsking:
    def test_what_is_to_be_asked_is_grouped_by_channel_in_the_order_it_was_wanted(self) -> None:
        table = Subscriptions(VENUE, timeout_s=10.0)
        table.want(TRADES, [ETH, BTC])
        table.want(MINUTES, [BTC])
        table.want(TRADES, [LTC, BTC])
        assert table.to_ask() == [(TRADES, [ETH, BTC, LTC]), (MINUTES, [BTC])]

    def test_nothing_is_asked_twice(self) -> None:
        wire = Wire()
        request = wire.asked(TRADES, BTC)
        wire.table.want(TRADES, [BTC])
        assert wire.table.to_ask() == []
        wire.answer(request)
        wire.table.want(TRADES, [BTC])
        assert wire.table.to_ask() == []
        wire.table.flowing(TRADES, BTC)
        wire.table.want(TRADES, [BTC])
        assert wire.table.to_ask() == []
        assert wire.stages(TRADES, BTC) == [Stage.FLOWING]

    def test_numbers_start_again_at_one_after_the_highest(self) -> None:
        next_id = RequestIds(3)
        assert [next_id() for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]

    def test_numbers_fit_in_32_bits_with_a_sign(self) -> None:
        next_id = RequestIds()
        assert (next_id(), next_id._most) == (1, 2**31 - 1)

    def test_no_request_is_for_more_streams_than_the_venue_takes_at_once(self) -> None:
        table = Subscriptions(VENUE, timeout_s=10.0, most_at_once=2)
        table.want(TRADES, [ETH, BTC, LTC])
        table.want(OBU, [BTC])
        assert table.to_ask() == [(TRADES, [ETH, BTC]), (TRADES, [LTC]), (OBU, [BTC])]


class TestMatching:
    def test_the_number_decides(self) -> None:
        wire = Wire()
        first = wire.asked(TRADES, BTC)
        second = wire.asked(TRADES, ETH)
        assert wire.answer(second, changes={"payload": first.message["payload"]}) == Answer(second, second.symbols)
        assert wire.stages(TRADES, BTC, ETH) == [Stage.ASKED, Stage.ACKNOWLEDGED]

    def test_a_number_that_is_awaited_no_more_answers_nothing(self) -> None:
        wire = Wire()
        late = wire.asked(TRADES, BTC)
        assert wire.table.overdue(10.0) == [late]
        (again,) = wire.ask(10.0)
        assert wire.answer(late) is None
        assert wire.stages(TRADES, BTC) == [Stage.ASKED]
        assert wire.answer(again) == Answer(again, again.symbols)

    def test_without_numbers_the_payload_decides(self) -> None:
        wire = Wire(is_numbered=False)
        wire.table.want(MINUTES, [BTC, ETH])
        wire.table.want(HOURS, [BTC])
        requests = wire.ask()
        assert [wire.answer(request) for request in reversed(requests)] == [
            Answer(request, request.symbols) for request in reversed(requests)
        ]

    def test_a_payload_is_compared_as_text(self) -> None:
        wire = Wire()
        wire.table.want(TRADES, [BTC])
        request = SubscriptionRequest("subscribe", TRADES, (BTC,), {}, payload=("7", "BTC_USDT"))
        wire.table.asked([request], 0.0)
        answer = wire.table.acknowledge(Acknowledgement(TRADES, "subscribe", ("7", "BTC_USDT")))
        assert answer == Answer(request, request.symbols)

    @pytest.mark.parametrize(
        "changes", [{"payload": ["ETH_USDT"]}, {"channel": OBU}, {"event": "unsubscribe"}], ids=["payload", "channel", "event"]
    )
    @pytest.mark.parametrize("request_id", [None, 99])
    def test_an_answer_to_anything_else_answers_nothing(self, changes: dict[str, object], request_id: int | None) -> None:
        wire = Wire(is_numbered=False)
        request = wire.asked(TRADES, BTC)
        assert wire.answer(request, changes={"id": request_id, **changes}) is None
        assert wire.stages(TRADES, BTC) == [Stage.ASKED]

    def test_old_frames_repeat_nothing_and_answer_the_oldest(self) -> None:
        wire = Wire(is_numbered=False)
        first = wire.asked(TRADES, BTC)
        second = wire.asked(TRADES, ETH)
        for request in (first, second):
            assert wire.answer(request, changes={"payload": None}) == Answer(request, request.symbols)
        assert wire.answer(first, changes={"payload": None}) is None

    def test_old_frames_answer_requests_of_their_own_channel_and_action_only(self) -> None:
        wire = Wire(is_numbered=False)
        wire.asked(OBU, BTC)
        trades = wire.asked(TRADES, BTC)
        (end,) = wire.drop(TRADES, BTC)
        assert wire.answer(end, changes={"payload": None}) == Answer(end, end.symbols)
        assert wire.answer(trades, changes={"payload": None}) == Answer(trades, trades.symbols)
        assert wire.stages(OBU, BTC) == [Stage.ASKED]

    def test_an_answer_to_nobody_is_none(self) -> None:
        assert Subscriptions(VENUE, 10.0).acknowledge(Acknowledgement(TRADES, "subscribe", ("BTC_USDT",), 1)) is None

    def test_an_answer_comes_once(self) -> None:
        wire = Wire()
        request = wire.asked(TRADES, BTC)
        assert wire.answer(request) is not None
        assert wire.answer(request) is None


REFUSAL: dict[str, object] = {"code": 2, "message": "unknown currency pair: NOPE_USDT"}


class TestRefusal:
    def test_a_refusal_carries_the_venues_words_and_ends_the_wish(self) -> None:
        wire = Wire()
        wire.asked(TRADES, BTC)
        request = wire.asked(TRADES, "NOPE/USDT")
        answer = wire.answer(request, REFUSAL)
        assert answer is not None and answer.request is request
        assert isinstance(answer.error, SubscriptionRefused)
        assert str(answer.error) == "gateio_spot refused spot.trades of NOPE/USDT: unknown currency pair: NOPE_USDT (code 2)"
        assert wire.stages(TRADES, BTC, "NOPE/USDT") == [Stage.ASKED, None]
        wire.table.disconnected()
        assert wire.table.to_ask() == [(TRADES, [BTC])]

    def test_it_ends_what_flowed_already_too(self) -> None:
        wire = Wire()
        request = wire.asked(TRADES, BTC)
        wire.table.flowing(TRADES, BTC)
        wire.answer(request, REFUSAL)
        assert wire.stages(TRADES, BTC) == [None]

    def test_what_was_refused_may_be_wanted_again(self) -> None:
        wire = Wire()
        wire.answer(wire.asked(TRADES, BTC), REFUSAL)
        wire.table.want(TRADES, [BTC])
        assert wire.table.to_ask() == [(TRADES, [BTC])]

    def test_of_several_that_are_refused_together_the_halves_are_asked_for_until_the_one_to_blame_is_alone(self) -> None:
        wire = Wire()
        bad, good = "NOPE/USDT", [BTC, ETH, LTC]
        wire.table.want(TRADES, [*good[:2], bad, good[2]])
        errors = []
        rounds = 0
        while requests := wire.ask():
            rounds += 1
            for request in requests:
                answer = wire.answer(request, REFUSAL if bad in request.symbols else None)
                assert answer is not None and answer.is_to_be_split is (bad in request.symbols and len(request.symbols) > 1)
                errors += [] if answer.error is None else [answer.error]
        assert rounds == 3
        assert [error.symbols for error in errors] == [(bad,)]
        assert wire.stages(TRADES, *good, bad) == [Stage.ACKNOWLEDGED] * 3 + [None]
        wire.table.disconnected()
        assert wire.table.to_ask() == [(TRADES, good)]

    def test_an_answer_that_names_some_of_what_was_asked_is_for_those_alone(self) -> None:
        table = Subscriptions(VENUE, timeout_s=10.0)
        table.want(TRADES, [BTC, ETH, LTC])
        request = SubscriptionRequest("subscribe", TRADES, (BTC, ETH, LTC), {}, 1, ("b", "e", "l"))
        table.asked([request], 0.0)
        refusal = table.acknowledge(Acknowledgement("", "", ("e",), 1, None, "Blocked!"))
        assert refusal is not None and refusal.error is not None and (refusal.symbols, refusal.error.symbols) == ((ETH,), (ETH,))
        assert [table.stage(TRADES, symbol) for symbol in (BTC, ETH, LTC)] == [Stage.ASKED, None, Stage.ASKED]
        assert table.is_waiting
        assert table.acknowledge(Acknowledgement("", "", ("b", "l"), 1)) == Answer(request, (BTC, LTC))
        assert [table.stage(TRADES, symbol) for symbol in (BTC, LTC)] == [Stage.ACKNOWLEDGED] * 2
        assert not table.is_waiting

    def test_the_refusal_of_an_end_is_told_and_nobody_waits_for_it_any_more(self) -> None:
        wire = Wire()
        wire.answer(wire.asked(TRADES, BTC))
        (end,) = wire.drop(TRADES, BTC)
        answer = wire.answer(end, {"code": 4, "message": "not subscribed"})
        assert answer is not None and answer.request is end and "not subscribed" in str(answer.error)
        assert wire.stages(TRADES, BTC) == [None]


class TestDropping:
    def test_what_was_never_asked_for_is_gone_at_once(self) -> None:
        table = Subscriptions(VENUE, timeout_s=10.0)
        table.want(TRADES, [BTC, ETH])
        assert table.drop(TRADES, [BTC]) == []
        assert table.drop(OBU, [BTC]) == []
        assert table.to_ask() == [(TRADES, [ETH])]

    @pytest.mark.parametrize("stage", [Stage.ASKED, Stage.ACKNOWLEDGED, Stage.FLOWING])
    def test_what_was_asked_for_leaves_until_its_end_is_acknowledged(self, stage: Stage) -> None:
        wire = Wire()
        request = wire.asked(TRADES, BTC)
        if stage is not Stage.ASKED:
            wire.answer(request)
        if stage is Stage.FLOWING:
            wire.table.flowing(TRADES, BTC)
        assert wire.stages(TRADES, BTC) == [stage]
        (end,) = wire.drop(TRADES, BTC)
        wire.table.flowing(TRADES, BTC)
        assert wire.stages(TRADES, BTC) == [Stage.LEAVING]
        assert wire.table.drop(TRADES, [BTC]) == []
        assert wire.answer(end) == Answer(end, end.symbols)
        assert wire.stages(TRADES, BTC) == [None]

    def test_the_answer_to_the_subscription_does_not_end_the_leaving(self) -> None:
        wire = Wire()
        request = wire.asked(TRADES, BTC)
        wire.table.drop(TRADES, [BTC])
        assert wire.answer(request) == Answer(request, request.symbols)
        assert wire.stages(TRADES, BTC) == [Stage.LEAVING]

    def test_what_leaves_is_not_asked_for_after_a_cut(self) -> None:
        wire = Wire()
        wire.answer(wire.asked(TRADES, BTC, ETH))
        wire.drop(TRADES, BTC)
        assert wire.table.wanted() == [(TRADES, ETH)]
        wire.table.disconnected()
        assert wire.stages(TRADES, BTC, ETH) == [None, Stage.WANTED]

    def test_what_is_wanted_again_while_it_leaves_is_asked_for_again_and_outlives_the_answer_to_its_end(self) -> None:
        wire = Wire()
        wire.answer(wire.asked(OBU, BTC))
        (end,) = wire.drop(OBU, BTC)
        again = wire.asked(OBU, BTC)
        wire.answer(end)
        assert wire.stages(OBU, BTC) == [Stage.ASKED]
        wire.answer(again)
        assert wire.stages(OBU, BTC) == [Stage.ACKNOWLEDGED]

    def test_an_end_that_is_asked_for_late_touches_nothing_that_is_wanted_again(self) -> None:
        wire = Wire()
        wire.answer(wire.asked(OBU, BTC))
        wire.table.drop(OBU, [BTC])
        wire.table.want(OBU, [BTC])
        (end,) = wire.send("unsubscribe", OBU, [BTC])
        assert wire.stages(OBU, BTC) == [Stage.WANTED]
        (again,) = wire.ask()
        wire.send("unsubscribe", OBU, [BTC])
        wire.send("subscribe", OBU, [BTC])
        assert wire.stages(OBU, BTC) == [Stage.ASKED]
        assert wire.answer(end) == Answer(end, end.symbols)
        assert wire.stages(OBU, BTC) == [Stage.ASKED]
        wire.answer(again)
        assert wire.stages(OBU, BTC) == [Stage.ACKNOWLEDGED]

    def test_the_answer_to_an_older_request_says_nothing_of_a_newer_one(self) -> None:
        wire = Wire()
        older = wire.asked(OBU, BTC)
        wire.drop(OBU, BTC)
        newer = wire.asked(OBU, BTC)
        assert wire.answer(older) == Answer(older, older.symbols)
        assert wire.stages(OBU, BTC) == [Stage.ASKED]
        wire.answer(older, REFUSAL)
        assert wire.stages(OBU, BTC) == [Stage.ASKED]
        wire.answer(newer)
        assert wire.stages(OBU, BTC) == [Stage.ACKNOWLEDGED]


class TestNoAnswer:
    def test_a_request_is_overdue_after_the_timeout_and_asked_for_anew(self) -> None:
        wire = Wire()
        first = wire.asked(TRADES, BTC, at_s=100.0)
        second = wire.asked(TRADES, ETH, at_s=105.0)
        assert wire.table.overdue(109.9) == []
        assert wire.table.overdue(110.0) == [first]
        assert wire.stages(TRADES, BTC, ETH) == [Stage.WANTED, Stage.ASKED]
        assert wire.table.to_ask() == [(TRADES, [BTC])]
        assert wire.table.overdue(115.0) == [second]
        assert wire.table.overdue(999.0) == []

    def test_what_flows_without_an_answer_is_asked_for_anew_too(self) -> None:
        wire = Wire()
        request = wire.asked(TRADES, BTC)
        wire.table.flowing(TRADES, BTC)
        assert wire.table.overdue(10.0) == [request]
        assert wire.stages(TRADES, BTC) == [Stage.WANTED]

    def test_an_answered_request_is_never_overdue(self) -> None:
        wire = Wire()
        request = wire.asked(TRADES, BTC)
        assert wire.table.is_waiting
        wire.answer(request)
        assert not wire.table.is_waiting
        assert wire.table.overdue(999.0) == []
        assert wire.stages(TRADES, BTC) == [Stage.ACKNOWLEDGED]

    def test_what_was_asked_for_without_an_answer_needs_an_end_when_it_is_dropped(self) -> None:
        wire = Wire()
        wire.asked(TRADES, BTC)
        wire.table.overdue(10.0)
        assert wire.table.drop(TRADES, [BTC]) == [BTC]

    def test_an_end_without_an_answer_stays_and_can_be_asked_for_anew(self) -> None:
        wire = Wire()
        wire.answer(wire.asked(TRADES, BTC))
        (end,) = wire.drop(TRADES, BTC)
        assert wire.table.overdue(10.0) == [end]
        assert wire.stages(TRADES, BTC) == [Stage.LEAVING]
        (again,) = wire.send("unsubscribe", TRADES, [BTC])
        wire.answer(again)
        assert wire.stages(TRADES, BTC) == [None]

    def test_a_late_request_says_nothing_of_what_was_asked_for_anew(self) -> None:
        wire = Wire()
        late = wire.asked(TRADES, BTC, at_s=0.0)
        wire.drop(TRADES, BTC)
        wire.asked(TRADES, BTC, at_s=5.0)
        assert late in wire.table.overdue(10.0)
        assert wire.stages(TRADES, BTC) == [Stage.ASKED]


class TestDisconnected:
    def test_everything_wanted_is_asked_for_again_once_whatever_its_stage(self) -> None:
        wire = Wire()
        wire.answer(wire.asked(TRADES, BTC, ETH))
        wire.table.flowing(TRADES, BTC)
        pending = wire.asked(OBU, BTC)
        wire.table.want(MINUTES, [LTC])
        assert wire.table.disconnected() == [pending]
        assert wire.table.to_ask() == [(TRADES, [BTC, ETH]), (OBU, [BTC]), (MINUTES, [LTC])]
        wire.ask()
        assert wire.table.to_ask() == []

    def test_nothing_of_the_former_connection_is_awaited_or_believed(self) -> None:
        wire = Wire()
        former = wire.asked(TRADES, BTC)
        wire.table.disconnected()
        assert wire.table.disconnected() == []
        wire.ask()
        assert wire.answer(former) is None
        assert wire.stages(TRADES, BTC) == [Stage.ASKED]

    def test_data_of_the_former_connection_does_not_count(self) -> None:
        wire = Wire()
        wire.asked(TRADES, BTC)
        wire.table.flowing(TRADES, BTC)
        wire.table.disconnected()
        wire.table.flowing(TRADES, BTC)
        assert wire.stages(TRADES, BTC) == [Stage.WANTED]
