"""Streams in virtual time: what flows, thins out and falls silent, and what Freshness makes of it."""

import itertools
import math
import random
from collections.abc import Callable, Iterator

import pytest

from infrastructure.events import BookTicker, Trade
from infrastructure.exchanges.gateio.spot import BOOK_TICKER, GATEIO_SPOT, OBU, ORDER_BOOK_UPDATE, TRADES
from infrastructure.freshness import Degraded, Finding, Freshness, Mute, Recovered, Step
from infrastructure.networking.websocket.settings import FreshnessSettings
from infrastructure.session import Key, Session, Stream
from infrastructure.venue import BookUpdate
from tests.harness.effort import is_soak

SECOND = 10**9
START_NS = 1_700_000_000 * SECOND
BTC, ETH, RARE = "BTC/USDT", "ETH/USDT", "RARE/USDT"
BTC_BOOK, BTC_TICKER, ETH_BOOK = (ORDER_BOOK_UPDATE, BTC), (BOOK_TICKER, BTC), (ORDER_BOOK_UPDATE, ETH)
RARE_TRADES = (TRADES, RARE)
SETTINGS = FreshnessSettings()
LEARNT_S = round(SETTINGS.learn_s + 3 * SETTINGS.window_s)

#: Seconds to the next message.
Gaps = Iterator[float]


def poisson(rate: float, chance: random.Random) -> Gaps:
    while True:
        yield chance.expovariate(rate)


def steadily(every_s: float) -> Gaps:
    while True:
        yield every_s


def quiet(chance: random.Random) -> Gaps:
    """A trade every twenty minutes at random, now and then a burst of them, now and then hours of nothing."""
    while True:
        kind = chance.random()
        if kind < 0.05:
            for _ in range(chance.randrange(20, 2000)):
                yield chance.expovariate(20)
        elif kind < 0.07:
            yield chance.uniform(2 * 3600, 5 * 3600)
        yield chance.expovariate(1 / 1200)


class Venue:
    """Streams with their next messages, and a Freshness that looks at them each second."""

    def __init__(self, settings: FreshnessSettings = SETTINGS) -> None:
        self.freshness = Freshness(settings, GATEIO_SPOT)
        self.streams: dict[Key, Stream] = {}
        self.placed: dict[Key, str] = {}
        self.now_s = 0.0
        self.findings: list[tuple[float, Finding]] = []
        self._gaps: dict[Key, Gaps] = {}
        self._next: dict[Key, float] = {}
        self._muted: dict[Key, Callable[[], bool]] = {}

    def flow(self, key: Key, gaps: Gaps, connection: str = "A") -> None:
        self.streams.setdefault(key, Stream())
        self.placed[key] = connection
        self._gaps[key] = gaps
        self._next[key] = self.now_s + next(gaps)

    def mute(self, key: Key, until: Callable[[], bool] = lambda: False) -> None:
        self._muted[key] = until

    def thin(self, key: Key, factor: int) -> None:
        """From now on only every so manieth message of the stream comes."""
        turns = itertools.cycle([False] * (factor - 1) + [True])
        self._muted[key] = lambda: next(turns)

    def unmute(self, key: Key) -> None:
        del self._muted[key]

    def run(self, seconds: float) -> list[Finding]:
        """Let so much time pass; what was found meanwhile."""
        found: list[Finding] = []
        for _ in range(round(seconds)):
            self.now_s += 1
            for key in self._gaps:
                self._bring(key)
            now_ns = START_NS + round(self.now_s * SECOND)
            for finding in self.freshness.judge(now_ns, self.streams, self.placed):
                self.findings.append((self.now_s, finding))
                found.append(finding)
        return found

    def _bring(self, key: Key) -> None:
        stream = self.streams[key]
        while self._next[key] <= self.now_s:
            came_ns = START_NS + round(self._next[key] * SECOND)
            if key not in self._muted or self._muted[key]():
                stream.count += 1
                stream.received_ns, stream.exchange_ns = came_ns, came_ns - SECOND // 20
            self._next[key] += next(self._gaps[key])


def busy(seed: int = 1) -> Venue:
    """Two books and a ticker, for long enough that their rhythm is known."""
    venue = Venue()
    for index, (key, rate) in enumerate(((BTC_BOOK, 10.0), (BTC_TICKER, 20.0), (ETH_BOOK, 5.0))):
        venue.flow(key, poisson(rate, random.Random(f"{seed} {index}")))
    assert venue.run(LEARNT_S) == []
    return venue


