"""How hard the generated tests try: the same examples in every run, ten times as many where TICKRAIL_SOAK is 1."""

import os

from hypothesis import HealthCheck, settings


def is_soak() -> bool:
    """Whether the long forms are to run."""
    return os.environ.get("TICKRAIL_SOAK") == "1"


_FACTOR = 10 if is_soak() else 1


def effort(examples: int, *, steps: int = 50) -> settings:
    """Settings for ``examples`` examples; ``steps`` counts those of a state machine's run."""
    return settings(
        max_examples=examples * _FACTOR,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
