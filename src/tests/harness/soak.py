"""The long forms: every interleaving of a lane to eight steps, ten thousand simulated lives, each planted bug. Uses every core.

Run as ``python -m tests.harness.soak [--depth 8] [--seeds 10000]``; exit code 0 if nothing was found.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.harness.interleavings import CONFIGURATIONS, Visited, explore
from tests.harness.planted import PLANTED
from tests.harness.simulation import simulate
from tests.harness.variants import VARIANTS

CHUNK = 250


def lives(seeds: Sequence[int]) -> dict[int, list[str]]:
    """Simulate these seeds, each in the variant of its turn; returns the problems found."""
    return {seed: found for seed in seeds if (found := simulate(seed, VARIANTS[seed % len(VARIANTS)]))}


def first_seed(name: str) -> int | None:
    """The first of a thousand seeds in which a planted bug shows."""
    return next((seed for seed in range(1000) if simulate(seed, VARIANTS[seed % len(VARIANTS)], PLANTED[name])), None)


def main() -> int:
    """Run all and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=10_000)
    options = parser.parse_args()
    started = time.monotonic()
    is_clean = True
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(PLANTED, pool.map(first_seed, PLANTED), strict=True))
        for name, seed in found.items():
            print(f"planted: {name}: {'NOT FOUND' if seed is None else f'found at seed {seed}'}")
            is_clean &= seed is not None
        chunks = [range(start, min(start + CHUNK, options.seeds)) for start in range(0, options.seeds, CHUNK)]
        problems = {seed: texts for part in pool.map(lives, chunks) for seed, texts in part.items()}
        print(
            f"simulation: {options.seeds:,} seeds, {len(problems)} with problems",
            *(f"  {seed}: {texts[:3]}" for seed, texts in problems.items()),
        )
        is_clean &= not problems
        visited: list[Visited] = list(pool.map(explore, CONFIGURATIONS, [options.depth] * len(CONFIGURATIONS)))
        for run, (states, runs) in zip(CONFIGURATIONS, visited, strict=True):
            kind = "async" if run.is_queued else "plain"
            print(f"interleavings to {options.depth} steps, {kind} callbacks: {states:,} states in {runs:,} runs, 0 violations")
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
