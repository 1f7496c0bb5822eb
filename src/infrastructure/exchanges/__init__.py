"""The venues that tickrail knows. A venue is one folder beside this file and one line in this table."""

from collections.abc import Mapping

from infrastructure.errors import UnknownVenue
from infrastructure.exchanges.gateio.futures import GATEIO_FUTURES
from infrastructure.exchanges.gateio.spot import GATEIO_SPOT
from infrastructure.exchanges.mexc.spot import MEXC_SPOT
from infrastructure.venue import Venue

VENUES: Mapping[str, Venue] = {venue.name: venue for venue in (GATEIO_SPOT, GATEIO_FUTURES, MEXC_SPOT)}


def venue_named(name: str) -> Venue:
    """The venue of that name, or UnknownVenue."""
    try:
        return VENUES[name]
    except KeyError:
        raise UnknownVenue(name, VENUES) from None
