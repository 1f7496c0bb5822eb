"""An account through cuts, lapsed keys, refusals and switches, at a played exchange in virtual time: right to the last digit."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from infrastructure.credentials import Secret
from infrastructure.errors import AuthenticationFailed, RequestFailed, UnknownSymbol
from infrastructure.events import AccountState, AccountStateChange, BalanceUpdate, Fill, GapReason, OrderUpdate, PositionUpdate
from infrastructure.exchanges import VENUES as VENUE_TABLE
from infrastructure.networking.websocket.connection import Phase
from infrastructure.venue import PrivateCodec
from tests.harness import canary
from tests.harness.account_scene import TRADED, Scene, scene
from tests.harness.effort import is_soak
from tests.harness.variants import VARIANTS, Variant
from tests.harness.virtual_loop import run_virtual

VENUES = tuple(TRADED)
EVERY_VENUE = pytest.mark.parametrize("venue", VENUES)
EVERY_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=str)
ORDERS = 10_000 if is_soak() else 400

LIVE = [AccountState.AUTHENTICATING, AccountState.RECONCILING, AccountState.LIVE]


def run(main: Coroutine[Any, Any, None], seed: int = 1) -> None:
    run_virtual(seed, main)


async def busy(at: Scene, rounds: int = 20) -> None:
    """The account acts for a second or two."""
    for _ in range(rounds):
        at.exchange.trade(2)
        await asyncio.sleep(0.05)


def data(at: Scene) -> list[Any]:
    """What was told of the account itself."""
    return [event for event in at.told.events if isinstance(event, OrderUpdate | Fill | BalanceUpdate | PositionUpdate)]


@EVERY_VENUE
@EVERY_VARIANT
class TestTruth:
    def test_it_is_live_once_reconciled_and_follows_the_account(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                assert at.told.states == LIVE
                await busy(at)
                await at.is_settled()
                at.assert_right()
                assert len(at.told.fills) > 5 and at.told.gaps == [] and at.told.errors == []

        run(main())

    def test_k5_what_was_filled_and_placed_during_an_outage_is_told_once_after_a_gap(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                await busy(at)
                await at.is_settled()
                before = len(at.told.fills)
                at.exchange.is_up = False
                at.exchange.cut()
                await busy(at)
                known, told = at.exchange.exchange.account.state(), len(at.told.events)
                assert len(known["fills"]) > before == len(at.told.fills)  # type: ignore[arg-type]  # lists by name
                at.exchange.is_up = True
                await at.is_settled()
                at.assert_right()
                assert {gap.reason for gap in at.told.gaps} == {GapReason.DISCONNECTED}
                assert len({gap.channel for gap in at.told.gaps}) == len(at.told.gaps) >= 3
                # The gap comes first, then what was missed, and only then the word that the account is live.
                after = at.told.events[told:]
                live = next(i for i, event in enumerate(after) if isinstance(event, AccountStateChange) and event.new is AccountState.LIVE)
                assert [event for event in after[:live] if isinstance(event, Fill)]
                assert at.told.events.index(at.told.gaps[0]) < told

        run(main())

    def test_what_is_lost_is_said_of_the_channels_that_were_asked_for_and_of_no_others(self, venue: str, variant: Variant) -> None:
        private = VENUE_TABLE[venue].private
        assert private is not None
        last_of_each_kind = tuple({kind: channel for channel, kind in private.channels.items()}.values())

        async def main() -> None:
            async with scene(venue, variant, private_channels=last_of_each_kind) as at:
                await busy(at)
                at.exchange.cut()
                await at.is_settled()
                at.assert_right()
                assert sorted(str(gap.channel) for gap in at.told.gaps) == sorted(last_of_each_kind)

        run(main())

    def test_while_it_is_reconciled_nothing_is_told_and_afterwards_everything(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                await busy(at)
                at.exchange.cut()
                rest_at = asyncio.Event()
                asked = at.exchange.send

                async def slow(sign: Callable[[], Any]) -> bytes:
                    await rest_at.wait()
                    return await asked(sign)

                at.exchange.send = slow  # type: ignore[method-assign]  # REST takes its time
                await at.until(lambda: at.account.state is AccountState.RECONCILING)
                told = len(data(at))
                await busy(at)
                assert len(data(at)) == told and at.account.state is AccountState.RECONCILING
                assert at.manager.accounting.events.pending > 0
                rest_at.set()
                await at.is_settled()
                at.assert_right()
                assert len(data(at)) > told

        run(main())

    def test_a_doubt_while_rest_is_being_asked_has_it_asked_again(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                await busy(at)
                await at.is_settled()
                line, asked = at.exchange.lines[-1], at.exchange.send

                async def late(sign: Callable[[], Any]) -> bytes:
                    answer = await asked(sign)
                    await asyncio.sleep(1)
                    return answer

                at.exchange.send = late  # type: ignore[method-assign]  # REST takes its time
                line.transport.deliver(b'{"nonsense')
                await asyncio.sleep(0.5)  # It has answered, and the answer is on its way.
                at.exchange.faults.set("quiet-private")
                at.exchange.trade(40)
                at.exchange.faults.clear()
                line.transport.deliver(b'{"nonsense')  # So much for what happened meanwhile.
                await at.is_settled()
                at.assert_right()

        run(main())

    def test_a_frame_that_cannot_be_read_is_a_doubt_that_rest_settles(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                await busy(at)
                await at.is_settled()
                at.exchange.lines[-1].transport.deliver(b'{"nonsense')
                await at.until(lambda: at.told.gaps)
                await at.is_settled()
                await busy(at)
                await at.is_settled()
                at.assert_right()
                assert [gap.reason for gap in at.told.gaps] == [GapReason.REJECTED]
                assert at.manager.connects + len(at.exchange.urls) == 1  # The connection is the same.

        run(main())

    def test_fills_that_the_stream_loses_in_silence_are_found_by_asking(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                await busy(at)
                await at.is_settled()
                at.exchange.faults.set("quiet-private")
                known = len(at.told.fills)
                while len(at.exchange.exchange.account.state()["fills"]) == known:  # type: ignore[arg-type]  # lists by name
                    at.exchange.trade()
                at.exchange.faults.clear()
                assert at.account.is_live  # Nothing on the connection says that anything is wrong.
                await at.until(lambda: at.told.gaps, within_s=90.0)
                await at.is_settled()
                at.assert_right()
                assert at.told.errors == ["mute", "disconnected"]

        run(main())

    def test_through_cuts_lapsed_keys_outages_and_switches_every_fill_is_told_once(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, seed=7) as at:
                await trouble(at, random.Random(f"{venue} {variant}"), venue)
                at.exchange.faults.clear()
                await asyncio.sleep(200)  # A key that lapsed in silence is found out by then.
                await at.is_settled()
                at.assert_right()
                assert at.told.gaps

        run(main(), seed=7)


async def trouble(at: Scene, chance: random.Random, venue: str) -> None:
    """The account trades, and everything goes wrong that can."""
    exchange = at.exchange
    while len(exchange.exchange.account.orders) < ORDERS:
        if chance.random() < 0.8:
            await at.is_live()  # Else most would happen while there is no connection.
        for _ in range(chance.randint(1, 30)):
            exchange.trade(chance.randint(1, 4))
            await asyncio.sleep(chance.choice([0, 0.001, 0.01, 0.3]))
        match chance.choice(["cut", "cut", "switch", "switch", "outage", "key", "login", "damage"]):
            case "cut":
                if exchange.lines:
                    exchange.cut()
            case "switch":
                marker = at.manager.switch(at.private.architecture.other, scope=chance.choice(["all", "private"]))
                if chance.random() < 0.5:
                    await marker
            case "outage":
                exchange.is_up = False
                if exchange.lines:
                    exchange.cut()
                for _ in range(5):
                    exchange.trade(3)
                    await asyncio.sleep(2)
                exchange.is_up = True
            case "key" if venue == "mexc_spot":
                exchange.exchange.drop_keys()
            case "login":
                exchange.faults.set("cut-login=2")
            case "damage":
                if exchange.lines:
                    exchange.lines[-1].transport.deliver(b'{"nonsense')


@EVERY_VENUE
@EVERY_VARIANT
class TestAccess:
    def test_k2_a_clock_that_is_off_is_measured_once_and_the_request_signed_anew_once(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, opens=False) as at:
                at.exchange.faults.set("skew=3000")
                await at.manager.initialize(TRADED[venue])
                assert at.exchange.asked_for_time == 1
                await busy(at)
                await at.is_settled()
                at.assert_right()
                at.exchange.cut()
                await at.is_settled()
                assert at.exchange.asked_for_time == 1  # It is known by now.

        run(main())

    def test_k2_one_that_is_off_by_the_venues_own_time_is_an_end(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, opens=False) as at:
                at.exchange.faults.set("skew=3000")
                at.exchange.is_lying_about_time = True
                with pytest.raises(AuthenticationFailed):
                    await at.manager.initialize(TRADED[venue])
                assert at.exchange.asked_for_time == 1
                assert at.exchange.signed == 2
                await asyncio.sleep(3600)
                assert at.exchange.signed == 2 and at.account.state is AccountState.REFUSED

        run(main())

    @pytest.mark.parametrize("fault", ["wrong-signature", "no-permission"])
    def test_k3_bad_credentials_are_an_end_at_once(self, venue: str, variant: Variant, fault: str) -> None:
        async def main() -> None:
            async with scene(venue, variant, opens=False) as at:
                at.exchange.faults.set(fault)
                with pytest.raises(AuthenticationFailed) as refusal:
                    await at.manager.initialize(TRADED[venue])
                assert at.exchange.signed == 1 and refusal.value.words
                await asyncio.sleep(3600)
                assert at.exchange.signed == 1 and at.account.state is AccountState.REFUSED

        run(main())

    def test_k3_credentials_that_are_withdrawn_end_the_account_alone(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, channels=("trade",)) as at:
                at.exchange.happen(10)
                at.exchange.faults.set("wrong-signature")
                signed = at.exchange.signed
                at.exchange.cut(at.exchange.private_line)
                await at.until(lambda: at.account.state is AccountState.REFUSED)
                await asyncio.sleep(3600)
                # MEXC takes no signature for a stream whose key is still good: reconciliation is refused.
                assert at.exchange.signed - signed <= 4 + 3
                (state,) = [change for change in at.told.of(AccountStateChange) if change.new is AccountState.REFUSED]
                assert state.text
                before = at.manager.accounting.received
                at.exchange.happen(50)
                await asyncio.sleep(1)
                assert at.manager.accounting.received > before and at.manager.failure is None

        run(main())

    def test_k4_a_cut_between_login_and_subscription_publishes_nothing_unconfirmed(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, opens=False) as at:
                at.exchange.faults.set("cut-login=3")
                opening = asyncio.ensure_future(at.manager.initialize(TRADED[venue]))
                await busy(at, 60)
                await opening
                await busy(at)
                await at.is_settled()
                assert len(at.exchange.urls) == 4
                # None of the three that were cut had been agreed to.
                assert at.told.states == [AccountState.AUTHENTICATING, AccountState.OFFLINE] * 3 + LIVE
                state = AccountState.OFFLINE
                for event in at.told.events:
                    if isinstance(event, AccountStateChange):
                        assert event.old is state
                        state = event.new
                    elif isinstance(event, OrderUpdate | Fill | BalanceUpdate | PositionUpdate):
                        assert state in (AccountState.RECONCILING, AccountState.LIVE)

        run(main())

    def test_a_cut_that_comes_with_the_last_answer_is_a_cut_like_any_other(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                await busy(at)
                at.exchange.private_count = len(at.manager.settings.account_channels)
                at.exchange.cuts_with_answer = 3
                at.exchange.cut()
                await busy(at)
                await at.is_settled()
                at.assert_right()
                assert at.exchange.cuts_with_answer == 0 and len(at.exchange.urls) == 5

        run(main())

    def test_k6_only_subscriptions_are_sent_again(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, channels=("trade",)) as at:
                await at.manager.send_message({"method": "order", "channel": "order", "event": "api", "payload": {"side": "buy"}})
                await asyncio.sleep(1)
                sent = [text for line in at.exchange.lines for text in line.taken]
                assert sum('"side":"buy"' in text for text in sent) == 1
                for line in list(at.exchange.lines):
                    at.exchange.cut(line)
                await at.is_settled()
                again = [text for line in at.exchange.lines for text in line.taken]
                assert again and all("ubscri" in text.lower() or "ping" in text.lower() for text in again)

        run(main())

    def test_opening_waits_for_the_account_though_a_symbol_cannot_be_had(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, opens=False, channels=("trade",)) as at:
                nowhere = TRADED[venue][0].replace("BTC", "NOPE")
                await at.manager.initialize((*TRADED[venue], nowhere), partial_streams=True)
                assert at.account.is_live

        run(main())

    def test_an_account_of_a_symbol_that_the_venue_does_not_list_is_refused(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant, opens=False) as at:
                with pytest.raises(UnknownSymbol, match="NOPE"):
                    await at.manager.initialize([TRADED[venue][0].replace("BTC", "NOPE")])

        run(main())

    def test_the_connection_holds_the_authenticated_state(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                connection = at.private.shards[0].connection
                assert connection is not None and connection.phase is Phase.LIVE
                assert repr(connection).endswith("live>")
                at.exchange.lines[-1].transport.deliver(b'{"nonsense')
                await at.until(lambda: connection.phase is Phase.RECONCILING)
                await at.until(lambda: connection.phase is Phase.LIVE)

        run(main())

    def test_an_account_that_cannot_be_reconciled_is_asked_for_again(self, venue: str, variant: Variant) -> None:
        async def main() -> None:
            async with scene(venue, variant) as at:
                await busy(at)
                asked, failures = at.exchange.send, 3

                async def failing(sign: Callable[[], Any]) -> bytes:
                    nonlocal failures
                    if failures and "userDataStream" not in sign().path:
                        failures -= 1
                        raise RequestFailed("played", "HTTP 500", 500)
                    return await asked(sign)

                at.exchange.send = failing  # type: ignore[method-assign]  # REST fails for a while
                at.exchange.cut()
                await at.is_settled()
                at.assert_right()
                assert "reconcile" in at.told.errors and failures == 0

        run(main())


@EVERY_VENUE
def test_k7_no_secret_shows_in_what_is_told_logged_counted_or_printed(venue: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with scene(venue, VARIANTS[0], channels=("trade",)) as at:
            shown: list[object] = [at.manager, at.private, *at.manager.every_shard, at.manager.settings]
            of_keys = ("keys-refused", "renewal-refused") if venue == "mexc_spot" else ()
            for fault in (*of_keys, "cut-login=1", "wrong-signature"):
                await busy(at)
                at.exchange.faults.set(fault)
                shown += [shard.connection for shard in at.manager.every_shard]
                at.exchange.cut(at.exchange.private_line)
                await at.until(lambda: at.account.state is not AccountState.LIVE)
                await asyncio.sleep(90)
                if fault != "wrong-signature":
                    at.exchange.faults.clear()
                    await at.is_live()
            shown += [*at.told.events, at.manager.accounting, at.manager.metrics(), at.manager.get_performance_metrics()]
            private, codec = at.private.venue.private, at.private.venue.codec
            assert private is not None
            if private.listen_keys is not None:
                shown.append(private.listen_keys.renew(Secret(canary.LISTEN_KEY)))
            shown.append(cast(PrivateCodec, codec).signed(private.time_call, at.exchange.now_ms))
            shown += [*at.manager.dead_letters, *vars(at.private).values(), *vars(at.manager).values()]
            keys = {url.partition("listenKey=")[2] for url in at.exchange.urls} - {""}
            assert bool(keys) is (venue == "mexc_spot")
            text = "".join(map(repr, shown)) + caplog.text
            assert not [key for key in (canary.KEY, canary.SECRET, *keys) if key in text]
            canary.assert_hidden(*shown)

    with caplog.at_level(1):
        run(main())


@EVERY_VARIANT
class TestListenKeys:
    VENUE = "mexc_spot"

    def test_k1_renewals_that_fail_for_half_an_hour_cost_an_announced_gap_and_no_fill(self, variant: Variant) -> None:
        async def main() -> None:
            async with scene(self.VENUE, variant) as at:
                # The exchange lets keys live for half an hour, though it promises one.
                at.exchange.faults.set("key-life=1800")
                at.exchange.exchange.drop_keys()
                at.exchange.cut()
                await at.is_settled()
                gaps = len(at.told.gaps)
                first = at.exchange.urls[-1]
                for minute in range(65):
                    if minute == 20:
                        at.exchange.faults.set("renewal-refused")
                        at.exchange.faults.set("keys-refused")
                    if minute == 50:
                        at.exchange.faults.set("renewal-refused=0")
                        at.exchange.faults.set("keys-refused=0")
                    for _ in range(60):
                        at.exchange.trade()
                        await asyncio.sleep(1)
                await at.is_settled()
                at.assert_right()
                assert at.exchange.urls[-1] != first and len(at.told.gaps) > gaps
                assert "listen key" in at.told.errors
                assert at.account.is_live

        run(main())

    def test_k1_a_key_is_renewed_early_and_lives_on(self, variant: Variant) -> None:
        async def main() -> None:
            async with scene(self.VENUE, variant) as at:
                for _ in range(4 * 60):
                    at.exchange.trade()
                    await asyncio.sleep(60)
                await at.is_settled()
                at.assert_right()
                assert at.told.gaps == [] and at.told.errors == [] and len(at.exchange.urls) == 1
                assert 8 <= at.exchange.requests["PUT /api/v3/userDataStream"] <= 12
                assert not at.exchange.requests["DELETE /api/v3/userDataStream"]

        run(main())

    def test_k1_a_renewal_that_fails_for_a_while_is_repeated(self, variant: Variant) -> None:
        async def main() -> None:
            async with scene(self.VENUE, variant) as at:
                for minute in range(65):
                    if minute == 20:
                        at.exchange.faults.set("renewal-refused")
                    if minute == 40:
                        at.exchange.faults.set("renewal-refused=0")
                    at.exchange.trade(5)
                    await asyncio.sleep(60)
                await at.is_settled()
                at.assert_right()
                assert at.told.gaps == [] and len(at.exchange.urls) == 1
                assert set(at.told.errors) == {"listen key"}

        run(main())

    def test_k1_a_key_that_dies_in_silence_is_found_out_and_replaced(self, variant: Variant) -> None:
        async def main() -> None:
            async with scene(self.VENUE, variant) as at:
                await busy(at)
                at.exchange.exchange.drop_keys()
                await busy(at, 40)
                await at.until(lambda: at.told.gaps, within_s=90.0)
                await at.is_settled()
                at.assert_right()
                assert len(set(at.exchange.urls)) == 2

        run(main())