class TestQuietSymbols:
    @pytest.mark.parametrize("seed", range(20 if is_soak() else 1))
    def test_24_hours_of_a_quiet_symbol_give_no_alarm(self, seed: int) -> None:
        chance = random.Random(seed)
        venue = Venue()
        venue.flow(RARE_TRADES, quiet(chance))
        venue.flow((ORDER_BOOK_UPDATE, RARE), poisson(1 / 40, chance))
        venue.flow((BOOK_TICKER, RARE), poisson(1 / 90, chance))
        venue.flow(BTC_BOOK, poisson(10, chance))
        assert venue.run(24 * 3600) == []
        assert venue.streams[RARE_TRADES].count > 24

    @pytest.mark.parametrize("rate", [0.2, 0.5, 0.7, 1.0, 2.0])
    def test_hours_of_a_stream_that_hardly_has_a_rhythm_give_no_alarm(self, rate: float) -> None:
        venue = Venue()
        venue.flow(BTC_BOOK, poisson(10, random.Random(1)))
        venue.flow(RARE_TRADES, poisson(rate, random.Random(rate)))
        assert venue.run(2 * 3600) == []

    def test_a_tide_is_followed(self) -> None:
        """A market that falls to a tenth over an hour, and rises again."""
        venue = Venue()
        chance = random.Random(7)

        def tide() -> Gaps:
            while True:
                yield chance.expovariate(12 + 10 * math.sin(venue.now_s / 1200))

        venue.flow(BTC_BOOK, tide())
        venue.flow(ETH_BOOK, poisson(5, chance))
        assert venue.run(2 * 3600) == []

    def test_a_burst_is_not_the_usual_rate(self) -> None:
        venue = Venue()
        chance = random.Random(3)

        def bursts() -> Gaps:
            while True:
                yield chance.expovariate(40 if venue.now_s % 900 < 120 else 1)

        venue.flow(BTC_BOOK, bursts())
        venue.flow(ETH_BOOK, poisson(5, chance))
        assert venue.run(2 * 3600) == []

    def test_a_stream_that_begins_with_a_burst_is_not_judged_by_it(self) -> None:
        venue = Venue()
        chance = random.Random(5)
        venue.flow(ETH_BOOK, poisson(5, chance))
        venue.flow(RARE_TRADES, (chance.expovariate(50 if index < 10_000 else 1 / 1200) for index in range(10**6)))
        assert venue.run(4 * 3600) == []


