"""Random draws that depend on a seed only."""

import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from biolm_ray.errors import DataError
from biolm_ray.wording import counted


def seeded_generator(seed: int, fold: int, purpose: str) -> np.random.Generator:
    """A random generator that depends on the run's seed, the fold and the purpose only."""
    return np.random.default_rng([seed, fold, zlib.crc32(purpose.encode())])


def part_sizes(ratio: Sequence[float], num_rows: int) -> list[int]:
    """Divide a count by largest remainders, every part at least one, the first one giving."""
    if num_rows < len(ratio):
        raise DataError(f"{counted(num_rows, 'row')} cannot be divided into {len(ratio)} parts")
    shares = np.asarray(ratio, dtype=np.float64) / sum(ratio) * num_rows
    sizes = np.floor(shares + 1e-9).astype(int)
    by_remainder = np.argsort(sizes - shares, kind="stable")
    sizes[by_remainder[: num_rows - sizes.sum()]] += 1
    while (sizes == 0).any():
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes.tolist()


def deal(
    sizes: Sequence[int], generator: np.random.Generator, classes: Sequence[str] | None
) -> list[Int[np.ndarray, " rows"]]:
    """Deal shuffled rows out to parts of given sizes, class by class when classes are given.

    The parts take turns in proportion to their sizes along the rows sorted by class, so that
    each gets its share of every class.
    """
    num_rows = sum(sizes)
    order = generator.permutation(num_rows)
    if classes is not None:
        numbers = np.unique(np.asarray(classes, dtype=str), return_inverse=True)[1]
        order = order[np.argsort(numbers[order], kind="stable")]
    turns = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    parts = np.repeat(np.arange(len(sizes)), sizes)[np.argsort(turns, kind="stable")]
    return [np.sort(order[parts == part]) for part in range(len(sizes))]
