"""MEXC's recipe for keeping a book in step with its stream."""

from infrastructure.exchanges.sequence import RestSeeded


class Versions(RestSeeded):
    """``aggre.depth``: a REST book, taken after the first push, then every push in turn.

    MEXC's page: drop pushes with toVersion < lastUpdateId; one with fromVersion > lastUpdateId means loss, as does, later on, one whose
    fromVersion is not the last toVersion + 1. Read to the letter that takes a new snapshot for the very push that continues the one at
    hand, from lastUpdateId + 1 on, and for every one that the snapshot falls into, which is the usual case. Amounts are absolute, so
    both are applied. Source: https://www.mexc.com/api-docs/spot-v3/websocket-market-streams
    """
