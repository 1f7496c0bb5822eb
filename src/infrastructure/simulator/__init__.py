"""Exchanges of our own making. Nothing here imports a codec or a book: a simulator and its reader must not share a mistake."""

from collections.abc import Mapping

from infrastructure.simulator.exchange import Exchange
from infrastructure.simulator.gateio_futures_exchange import GateioFuturesExchange
from infrastructure.simulator.gateio_spot_exchange import GateioSpotExchange
from infrastructure.simulator.mexc_spot_exchange import MexcSpotExchange

#: By venue: the exchange that ``simulator.server`` serves.
EXCHANGES: Mapping[str, type[Exchange]] = {
    exchange.name: exchange for exchange in (GateioSpotExchange, GateioFuturesExchange, MexcSpotExchange)
}
