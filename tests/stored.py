"""Small prepared data sets on disk, made without a preparation."""

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from biolm_ray.preparation.manifest import MANIFEST, ROWS
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_files import binary_rows, prepared_schema, write_rows


def store_rows(
    folder: Path, part_rows: list[int], *, id_type: str = "uint8", num_specifiers: int = 0
) -> PreparedData:
    """Write files of so many rows; row r has the id g<r>, the label r and 1 to 30 tokens."""
    num_rows = sum(part_rows)
    draw = np.random.default_rng(num_rows)
    lengths = draw.integers(1, 31, num_rows)
    token_ids = draw.integers(7, 99, lengths.sum()).astype(id_type)
    specifiers = draw.normal(size=(len(token_ids), num_specifiers)).astype(np.float32)
    centers = np.minimum(np.arange(num_rows) % 3, lengths).astype(np.int32) - 1
    return store(
        folder, part_rows, token_ids, lengths, np.arange(num_rows) / 1.0, specifiers, centers
    )


def store(
    folder: Path,
    part_rows: list[int],
    token_ids: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray | None,
    specifiers: np.ndarray | None = None,
    centers: np.ndarray | None = None,
    *,
    ids: list[str] | None = None,
    splits: list[str] | None = None,
) -> PreparedData:
    """Write rows, joined, into files of so many rows each; row r has the id g<r> unless told."""
    num_rows, offsets = len(lengths), np.concatenate([[0], np.cumsum(lengths)])
    num_specifiers = 0 if specifiers is None else specifiers.shape[1]
    schema = prepared_schema(
        num_specifiers=num_specifiers,
        label_kind=None if labels is None else "number",
        has_weights=False,
        has_splits=splits is not None,
    )
    columns = {
        "row": np.arange(num_rows) * 2,
        "id": ids or [f"g{row}" for row in range(num_rows)],
        "length": lengths.astype(np.int32),
        "center": np.full(num_rows, -1, np.int32) if centers is None else centers,
        "token_ids": binary_rows(token_ids, offsets),
        "specifiers": binary_rows(specifiers, offsets) if num_specifiers else None,
        "label": labels,
        "split": splits,
    }
    table = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    (folder / ROWS).mkdir(parents=True)
    parts = []
    for start, stop in pairwise(np.cumsum([0, *part_rows]).tolist()):
        name = f"part-{len(parts)}.parquet"
        with (folder / ROWS / name).open("w+b") as file:
            groups = write_rows(file, table.slice(start, stop - start))
        groups = [list(asdict(group).values()) for group in groups]
        parts.append({"file": name, "rows": stop - start, "groups": groups})
    manifest = {
        "name": folder.name,
        "digest": f"content of {folder.name}",
        "files": [f"{folder.name}.tsv"],
        "id_type": str(token_ids.dtype),
        "num_specifiers": num_specifiers,
        "columns": schema.names,
        "summary": {"rows": num_rows},
        "rejected": {},
        "parts": parts,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return PreparedData.open(folder)
