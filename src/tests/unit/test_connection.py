"""A connection's life: the table, and the socket behind it."""

import asyncio
from collections.abc import Mapping
from itertools import product

import pytest

from infrastructure.clock import Clock
from infrastructure.errors import ConnectFailed, NotConnected
from infrastructure.networking.websocket.connection import STATES, TABLE, Connection, Fact, Phase
from infrastructure.networking.websocket.link import Connect, Loss, LossCause
from infrastructure.networking.websocket.settings import TransportSettings
from infrastructure.networking.websocket.strategies import ConnectionState

LIFE = [Fact.OPENED, Fact.ASKED, Fact.DATA, Fact.CLOSE, Fact.LOST]


class Socket:
    """Notes what is done to it; ``end`` ends it."""

    is_open = True

    def __init__(self) -> None:
        self.done: list[str] = []

    def send(self, text: str) -> None:
        self.done.append(text)

    async def round_trip(self) -> bool:
        self.done.append("round trip")
        return True

    def pause(self) -> None:
        self.done.append("pause")

    def resume(self) -> None:
        self.done.append("resume")

    def abort(self, cause: LossCause = LossCause.CLOSED_BY_US) -> None:
        self.done.append("abort")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.done.append("close")
        self.on_loss(Loss(LossCause.CLOSED_BY_US, code))

    on_loss = staticmethod(print)


def connecting_to(socket: Socket | ConnectFailed) -> Connect:
    async def connect(url: str, on_frame: object, on_loss: object, **settings: object) -> Socket:
        if isinstance(socket, ConnectFailed):
            raise socket
        socket.on_loss = on_loss  # type: ignore[assignment]
        return socket

    return connect


async def opened(connection: Connection, socket: Socket | ConnectFailed) -> Connection:
    headers: Mapping[str, str] = {}
    await connection.open(
        connecting_to(socket),
        "wss://venue.invalid",
        print,
        settings=TransportSettings(),
        clock=Clock(),
        headers=headers,
        ssl_context=None,
        may_read=lambda: True,
        worked=lambda took_ns: None,
    )
    return connection


def test_a_whole_life_passes_every_phase() -> None:
    async def main() -> None:
        connection = Connection("venue")
        phases = []
        for fact in LIFE:
            connection.learn(fact)
            phases.append(connection.phase)
        assert phases == [Phase.OPEN, Phase.SUBSCRIBING, Phase.FLOWING, Phase.CLOSING, Phase.CLOSED]

    asyncio.run(main())


@pytest.mark.parametrize("phase", Phase)
def test_from_every_phase_a_lost_socket_ends_it(phase: Phase) -> None:
    assert TABLE[phase][Fact.LOST] is Phase.CLOSED


@pytest.mark.parametrize(("phase", "fact"), list(product(Phase, Fact)))
def test_the_table_never_leads_back_but_for_an_account_in_doubt(phase: Phase, fact: Fact) -> None:
    order = list(Phase)
    after = TABLE[phase].get(fact)
    assert after is None or order.index(after) >= order.index(phase) or (phase, fact) == (Phase.LIVE, Fact.DOUBTED)


def test_every_phase_has_its_name_in_the_old_interface() -> None:
    assert set(STATES) == set(Phase)


def test_the_first_data_is_dated_once_and_a_handshake_is_none() -> None:
    async def main() -> None:
        connection = await opened(Connection("venue"), Socket())
        connection.learn(Fact.ASKED)
        assert connection.flowing_at is None
        connection.learn(Fact.DATA)
        first = connection.flowing_at
        await asyncio.sleep(0.001)
        connection.learn(Fact.DATA)
        assert (connection.flowing_at, repr(connection)) == (first, "<Connection venue flowing>")

    asyncio.run(main())


def test_nothing_can_be_sent_before_it_is_open_and_after_its_end() -> None:
    async def main() -> None:
        socket = Socket()
        connection = Connection("venue")
        with pytest.raises(NotConnected):
            connection.send_text("early")
        await opened(connection, socket)
        await connection.send("in time")
        socket.on_loss(Loss(LossCause.RESET))
        with pytest.raises(NotConnected):
            connection.send_text("late")
        assert (socket.done, await connection.end(), connection.state) == (
            ["in time"],
            Loss(LossCause.RESET),
            ConnectionState.DISCONNECTED,
        )

    asyncio.run(main())


def test_an_attempt_that_fails_is_closed_and_says_why() -> None:
    async def main() -> None:
        connection = Connection("venue")
        with pytest.raises(ConnectFailed, match="no route"):
            await opened(connection, ConnectFailed("wss://venue.invalid", "no route"))
        assert connection.phase is Phase.CLOSED
        await connection.close()

    asyncio.run(main())


def test_closing_reaches_the_socket_once_it_is_there() -> None:
    async def main() -> None:
        socket = Socket()
        connection = await opened(Connection("venue"), socket)
        connection.pause()
        connection.resume()
        await connection.close()
        assert (socket.done, connection.phase) == (["pause", "resume", "close"], Phase.CLOSED)
        assert (await connection.end()).cause is LossCause.CLOSED_BY_US

    asyncio.run(main())