class TestMute:
    @pytest.mark.parametrize("seed", range(10))
    def test_a_mute_stream_is_told_within_a_second_of_its_threshold(self, seed: int) -> None:
        venue = busy(seed)
        threshold_ns = venue.freshness.threshold_ns(BTC_BOOK)
        assert threshold_ns == SETTINGS.silent_s * SECOND
        venue.mute(BTC_BOOK)
        (finding,) = venue.run(SETTINGS.silent_s + 2)
        assert isinstance(finding, Mute)
        assert (finding.key, finding.step) == (BTC_BOOK, Step.RESUBSCRIBE)
        last_s = (venue.streams[BTC_BOOK].received_ns - START_NS) / SECOND
        assert venue.findings[0][0] - last_s <= SETTINGS.silent_s + 1

    def test_the_threshold_of_a_stream_with_longer_silences_is_longer(self) -> None:
        venue = busy()
        venue.flow((TRADES, BTC), poisson(1.5, random.Random(3)))
        venue.run(LEARNT_S)
        threshold_ns = venue.freshness.threshold_ns((TRADES, BTC))
        assert threshold_ns is not None and threshold_ns > SETTINGS.silent_s * SECOND
        venue.mute((TRADES, BTC))
        (finding,) = venue.run(threshold_ns // SECOND + 2)
        assert isinstance(finding, Mute)
        assert threshold_ns < finding.silent_ns <= threshold_ns + SECOND

    def test_a_threshold_longer_than_a_window_is_kept_too(self) -> None:
        """What the window still holds from before the silence is little, but the stream is not starved."""
        venue = Venue(FreshnessSettings(window_s=10, learn_s=60))
        for key in (BTC_BOOK, ETH_BOOK):
            venue.flow(key, steadily(0.2))
        assert venue.run(100) == []
        venue.mute(BTC_BOOK)
        (finding,) = venue.run(SETTINGS.silent_s + 1)
        assert isinstance(finding, Mute) and finding.key == BTC_BOOK

    def test_steps_become_harder_and_waits_longer_and_then_it_is_taken_for_quiet(self) -> None:
        venue = busy()
        venue.mute(BTC_BOOK)
        found = venue.run(4 * 3600)
        assert [finding.step for finding in found if isinstance(finding, Mute)] == [Step.RESUBSCRIBE, Step.MOVE, Step.RECONNECT]
        times = [at_s for at_s, _ in venue.findings]
        waits = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
        assert waits == [SETTINGS.first_wait_s, 2 * SETTINGS.first_wait_s]

    def test_a_stream_that_flows_again_is_told_once(self) -> None:
        venue = busy()
        venue.mute(BTC_BOOK)
        venue.run(20)
        venue.unmute(BTC_BOOK)
        assert venue.run(600) == [Recovered(BTC_BOOK)]

    def test_a_stream_that_comes_back_for_moments_does_not_make_the_steps_tight(self) -> None:
        venue = busy()
        venue.mute(BTC_BOOK, lambda: venue.now_s % 60 < 30)
        venue.run(2 * 3600)
        steps = [finding.step for _, finding in venue.findings if isinstance(finding, Mute)]
        assert 1 < len(steps) <= 9

    def test_a_venue_whose_own_clock_stands_still_has_no_mute_stream(self) -> None:
        """What comes of the others is old: the stream may be where they are."""
        venue = busy()
        venue.mute(BTC_BOOK)
        stands_ns = venue.streams[BTC_BOOK].exchange_ns
        for _ in range(60):
            found = venue.freshness.judge(START_NS + round((venue.now_s + 1) * SECOND), venue.streams, venue.placed)
            venue.now_s += 1
            for key in (BTC_TICKER, ETH_BOOK):
                stream = venue.streams[key]
                stream.count += 5
                stream.received_ns, stream.exchange_ns = START_NS + round(venue.now_s * SECOND), stands_ns
            assert found == []

    def test_a_connection_that_is_silent_as_a_whole_is_connected_anew_once(self) -> None:
        venue = busy()
        other = (ORDER_BOOK_UPDATE, RARE)
        venue.flow(other, poisson(10, random.Random(9)), "B")
        for key in (BTC_BOOK, BTC_TICKER, ETH_BOOK):
            venue.mute(key)
        (finding,) = venue.run(SETTINGS.silent_s + 3)
        assert isinstance(finding, Mute)
        assert (finding.step, finding.is_connection) == (Step.RECONNECT, True)
        assert venue.run(SETTINGS.first_wait_s - 5) == []

    def test_a_zombie_is_connected_anew_with_ever_longer_waits(self) -> None:
        """Everything is silent, however often it is connected anew."""
        venue = busy()
        for key in (BTC_BOOK, BTC_TICKER, ETH_BOOK):
            venue.mute(key)
        number = 0
        for _ in range(6 * 3600):
            for finding in venue.run(1):
                assert isinstance(finding, Mute) and finding.step is Step.RECONNECT
                number += 1
                venue.placed = dict.fromkeys(venue.placed, f"life {number}")
        times = [at_s for at_s, _ in venue.findings]
        waits = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
        assert waits == sorted(waits)
        assert 6 < len(times) < 20

    @pytest.mark.parametrize("away", ["paused", "connection lost", "blocked loop"])
    def test_clocks_stand_still_while_nothing_can_be_read(self, away: str) -> None:
        venue = busy()
        for key in (BTC_BOOK, BTC_TICKER, ETH_BOOK):
            venue.mute(key)
        placed = venue.placed
        assert venue.run(5) == []
        if away == "blocked loop":
            venue.now_s += 300
        else:
            venue.placed = {}
            assert venue.run(300) == []
            venue.placed = placed
        for key in placed:
            venue.unmute(key)
        assert venue.run(300) == []

    def test_a_silence_before_a_pause_counts_behind_it(self) -> None:
        venue = busy()
        placed = venue.placed
        venue.mute(BTC_BOOK)
        venue.run(10)
        venue.placed = {}
        venue.run(100)
        venue.placed = placed
        (finding,) = venue.run(SETTINGS.silent_s - 7)
        assert isinstance(finding, Mute) and finding.silent_ns < (SETTINGS.silent_s + 2) * SECOND


class TestDegraded:
    @pytest.mark.parametrize("seed", range(10))
    def test_a_starved_stream_is_told_within_a_minute_once(self, seed: int) -> None:
        venue = busy(seed)
        begun_s = venue.now_s
        venue.thin(BTC_BOOK, 40)
        found = venue.run(300)
        assert [type(finding) for finding in found] == [Degraded]
        assert venue.findings[0][0] - begun_s <= 60
        venue.unmute(BTC_BOOK)
        assert venue.run(300) == [Recovered(BTC_BOOK)]
        assert venue.run(1200) == []

    def test_a_stream_that_comes_and_goes_about_the_limit_does_not_flap(self) -> None:
        venue = busy()
        least = venue.freshness._watches[BTC_BOOK].rhythm.least
        venue.thin(BTC_BOOK, round(10 * SETTINGS.window_s / (least * SETTINGS.degraded_share)))
        found = venue.run(1500)
        assert [type(finding) for finding in found] == [Degraded]

    def test_a_lower_rate_that_lasts_is_the_usual_one_at_last(self) -> None:
        venue = busy()
        venue.thin(BTC_BOOK, 16)
        found = venue.run(3 * 3600)
        assert [type(finding) for finding in found] == [Degraded, Recovered]
        assert found[1] == Recovered(BTC_BOOK, is_accepted=True)

    @pytest.mark.parametrize("rate", [2.0, 5.0])
    def test_a_slow_stream_that_is_starved_gives_no_loop(self, rate: float) -> None:
        venue = busy()
        venue.flow((TRADES, BTC), poisson(rate, random.Random(8)))
        venue.run(LEARNT_S)
        venue.thin((TRADES, BTC), 40)
        found = venue.run(600)
        assert any(isinstance(finding, Degraded) for finding in found)
        assert Step.RECONNECT not in [finding.step for finding in found if isinstance(finding, Mute)]
        assert len(found) <= 4


class TestWhatOthersKnow:
    """The streams are a session's own here: what one stream knows of another is the session's to say."""

    @staticmethod
    def judge(session: Session, freshness: Freshness, at_s: float, *keys: Key) -> list[Finding]:
        return freshness.judge(START_NS + round(at_s * SECOND), session.streams(), dict.fromkeys(keys, "A"))

    @staticmethod
    def ticker(session: Session, at_s: float, update_id: int) -> None:
        now_ns = START_NS + round(at_s * SECOND)
        session.apply([BookTicker("gateio_spot", RARE, update_id, 100.0, 1.0, 101.0, 1.0, now_ns)], now_ns)

    @staticmethod
    def update(session: Session, at_s: float, last_id: int, *, is_full: bool = False) -> None:
        now_ns = START_NS + round(at_s * SECOND)
        levels = ([(100.0, 1.0)], [(101.0, 1.0)]) if is_full else ([], [])
        session.apply([BookUpdate(ORDER_BOOK_UPDATE, RARE, last_id, last_id, *levels, is_full, now_ns)], now_ns)

    def test_a_quiet_book_whose_ticker_has_run_ahead_is_mute(self) -> None:
        session, freshness = Session(GATEIO_SPOT), Freshness(SETTINGS, GATEIO_SPOT)
        book, ticker = (ORDER_BOOK_UPDATE, RARE), (BOOK_TICKER, RARE)
        self.update(session, 0.5, 10, is_full=True)
        self.ticker(session, 0.6, 10)
        found: list[tuple[int, Finding]] = []
        for second in range(1, 2000):
            if second == 1000:
                self.ticker(session, second - 0.5, 11)
            found += [(second, finding) for finding in self.judge(session, freshness, second, book, ticker)]
            if found:
                break
        ((second, finding),) = found
        assert isinstance(finding, Mute) and finding.key == book
        assert 1000 + SETTINGS.silent_s - 1 <= second <= 1000 + SETTINGS.silent_s + 1

    def test_what_others_know_goes_on_being_true_and_steps_become_rarer(self) -> None:
        session, freshness = Session(GATEIO_SPOT), Freshness(SETTINGS, GATEIO_SPOT)
        book, ticker = (ORDER_BOOK_UPDATE, RARE), (BOOK_TICKER, RARE)
        self.update(session, 0.5, 10, is_full=True)
        self.ticker(session, 0.6, 10)
        found = []
        for second in range(1, 6 * 3600):
            if second % 2 == 0:
                self.ticker(session, second - 0.5, 10 + second)
            found += self.judge(session, freshness, second, book, ticker)
        steps = [finding.step for finding in found if isinstance(finding, Mute)]
        assert steps[:3] == list(Step)
        assert 8 < len(steps) < 20

    def test_a_book_that_keeps_up_with_its_ticker_is_not(self) -> None:
        session, freshness = Session(GATEIO_SPOT), Freshness(SETTINGS, GATEIO_SPOT)
        self.update(session, 0.5, 10, is_full=True)
        for second in range(1, 4000):
            if second % 100 == 0:
                self.ticker(session, second - 0.9, 10 + second)
                self.update(session, second - 0.8, 10 + second, is_full=True)
            assert self.judge(session, freshness, second, (ORDER_BOOK_UPDATE, RARE), (BOOK_TICKER, RARE)) == []

    def test_a_book_that_was_never_begun_while_its_ticker_moves_is_mute(self) -> None:
        session, freshness = Session(GATEIO_SPOT), Freshness(SETTINGS, GATEIO_SPOT)
        found = []
        for second in range(1, 30):
            if second in (3, 4, 5):
                self.ticker(session, second - 0.5, second)
            found += self.judge(session, freshness, second, (ORDER_BOOK_UPDATE, RARE), (BOOK_TICKER, RARE))
        assert [type(finding) for finding in found] == [Mute]

    def test_a_quiet_book_that_was_just_moved_is_not_held_against_tickers_from_before(self) -> None:
        session, freshness = Session(GATEIO_SPOT), Freshness(SETTINGS, GATEIO_SPOT)
        book, ticker = (ORDER_BOOK_UPDATE, RARE), (BOOK_TICKER, RARE)
        for second in range(1, 200):
            now_ns = START_NS + second * SECOND
            if second <= 100:
                self.update(session, second - 0.6, second, is_full=True)
                self.ticker(session, second - 0.5, second)
            if second == 100:
                session.disconnect({book})
            placed = {book: "A" if second <= 100 else "B", ticker: "A"}
            assert freshness.judge(now_ns, session.streams(), placed) == []

    def test_a_stream_that_begins_with_a_whole_book_and_does_not_is_mute(self) -> None:
        session, freshness = Session(GATEIO_SPOT), Freshness(SETTINGS, GATEIO_SPOT)
        found = [finding for second in range(1, 30) for finding in self.judge(session, freshness, second, (OBU, RARE), RARE_TRADES)]
        assert found == [Mute((OBU, RARE), Step.RESUBSCRIBE, 16 * SECOND)]

    def test_trades_of_a_symbol_whose_book_moves_are_no_evidence(self) -> None:
        session, freshness = Session(GATEIO_SPOT), Freshness(SETTINGS, GATEIO_SPOT)
        session.apply([Trade("gateio_spot", RARE, "1", "buy", 100.0, 1.0, START_NS)], START_NS)  # type: ignore[arg-type]
        for second in range(1, 4000):
            self.update(session, second - 0.5, second, is_full=True)
            assert self.judge(session, freshness, second, (ORDER_BOOK_UPDATE, RARE), RARE_TRADES) == []


def test_what_is_found_says_what_it_is() -> None:
    assert str(Mute(BTC_BOOK, Step.MOVE, 16 * SECOND)) == "no message for 16.0 s, others go on: move"
    assert str(Mute(BTC_BOOK, Step.RECONNECT, 16 * SECOND, True)) == "no message for 16.0 s, the whole connection is silent: reconnect"
    assert str(Degraded(BTC_BOOK, 0.025)) == "at 2.5% of its usual rate"
    assert (str(Recovered(BTC_BOOK)), str(Recovered(BTC_BOOK, True))) == ("flows as before", "its lower rate is its usual one now")
    assert {kind.kind for kind in (Mute, Degraded, Recovered)} == {"mute", "degraded", "recovered"}


def test_a_stream_that_is_away_for_long_is_forgotten() -> None:
    venue = busy()
    assert repr(venue.freshness) == "<Freshness streams=3 mute=0 degraded=0>"
    del venue.placed[BTC_BOOK]
    venue.run(SETTINGS.max_wait_s + 1)
    assert repr(venue.freshness) == "<Freshness streams=2 mute=0 degraded=0>"
