"""Exchanges of our own making. Nothing here imports a codec or a book: a simulator and its reader must not share a mistake."""

from collections.abc import Callable, Mapping, Sequence

from infrastructure.simulator.gateio_spot import GateioSpotMarkets
from infrastructure.simulator.gateio_spot_exchange import GateioSpotExchange
from infrastructure.simulator.market import Markets

#: By venue: makes its markets from unified symbols and a seed.
MARKETS: Mapping[str, Callable[[Sequence[str], int], Markets]] = {"gateio_spot": GateioSpotMarkets}

#: By venue: the exchange that ``simulator.server`` serves.
EXCHANGES: Mapping[str, type[GateioSpotExchange]] = {GateioSpotExchange.name: GateioSpotExchange}
