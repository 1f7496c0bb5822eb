"""When to connect again, and when to give up."""

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.errors import ConnectFailed, GaveUp, HandshakeDeferred, HandshakeRefused, SecurityFailed
from infrastructure.networking.websocket.link import Loss, LossCause
from infrastructure.networking.websocket.reconnect import Again, GiveUp, Reconnection, delays
from infrastructure.networking.websocket.settings import ReconnectSettings
from tests.harness.effort import effort

VENUE = "gateio_spot"
URL = "wss://venue.test/ws"
CUT = Loss(LossCause.CUT)
DOWN = ConnectFailed(URL, "connection refused")


class Highest(random.Random):
    """Draws the upper end of every range: a delay is its bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Lowest(random.Random):
    """Draws the lower end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return a


def closed(code: int | None) -> Loss:
    return Loss(LossCause.CLOSED_BY_VENUE, code)


def of(settings: ReconnectSettings | None = None, chance: random.Random | None = None) -> Reconnection:
    return Reconnection(VENUE, settings or ReconnectSettings(), chance or Highest())


def delay_of(decision: Again | GiveUp) -> float:
    assert isinstance(decision, Again), decision
    return decision.delay_s


def words_of(decision: Again | GiveUp) -> str:
    assert isinstance(decision, GiveUp) and isinstance(decision.error, GaveUp), decision
    return str(decision.error)


class TestDelays:
    def test_the_bound_grows_by_the_factor_up_to_the_longest_delay(self) -> None:
        settings = ReconnectSettings(first_delay_s=0.5, factor=3.0, max_delay_s=10.0)
        assert list(islice(delays(settings, Highest()), 5)) == [0.5, 1.5, 4.5, 10.0, 10.0]

    def test_a_first_delay_above_the_longest_is_the_longest(self) -> None:
        assert next(delays(ReconnectSettings(first_delay_s=60.0, max_delay_s=30.0), Highest())) == 30.0

    @given(
        seed=st.integers(0, 2**32),
        first=st.floats(0.001, 100.0),
        factor=st.floats(1.0, 10.0),
        longest=st.floats(0.001, 1000.0),
    )
    @effort(200)
    def test_every_delay_lies_between_0_and_its_bound(self, seed: int, first: float, factor: float, longest: float) -> None:
        settings = ReconnectSettings(first_delay_s=first, factor=factor, max_delay_s=longest)
        for number, delay in enumerate(islice(delays(settings, random.Random(seed)), 50)):
            assert 0.0 <= delay <= min(first * factor**number * 1.000001, longest)

    def test_the_jitter_is_full_it_reaches_both_ends_and_its_mean_is_half(self) -> None:
        settings = ReconnectSettings(first_delay_s=8.0, max_delay_s=8.0)
        drawn = list(islice(delays(settings, random.Random(7)), 4000))
        assert min(drawn) < 0.1 and max(drawn) > 7.9
        assert sum(drawn) / len(drawn) == pytest.approx(4.0, rel=0.05)


class TestWhatTheServerSaid:
    @pytest.mark.parametrize(
        "error",
        [SecurityFailed(URL, "certificate has expired"), HandshakeRefused(URL, "not found", 404), HandshakeRefused(URL, "302", 302)],
    )
    def test_what_trying_again_does_not_help_is_given_up_at_once_with_that_error(self, error: ConnectFailed) -> None:
        assert of().failed(error, 0.0) == GiveUp(error)

    @pytest.mark.parametrize("status", [429, 503, 403, 418])
    @pytest.mark.parametrize("seed", range(20))
    def test_a_wait_that_was_asked_for_is_kept_and_exceeded_by_a_tenth_at_most(self, status: int, seed: int) -> None:
        reconnection = of(chance=random.Random(seed))
        assert 37.0 <= delay_of(reconnection.failed(HandshakeDeferred(URL, "wait", status, 37.0), 0.0)) <= 37.0 * 1.1

    def test_a_wait_that_was_asked_for_is_never_shortened(self) -> None:
        assert delay_of(of(chance=Lowest()).failed(HandshakeDeferred(URL, "wait", 429, 37.0), 0.0)) == 37.0

    @pytest.mark.parametrize("status", [403, 418])
    def test_a_ban_without_a_time_waits_the_delay_of_a_ban(self, status: int) -> None:
        ban = HandshakeDeferred(URL, "banned", status)
        assert delay_of(of(chance=Lowest()).failed(ban, 0.0)) == 60.0
        assert delay_of(of(chance=Highest()).failed(ban, 0.0)) == pytest.approx(66.0)

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("retry_after_s", [None, 0.0])
    def test_a_deferral_that_names_no_time_waits_the_next_delay(self, status: int, retry_after_s: float | None) -> None:
        reconnection = of()
        busy = HandshakeDeferred(URL, "busy", status, retry_after_s)
        assert [delay_of(reconnection.failed(busy, at)) for at in (0.0, 1.0, 2.0)] == [0.5, 1.0, 2.0]

    @pytest.mark.parametrize("code", [None, 1000, 1001, 1002, 1003, 1005, 1007, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4999])
    def test_after_most_closes_comes_the_next_delay(self, code: int | None) -> None:
        reconnection = of()
        assert [delay_of(reconnection.failed(closed(code), at)) for at in (0.0, 1.0, 2.0)] == [0.5, 1.0, 2.0]

    def test_a_close_for_policy_is_waited_out_like_a_ban(self) -> None:
        assert delay_of(of(chance=Lowest()).failed(closed(1008), 0.0)) == 60.0

    @pytest.mark.parametrize("cause", [cause for cause in LossCause if cause is not LossCause.CLOSED_BY_US])
    def test_a_loss_of_any_other_cause_waits_the_next_delay(self, cause: LossCause) -> None:
        assert delay_of(of().failed(Loss(cause), 0.0)) == 0.5


