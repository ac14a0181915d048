"""The learning rate over a run."""

import math


def rate_factor(step: int, total_steps: int, schedule: str, warmup_share: float) -> float:
    """Give the factor on the learning rate at a 0-based step.

    It rises linearly over the first `warmup_share` of the steps and then stays ("constant") or
    falls to 0, linearly or along half a cosine.
    """
    warmup_steps = round(total_steps * warmup_share)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if schedule == "linear":
        return max(0.0, 1 - progress)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return 1.0
