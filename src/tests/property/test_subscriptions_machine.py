"""Subscriptions against a tiny model: what is wanted, what this connection carried, and what was answered on it."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from infrastructure.exchanges.gateio.spot import CANDLESTICKS, TRADES, GateioSpotCodec
from infrastructure.networking.websocket.subscriptions import RequestIds, Stage, Subscriptions
from infrastructure.venue import Acknowledgement, SubscriptionRequest
from tests.harness.effort import effort

CHANNELS = st.sampled_from([TRADES, f"{CANDLESTICKS}:1m", f"{CANDLESTICKS}:1h"])
SYMBOLS = st.lists(st.sampled_from(["BTC/USDT", "ETH/USDT", "LTC/USDT"]), min_size=1, max_size=3, unique=True)
TIMEOUT_S = 10.0
Key = tuple[str, str]
CODEC = GateioSpotCodec()


class Told:
    """What the venue and its user know of one wanted key on this connection."""

    def __init__(self) -> None:
        self.asked_by: SubscriptionRequest | None = None
        self.is_acknowledged = False
        self.has_data = False

    @property
    def stage(self) -> Stage:
        if self.asked_by is None:
            return Stage.WANTED
        if self.has_data:
            return Stage.FLOWING
        return Stage.ACKNOWLEDGED if self.is_acknowledged else Stage.ASKED


class SubscriptionsMachine(RuleBasedStateMachine):
    """Any history of wishes, requests, answers in any order, refusals, data, silence and cuts."""

    @initialize(is_numbered=st.booleans())
    def open(self, is_numbered: bool) -> None:
        self.table = Subscriptions("gateio_spot", TIMEOUT_S)
        self.is_numbered = is_numbered
        self.next_id = RequestIds() if is_numbered else None
        self.now_s = 0.0
        self.wanted: dict[Key, Told] = {}
        #: What leaves, by the request for its end.
        self.leaving: dict[Key, SubscriptionRequest] = {}
        #: What the venue was asked for on this connection, whether or not it is wanted still.
        self.carried: set[Key] = set()
        self.unanswered: list[tuple[float, SubscriptionRequest]] = []
        self.former: list[SubscriptionRequest] = []

    def send(self, action: str, channel: str, symbols: list[str]) -> list[SubscriptionRequest]:
        requests = CODEC.subscription_requests(action, channel, symbols, 0, self.next_id)
        self.table.asked(requests, self.now_s)
        self.unanswered += [(self.now_s, request) for request in requests]
        return requests

    @staticmethod
    def keys(request: SubscriptionRequest) -> list[Key]:
        return [(request.channel, symbol) for symbol in request.symbols]

    @rule(channel=CHANNELS, symbols=SYMBOLS)
    def want(self, channel: str, symbols: list[str]) -> None:
        self.table.want(channel, symbols)
        for key in ((channel, symbol) for symbol in symbols):
            self.leaving.pop(key, None)
            self.wanted.setdefault(key, Told())

    @rule(channel=CHANNELS, symbols=SYMBOLS)
    def drop(self, channel: str, symbols: list[str]) -> None:
        to_end = self.table.drop(channel, symbols)
        dropped = [symbol for symbol in symbols if (channel, symbol) in self.wanted]
        # A key that was given back after an end is wanted anew: its first request is still to come.
        assert to_end == [symbol for symbol in dropped if (channel, symbol) in self.carried]
        for symbol in dropped:
            del self.wanted[channel, symbol]
        for request in self.send("unsubscribe", channel, to_end) if to_end else []:
            for key in self.keys(request):
                self.leaving[key] = request
                self.carried.discard(key)

    @rule()
    def ask(self) -> None:
        asked = []
        for channel, symbols in self.table.to_ask():
            for request in self.send("subscribe", channel, symbols):
                for key in self.keys(request):
                    told = self.wanted[key]
                    assert told.asked_by is None, "asked twice"
                    told.asked_by = request
                    asked.append(key)
        assert len(asked) == len(set(asked))
        self.carried.update(asked)
        assert all(told.asked_by is not None for told in self.wanted.values())
        assert self.table.to_ask() == []

    def acknowledgement(self, request: SubscriptionRequest, error: str | None) -> Acknowledgement:
        payload = request.message["payload"]
        assert isinstance(payload, list)
        return Acknowledgement(request.channel.partition(":")[0], request.action, tuple(payload), request.request_id, None, error)

    @precondition(lambda self: self.unanswered)
    @rule(data=st.data(), error=st.sampled_from([None, None, "no"]))
    def answer(self, data: st.DataObject, error: str | None) -> None:
        entry = data.draw(st.sampled_from(self.unanswered))
        if not self.is_numbered:
            # Where the frames alone do not tell which of two equal requests is meant, it is the older.
            entry = next(other for other in self.unanswered if other[1].message == entry[1].message)
        self.unanswered = [other for other in self.unanswered if other is not entry]
        request = entry[1]
        answer = self.table.acknowledge(self.acknowledgement(request, error))
        assert answer is not None and answer.request is request
        # Of several that are refused together any may be to blame.
        is_split = error is not None and request.action == "subscribe" and len(request.symbols) > 1
        assert answer.is_to_be_split is is_split
        assert (None if answer.error is None else answer.error.words) == (None if is_split else error)
        for key in self.keys(request):
            if self.leaving.get(key) is request:
                del self.leaving[key]
            elif key in self.wanted and self.wanted[key].asked_by is request:
                self.wanted[key].is_acknowledged = True
                if is_split:
                    self.wanted[key] = Told()
                    self.carried.discard(key)
                elif error is not None:
                    del self.wanted[key]
                    self.carried.discard(key)

    @precondition(lambda self: self.is_numbered and self.former)
    @rule(data=st.data(), error=st.sampled_from([None, "no"]))
    def answer_that_nobody_awaits(self, data: st.DataObject, error: str | None) -> None:
        assert self.table.acknowledge(self.acknowledgement(data.draw(st.sampled_from(self.former)), error)) is None

    @rule(channel=CHANNELS, symbols=SYMBOLS)
    def data(self, channel: str, symbols: list[str]) -> None:
        name = channel.partition(":")[0]
        self.table.flowing(name, symbols[0])
        for (other, symbol), told in self.wanted.items():
            if symbol == symbols[0] and other.partition(":")[0] == name and told.asked_by is not None:
                told.has_data = True

    @rule(seconds=st.sampled_from([1.0, 4.0, TIMEOUT_S]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        late = [request for sent_s, request in self.unanswered if self.now_s - sent_s >= TIMEOUT_S]
        overdue = self.table.overdue(self.now_s)
        assert len(overdue) == len(late) and all(one is other for one, other in zip(overdue, late, strict=True))
        self.unanswered = [entry for entry in self.unanswered if not any(entry[1] is request for request in late)]
        self.former += late
        for request in late:
            for key in self.keys(request):
                if key in self.wanted and self.wanted[key].asked_by is request:
                    self.wanted[key] = Told()

    @rule()
    def cut(self) -> None:
        assert self.table.disconnected() == [request for _, request in self.unanswered]
        self.former += [request for _, request in self.unanswered]
        self.unanswered = []
        self.leaving = {}
        self.carried = set()
        self.wanted = {key: Told() for key in self.wanted}
        to_ask = [(channel, symbol) for channel, symbols in self.table.to_ask() for symbol in symbols]
        assert sorted(to_ask) == sorted(self.wanted)

    @invariant()
    def every_stage_is_what_was_told_on_this_connection(self) -> None:
        expected = {key: told.stage for key, told in self.wanted.items()} | dict.fromkeys(self.leaving, Stage.LEAVING)
        assert {key: self.table.stage(*key) for key in expected} == expected
        assert sorted(self.table.wanted()) == sorted(self.wanted)
        held = f"pending={len(self.unanswered)}>"
        counts = " ".join(f"{stage.value}={list(expected.values()).count(stage)}" for stage in Stage)
        assert repr(self.table) == f"<Subscriptions gateio_spot {counts} {held}"


TestSubscriptionsMachine: Any = SubscriptionsMachine.TestCase
TestSubscriptionsMachine.settings = effort(200, steps=40)