class TestStartingOver:
    def grown(self, settings: ReconnectSettings | None = None) -> Reconnection:
        """One whose next bound is 4 s, at 10 s."""
        reconnection = of(settings)
        assert [delay_of(reconnection.failed(DOWN, at)) for at in (8.0, 9.0, 10.0)] == [0.5, 1.0, 2.0]
        return reconnection

    def test_the_delays_start_over_once_data_has_flowed_long_enough(self) -> None:
        reconnection = self.grown()
        reconnection.data_flows(20.0)
        assert delay_of(reconnection.failed(CUT, 30.0)) == 0.5

    def test_data_that_flowed_for_less_does_not_start_them_over(self) -> None:
        reconnection = self.grown()
        reconnection.data_flows(20.0)
        assert delay_of(reconnection.failed(CUT, 29.9)) == 4.0

    def test_a_connection_that_stood_long_without_data_does_not_start_them_over(self) -> None:
        assert delay_of(self.grown().failed(CUT, 1000.0)) == 4.0

    def test_data_of_one_connection_says_nothing_of_the_next(self) -> None:
        reconnection = self.grown()
        reconnection.data_flows(20.0)
        assert delay_of(reconnection.failed(CUT, 21.0)) == 4.0
        assert delay_of(reconnection.failed(CUT, 1000.0)) == 8.0

    @pytest.mark.parametrize(("reset", "delay_s"), [(True, 0.5), (False, 4.0)])
    def test_a_close_without_a_status_starts_them_over_if_so_set(self, reset: bool, delay_s: float) -> None:
        assert delay_of(self.grown(ReconnectSettings(reset_on_1005=reset)).failed(closed(1005), 20.0)) == delay_s

    def test_and_no_other_close_does(self) -> None:
        assert delay_of(self.grown(ReconnectSettings(reset_on_1005=True)).failed(closed(1000), 20.0)) == 4.0

    def test_a_wait_that_the_venue_named_leaves_the_delays_where_they_were(self) -> None:
        reconnection = self.grown()
        reconnection.failed(HandshakeDeferred(URL, "wait", 429, 5.0), 20.0)
        assert delay_of(reconnection.failed(DOWN, 25.0)) == 4.0


