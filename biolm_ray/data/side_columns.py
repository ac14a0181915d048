"""Columns of an input that are no part of its prepared data, read by name when they are needed."""

from collections.abc import Collection

from biolm_ray.config.schema import Column, DataConfig
from biolm_ray.data.columns import label_roles
from biolm_ray.data.reading import NumberedPiece, Piece, divide, plan_input, read_piece


def read_side_columns(
    config: DataConfig, columns: tuple[Column, ...], wanted: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Read the texts in some columns of the wanted rows, by identifier.

    Rows without one of the texts are left out, as are identifiers that occur twice with different
    texts.

    Raises:
        ConfigError: A column is named though the file has no header.
        DataError: The input cannot be read, or has no such column.
    """
    wanted = set(wanted)
    config = config.model_copy(
        update={"label_column": columns, "weight_column": None, "split_column": None}
    )
    plan = plan_input(config, "class")
    pieces = [piece for piece in divide(plan) if piece.row_groups is not None]
    pieces = pieces or [Piece(index) for index in range(len(plan.files))]
    found: dict[str, tuple[str, ...]] = {}
    doubtful = set()
    for piece in pieces:
        whole = NumberedPiece(piece, 0, 1, plan.num_skipped(piece.file_index))
        for block in read_piece(plan, whole):
            texts = [block[role].to_pylist() for role in ("id", *label_roles(len(columns)))]
            for name, *fields in zip(*texts, strict=True):
                if name not in wanted or None in fields:
                    continue
                if found.setdefault(name, tuple(fields)) != tuple(fields):
                    doubtful.add(name)
    return {name: fields for name, fields in found.items() if name not in doubtful}
