"""What a row is, in two numbers: to find the rows of one data set in another."""

from collections.abc import Iterator
from hashlib import blake2b
from itertools import repeat

import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt64

from biolm_ray.data.store import Folder
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.streaming import parts_of, read_part

HASH_BYTES = 8


def row_hashes(
    prepared: PreparedData, rows: Int[np.ndarray, " rows"]
) -> UInt64[np.ndarray, "rows 2"]:
    """Hash some rows, in their order; memory holds a row group at a time.

    They do not depend on the name of the file, the order of its rows, its other columns or its
    labels, but on the tokenizer: only those of the same vocabulary compare.

    Returns:
        Of each row the hash of its id and its tokens, with the numbers they carry, and the hash of
        the tokens alone.
    """
    hashes = np.empty((len(rows), 2), dtype=np.uint64)
    order = np.argsort(rows, kind="stable")
    for part in parts_of(prepared, rows):
        columns = ["id", "token_ids"] + (["specifiers"] if prepared.num_specifiers else [])
        for block in read_part(Folder(prepared.location), part, columns):
            places = np.searchsorted(rows, block["number"].to_numpy(), sorter=order)
            hashes[order[places]] = np.array(list(_hashes(block)), dtype=np.uint64)
    return hashes


def _hashes(block: pa.Table) -> Iterator[tuple[int, int]]:
    ids, tokens = block["id"].to_pylist(), block["token_ids"].to_pylist()
    has_numbers = "specifiers" in block.column_names
    numbers = block["specifiers"].to_pylist() if has_numbers else repeat(b"", len(ids))
    for name, token_ids, specifiers in zip(ids, tokens, numbers, strict=True):
        digest = blake2b(token_ids, digest_size=HASH_BYTES)
        digest.update(specifiers)
        sequence = int.from_bytes(digest.digest(), "little")
        digest.update(name.encode())
        yield int.from_bytes(digest.digest(), "little"), sequence
