"""Rows that cannot be used: stopping at them, or setting them aside and counting them."""

import logging
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.fields import without_remedy
from biolm_ray.data.reading import Input
from biolm_ray.errors import DataError
from biolm_ray.files import atomic_path
from biolm_ray.logs import escaped
from biolm_ray.wording import counted, part_of

log = logging.getLogger("biolm_ray")

REJECTED_FILE = "rejected.tsv"
READ_RULE = "read"
"""A file that cannot be read further: no row to set aside, for all that follow are lost."""
SKIPPED_RULE = "region"
"""A row that lacks the region that is asked for: left out and counted, but no bad row."""
REJECT_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("file", pa.int32()),
        pa.field("line", pa.int64()),
        pa.field("rule", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("raw", pa.large_string()),
    ]
)
"""`raw` is the record as it stands, or its sequence where only that is at fault."""


def bad_rows_of(block: pa.Table, file: int) -> pa.Table:
    """The rows of a block that cannot be read, as rejects."""
    bad = block.filter(block["problem"].is_valid())
    rejects = bad.append_column("file", pa.array(np.full(len(bad), file, np.int32)))
    return rejects.select(REJECT_SCHEMA.names).cast(REJECT_SCHEMA)


def num_to_refuse(rejects: pa.Table) -> int:
    """How many rows are bad, and not only without the region that is asked for."""
    return len(rejects) - rejects["rule"].to_pylist().count(SKIPPED_RULE)


class BadRows:
    """Decides what becomes of rows that cannot be used, as they come in, in order.

    Args:
        plan: Of the input.
        settings: Whether to stop, and the largest share that may be rejected.
        num_rows: Rows of the whole input.

    Attributes:
        first: The place of the first one and what is wrong with it.
    """

    def __init__(self, plan: Input, settings: DataConfig, num_rows: int) -> None:
        self._plan = plan
        self._settings = settings
        self._num_rows = num_rows
        self._num_seen = 0
        self.first: str | None = None
        self.counts: Counter[str] = Counter()

    def add(self, rejects: pa.Table, num_rows: int) -> None:
        """Take in the bad ones among the next `num_rows` rows.

        Raises:
            DataError: There is one and the run is to stop; or there are too many.
        """
        self._num_seen += num_rows
        self.counts.update(rejects["rule"].to_pylist())
        if not num_to_refuse(rejects):
            return
        rejects = rejects.filter(pc.call_function("not_equal", [rejects["rule"], SKIPPED_RULE]))
        rules = rejects["rule"].to_pylist()
        file, line, problem = (rejects[name][0].as_py() for name in ("file", "line", "problem"))
        first = f"{self._plan.where(file, line)}: "
        if self._settings.on_bad_rows == "stop" or rules[0] == READ_RULE:
            advised = self._with_share(problem)
            raise DataError(first + advised + self._more(rules.count(rules[0]) - 1))
        self.first = self.first or first + without_remedy(problem)
        allowed = self._settings.max_rejected_share
        if self._num_bad > allowed * self._num_rows:
            share = self._larger_share()
            raise DataError(
                f"{self._num_bad:,} of {self._num_seen:,} rows cannot be used, and no more "
                f"than {100 * allowed:.3g} % of all {self._num_rows:,} may be rejected "
                f"(data.max_rejected_share): {self.described}; the first is {self.first}"
                f"{'; to leave out as many, set ' if share else ''}{share}"
            )

    @property
    def described(self) -> str:
        """The counts by rule, such as "label 12, sequence 3"."""
        return describe_counts(self.counts)

    @property
    def _num_bad(self) -> int:
        return self.counts.total() - self.counts[SKIPPED_RULE]

    def _larger_share(self) -> str:
        """Name the setting under which rows as these may be rejected; empty where all are bad."""
        if self._num_bad >= self._num_seen:
            return ""
        # Of rows that are not all seen yet, the share among those that are is the best guess.
        least = math.ceil(100 * self._num_bad / self._num_seen) / 100
        return f"data.max_rejected_share: {least:g}"

    def _with_share(self, problem: str) -> str:
        """Add to the remedy of a problem what it takes to leave out as many rows as have one."""
        plain, largest = without_remedy(problem), self._settings.max_rejected_share
        if plain == problem or self._num_bad <= largest * self._num_seen:
            return problem
        if not (share := self._larger_share()):
            return plain
        bad = part_of(self._num_bad, self._num_seen, "row", ("is", "are"))
        return f"{problem} and {share}, since {bad} bad"

    def _more(self, num_more: int) -> str:
        if not num_more:
            return ""
        more = counted(num_more, "more row has", "more rows have")
        seen = "" if self._num_seen >= self._num_rows else f" among the first {self._num_seen:,}"
        return f" ({more} the same problem{seen})"


def describe_counts(counts: Counter[str] | dict[str, int]) -> str:
    """Write counts by rule, the most frequent first."""
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{rule} {count:,}" for rule, count in ranked)


def write_rejected(path: Path, rejects: pa.Table, names: list[str]) -> None:
    """Write the rows that were set aside: file, line, rule, reason, and the row itself.

    Backslashes of the row are written as \\\\, tabs and other control characters as \\t, \\x1b.

    Args:
        path: Of the table.
        rejects: In REJECT_SCHEMA.
        names: Of the input files, by number.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("file\tline\trule\treason\trow\n")
        for batch in rejects.to_batches(max_chunksize=1024):
            for record in batch.to_pylist():
                problem = without_remedy(record["problem"])
                texts = [record["rule"], problem, record["raw"] or ""]
                fields = [names[record["file"]], str(record["line"]), *map(_escaped, texts)]
                file.write("\t".join(fields) + "\n")


def _escaped(text: str) -> str:
    return escaped(text.replace("\\", "\\\\"))