class TestGivingUp:
    def test_after_so_many_attempts_in_a_row(self) -> None:
        reconnection = of(ReconnectSettings(max_attempts=3))
        delay_of(reconnection.failed(DOWN, 0.0))
        delay_of(reconnection.failed(CUT, 1.0))
        assert words_of(reconnection.failed(DOWN, 2.0)) == (
            "gateio_spot: gave up: 3 attempts in a row without data, the last: cannot connect to wss://venue.test/ws: connection refused"
        )

    def test_data_ends_the_row_however_short_it_flowed(self) -> None:
        reconnection = of(ReconnectSettings(max_attempts=2))
        for at in range(20):
            reconnection.data_flows(10.0 * at)
            delay_of(reconnection.failed(CUT, 10.0 * at + 1.0))
            delay_of(reconnection.failed(DOWN, 10.0 * at + 2.0))

    def test_one_attempt_is_one_after_the_loss(self) -> None:
        reconnection = of(ReconnectSettings(max_attempts=1))
        reconnection.data_flows(0.0)
        delay_of(reconnection.failed(CUT, 1.0))
        assert "1 attempts in a row" in words_of(reconnection.failed(DOWN, 2.0))

    def test_without_a_limit_a_venue_may_be_down_for_days(self) -> None:
        reconnection = of()
        for number in range(5000):
            delay_of(reconnection.failed(DOWN, 30.0 * number))

    def test_after_too_many_failures_within_the_window(self) -> None:
        reconnection = of(ReconnectSettings(max_restarts=3, window_s=60.0))
        for at in (0.0, 20.0, 40.0):
            reconnection.data_flows(at)
            delay_of(reconnection.failed(CUT, at))
        last = Loss(LossCause.CLOSED_BY_VENUE, 4001, "too slow")
        assert words_of(reconnection.failed(last, 60.0)) == (
            "gateio_spot: gave up: 4 failures within 60 s, the last: closed by the venue (4001): too slow"
        )

    def test_failures_before_the_window_do_not_count(self) -> None:
        reconnection = of(ReconnectSettings(max_restarts=3, window_s=60.0))
        for number in range(100):
            delay_of(reconnection.failed(CUT, 20.1 * number))

    def test_waits_that_the_venue_named_count_too(self) -> None:
        reconnection = of(ReconnectSettings(max_restarts=3, window_s=600.0))
        for at in (0.0, 60.0, 120.0):
            delay_of(reconnection.failed(HandshakeDeferred(URL, "banned", 418), at))
        assert "4 failures within 600 s" in words_of(reconnection.failed(HandshakeDeferred(URL, "banned", 418), 180.0))

    def test_the_state_is_shown(self) -> None:
        reconnection = of()
        reconnection.failed(DOWN, 0.0)
        reconnection.data_flows(1.0)
        reconnection.failed(CUT, 2.0)
        assert repr(reconnection) == "<Reconnection gateio_spot failures=2 in_a_row=0>"


def flap(settings: ReconnectSettings, chance: random.Random, data_for_s: float | None, for_s: float = 600.0) -> tuple[list[float], bool]:
    """A venue that accepts and drops: when each attempt began, and whether it was given up. Connecting takes 50 ms."""
    reconnection = Reconnection(VENUE, settings, chance)
    attempts: list[float] = []
    now = 0.0
    while now < for_s:
        attempts.append(now)
        now += 0.05
        if data_for_s is not None:
            reconnection.data_flows(now)
            now += data_for_s
        decision = reconnection.failed(closed(1001), now)
        if isinstance(decision, GiveUp):
            return attempts, True
        now += decision.delay_s
    return attempts, False


class TestFlapping:
    """A venue that accepts and drops for ten minutes."""

    @pytest.mark.parametrize("data_for_s", [None, 0.2, 9.9])
    @pytest.mark.parametrize("seed", range(20))
    def test_a_venue_that_accepts_and_drops_is_left_alone_more_and_more(self, data_for_s: float | None, seed: int) -> None:
        attempts, _ = flap(ReconnectSettings(max_restarts=10**6), random.Random(seed), data_for_s)
        # Bounds of 0.5, 1, 2, ... 30 s, of which half is waited on average: 45 attempts. Without growth it would be thousands.
        assert len(attempts) <= 75
        assert sum(at > 300.0 for at in attempts) <= 35

    @pytest.mark.parametrize("data_for_s", [None, 0.2, 9.9, 10.0])
    @pytest.mark.parametrize("seed", range(20))
    def test_and_never_asked_more_often_than_the_window_allows(self, data_for_s: float | None, seed: int) -> None:
        attempts, _ = flap(ReconnectSettings(), random.Random(seed), data_for_s)
        assert len(attempts) <= 61

    def test_one_that_starts_the_delays_over_each_time_is_stopped_by_the_window(self) -> None:
        settings = ReconnectSettings(stable_s=1.0)
        attempts, has_given_up = flap(settings, random.Random(1), 1.0)
        assert has_given_up
        assert len(attempts) == settings.max_restarts + 1
        assert attempts[-1] < 120.0

    def test_one_that_closes_without_a_status_is_too(self) -> None:
        settings = ReconnectSettings(reset_on_1005=True)
        reconnection = of(settings, random.Random(1))
        decisions = [reconnection.failed(closed(1005), 0.3 * number) for number in range(settings.max_restarts + 1)]
        assert all(delay_of(decision) <= 0.5 for decision in decisions[:-1])
        assert "61 failures within 600 s" in words_of(decisions[-1])
