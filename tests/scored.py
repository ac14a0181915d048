"""Small tables of leave-one-out scores, made without a model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from biolm_ray.inference.scores_file import KEY, class_column
from biolm_ray.report.tracks import Track, make_tracks


def score_rows(
    name: str,
    tokens: Sequence[str],
    scores: Sequence[float],
    *,
    sizes: Sequence[int] | None = None,
    first: int = 0,
) -> pd.DataFrame:
    """The rows of one sequence; a token counts 1 unless `sizes` tells otherwise."""
    ends = first + np.cumsum(np.ones(len(tokens), int) if sizes is None else sizes)
    starts = np.concatenate([[first], ends[:-1]])
    return pd.DataFrame(
        {
            "sequence": name,
            "position": np.arange(len(tokens), dtype=np.int32),
            "token": list(tokens),
            "replacement": None,
            "label": 2.0,
            "pred": 1.5,
            "start_offset": starts.astype(np.int32),
            "end_offset": ends.astype(np.int32),
            "loo": np.asarray(scores, dtype=np.float64),
        }
    )


def track_of(tokens: Sequence[str], scores: Sequence[float], **more) -> Track:
    (track,) = make_tracks(score_rows("g", tokens, scores, **more))
    return track


def class_rows(name: str, tokens: Sequence[str], by_class: Mapping[str, float]) -> pd.DataFrame:
    """The rows of one sequence, the same for each token; the first class is the predicted one."""
    predicted = next(iter(by_class))
    table = score_rows(name, tokens, [by_class[predicted]] * len(tokens))
    scores = {class_column(each): by_class[each] for each in sorted(by_class)}
    return table.assign(label=predicted, pred=predicted, **scores)


def write_scores(
    path: Path, table: pd.DataFrame, metadata: Mapping[str, object] | None = None
) -> Path:
    """Write a table as a run does: as CSV without `position`, or as Parquet with its types.

    What `metadata` leaves out is as of a masked regression; None stores none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".parquet":
        table.drop(columns=["position", "replacement"]).to_csv(path, index=False)
        return path
    names = pa.array(table["sequence"]).dictionary_encode()
    columns = {name: pa.array(table[name], from_pandas=True) for name in table.columns}
    typed = pa.table({**columns, "sequence": names})
    if metadata is not None:
        given = {"edit": "mask", "window": 1, "task": "regression", **metadata}
        typed = typed.replace_schema_metadata({KEY: json.dumps(given)})
    pq.write_table(typed, path)
    return path
