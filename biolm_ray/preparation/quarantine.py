"""What becomes of the rows that were set aside, once a data set is prepared."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa

from biolm_ray.config.schema import Config
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.rejects import REJECT_SCHEMA, SKIPPED_RULE, BadRows, write_rejected
from biolm_ray.preparation.scanning import Scanned
from biolm_ray.wording import part_of

log = logging.getLogger("biolm_ray")


def check_rejected(
    config: Config, scanned: Scanned, prepared: PreparedData, path: Path | None
) -> None:
    """Write the rows that are set aside beside the results, or refuse them.

    Labels that the scaling cannot take are found here, since data are prepared without scaling.
    """
    num_skipped = prepared.manifest["rejected"].get(SKIPPED_RULE, 0)
    if num_skipped:
        log.warning(
            "%s left out, without a marker e and so without a known 3'UTR",
            part_of(num_skipped, scanned.num_rows, "row"),
        )
    unscaled = _unscaled_rejects(config, prepared)
    if config.data.on_bad_rows == "stop":
        BadRows(scanned.plan, config.data, prepared.num_rows).add(unscaled, prepared.num_rows)
        return
    rejects = pa.concat_tables([prepared.rejected(), unscaled]).sort_by("row")
    bad_rows = BadRows(scanned.plan, config.data, scanned.num_rows)
    bad_rows.add(rejects, scanned.num_rows)
    if len(rejects) and path is not None:
        write_rejected(path, rejects, prepared.manifest["files"])
        log.warning(
            "%s left out (%s): %s",
            part_of(len(rejects), scanned.num_rows, "row"),
            bad_rows.described,
            path,
        )


def _unscaled_rejects(config: Config, prepared: PreparedData) -> pa.Table:
    records = []
    for row in rows_without_logarithm(config, prepared).tolist():
        assert isinstance(prepared.labels, np.ndarray)
        labels = prepared.labels[row]
        target = int(np.argmax(labels <= 0))
        name = f" of '{prepared.target_names[target]}'" if len(labels) > 1 else ""
        file, line = prepared.place(row)
        records.append(
            {
                "row": int(prepared.row_numbers[row]),
                "file": file,
                "line": line,
                "rule": "label",
                "problem": f"label {labels[target]:g}{name} is not above 0, as scaling log needs; "
                "or set scaling: standard",
                "raw": prepared.ids[row],
            }
        )
    return pa.Table.from_pylist(records, schema=REJECT_SCHEMA)


def rows_without_logarithm(config: Config, prepared: PreparedData) -> np.ndarray:
    """The rows with a label that scaling `log` cannot take; none where the run scales otherwise."""
    labels = prepared.labels
    scaled = config.mode in ("fine-tune", "tune") and config.training.scaling == "log"
    if not scaled or not isinstance(labels, np.ndarray):
        return np.empty(0, np.int64)
    return np.flatnonzero((labels <= 0).any(axis=1))
