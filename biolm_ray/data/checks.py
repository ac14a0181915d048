"""Rules over all rows of a file, gathered block by block and told in one message."""

from collections import Counter

import numpy as np
import pyarrow as pa

from biolm_ray.data.columns import shown
from biolm_ray.data.reading import Input
from biolm_ray.errors import DataError

NUM_SHOWN_TOKENS = 5


class RowProblems:
    """The first row that cannot be used, and how many more break the same rule."""

    def __init__(self, plan: Input) -> None:
        self._plan = plan
        self._first: tuple[int, str, str] | None = None
        self._counts: Counter[str] = Counter()

    def add(self, block: pa.Table) -> bool:
        """Take in a block with line, rule and problem; tell whether all rows so far are good."""
        if block["problem"].null_count < len(block):
            bad = block.filter(block["problem"].is_valid())
            self._counts.update(bad["rule"].to_pylist())
            line, rule, problem = (bad[name][0].as_py() for name in ("line", "rule", "problem"))
            if self._first is None or line < self._first[0]:
                self._first = (line, rule, problem)
        return self._first is None

    def finish(self) -> None:
        """Raise the problem of the lowest line, if there was one.

        Raises:
            DataError: A row cannot be used.
        """
        if self._first is None:
            return
        line, rule, problem = self._first
        num_more = self._counts[rule] - 1
        rows = "row has" if num_more == 1 else "rows have"
        more = f" ({num_more} more {rows} the same problem)" if num_more else ""
        raise DataError(f"{self._plan.where(line)}: {problem}{more}")


class RepeatedIds:
    """The ids of all rows, to find those that stand twice. Memory grows with the ids."""

    def __init__(self, plan: Input) -> None:
        self._plan = plan
        self._ids: list[pa.ChunkedArray] = []
        self._lines: list[np.ndarray] = []

    def add(self, block: pa.Table) -> None:
        self._ids.append(block["id"].cast(pa.large_string()))
        self._lines.append(block["line"].to_numpy())

    def finish(self) -> None:
        """Refuse repeated ids.

        Raises:
            DataError: An id stands on two lines; the second of them is named.
        """
        chunks = [chunk for ids in self._ids for chunk in ids.chunks]
        ids = pa.chunked_array(chunks, pa.large_string())
        if len(ids.unique()) == len(ids):
            return
        codes = pa.concat_arrays(chunks).dictionary_encode().indices.to_numpy()
        _, first_rows, codes = np.unique(codes, return_index=True, return_inverse=True)
        repeats = np.flatnonzero(first_rows[codes] != np.arange(len(codes)))
        lines = np.concatenate(self._lines)
        row = int(repeats[0])
        num_more = len(repeats) - 1
        more = f" ({num_more} more rows repeat an id)" if num_more else ""
        raise DataError(
            f"{self._plan.where(lines[row])}: id {shown(ids[row].as_py())} stands on line "
            f"{lines[first_rows[codes[row]]]} already{more}; make the ids unique or set "
            "data.allow_duplicate_ids: true"
        )


class UnknownTokens:
    """How many tokens the vocabulary does not hold, and which."""

    def __init__(self, plan: Input, max_share: float) -> None:
        self._plan = plan
        self._max_share = max_share
        self._texts: Counter[str] = Counter()
        self.num_tokens = 0
        self.num_unknown = 0

    @property
    def share(self) -> float:
        return self.num_unknown / max(self.num_tokens, 1)

    @property
    def most_frequent(self) -> list[tuple[str, int]]:
        """Texts and counts of the most frequent ones; empty for encodings that split texts."""
        ranked = sorted(self._texts.items(), key=lambda entry: (-entry[1], entry[0]))
        return ranked[:NUM_SHOWN_TOKENS]

    def add(self, num_tokens: int, num_unknown: int, texts: Counter[str]) -> None:
        self.num_tokens += num_tokens
        self.num_unknown += num_unknown
        self._texts.update(texts)

    def finish(self) -> None:
        """Refuse a share above the threshold.

        Raises:
            DataError: Too many tokens are unknown.
        """
        if self.share <= self._max_share:
            return
        listed = ", ".join(f"{shown(text)} ({count})" for text, count in self.most_frequent)
        raise DataError(
            f"{self._plan.source.name}: {self.num_unknown} of {self.num_tokens} tokens "
            f"({100 * self.share:.3g} %) are not in the vocabulary, more than the "
            f"{100 * self._max_share:.3g} % allowed"
            + (f"; most frequent: {listed}" if listed else "")
            + "; are the tokenizer and data.token_separator the right ones? "
            "(data.max_unknown_share sets the threshold)"
        )
