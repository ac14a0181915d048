"""Random numbers that depend on the run's seed and their purpose, never on who draws them."""

import hashlib


def derive_seed(seed: int, *purpose: int | str) -> int:
    """Give a 63-bit seed for one purpose, such as `derive_seed(0, "order", fold, epoch)`."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
