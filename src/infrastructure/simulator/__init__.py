"""Exchanges of our own making. Nothing here imports a codec or a book: a simulator and its reader must not share a mistake."""

from collections.abc import Mapping

from infrastructure.simulator.gateio_spot import GateioSpotMarkets

MARKETS: Mapping[str, type[GateioSpotMarkets]] = {"gateio_spot": GateioSpotMarkets}
