"""What contestants must know of the workloads: which channels they are of, and how a library that asks REST itself gets their books."""

from tests.performance.workload import Snapshot, Workload

#: By venue: its book that REST seeds, and its trades.
CHANNELS = {
    "gateio_spot": ("spot.order_book_update", "spot.trades"),
    "gateio_futures": ("futures.order_book_update", "futures.trades"),
    "mexc_spot": ("spot@public.aggre.depth.v3.api.pb", "spot@public.aggre.deals.v3.api.pb"),
}


def is_of_trades(workload: Workload) -> bool:
    """Whether its frames are trades; else they are updates of books."""
    _, trades = CHANNELS[workload.venue]
    return workload.channel == trades


def body_for(url: str, workload: Workload) -> str:
    """What REST answers with: the book of the market that a request names."""
    for step in workload.opening:
        if isinstance(step, Snapshot):
            base, _, quote = step.symbol.partition(":")[0].partition("/")
            if f"={base}_{quote}" in url or f"={base}{quote}" in url:
                return step.body.decode()
    raise LookupError(f"the workload has no book for {url}")
