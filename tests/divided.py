"""Read an input as the tasks of a run do: divided, scanned, numbered, piece by piece."""

from collections.abc import Iterable
from itertools import pairwise

import pyarrow as pa

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.columns import LabelKind
from biolm_ray.data.reading import (
    Input,
    Piece,
    divide,
    number_pieces,
    plan_input,
    read_piece,
    scan_piece,
)


def read_divided(plan: Input, cuts: Iterable[int]) -> list[pa.Table]:
    """Read one plain file in pieces that end at the given bytes."""
    size = plan.files[0].size
    bounds = [0, *sorted({cut for cut in cuts if cut < size}), size]
    return read_pieces(plan, [Piece(0, start, stop) for start, stop in pairwise(bounds)])


def read_pieces(plan: Input, pieces: list[Piece]) -> list[pa.Table]:
    """Scan and read pieces in order."""
    scans = [scan_piece(plan, piece) for piece in pieces]
    numbered = number_pieces(plan, pieces, scans)
    return [block for piece in numbered for block in read_piece(plan, piece)]


def plan_of(
    *paths: object, label_kind: LabelKind | None = None, id_column: int | str = 1, **settings
) -> Input:
    """Plan an input of one file, or of several."""
    path = str(paths[0]) if len(paths) == 1 else tuple(str(path) for path in paths)
    return plan_input(DataConfig(path=path, id_column=id_column, **settings), label_kind)


def read_all(*paths: object, **settings) -> list[dict]:
    """All rows of an input, by `plan_of`."""
    plan = plan_of(*paths, **settings)
    return [record for block in read_pieces(plan, divide(plan)) for record in block.to_pylist()]
