"""Scores by token, by codon and at exon junctions."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from biolm_ray.inference.scores_file import first_rows
from biolm_ray.report.enrichment import added_up
from biolm_ray.report.regions import CDS, MarkedTrack
from biolm_ray.tokenization.markers import EXON_JUNCTION

_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
AMINO_ACIDS = dict(zip(map("".join, product("UCAG", repeat=3)), _AMINO_ACIDS, strict=True))
"""The standard genetic code (NCBI table 1); * ends a protein."""


def token_sums(table: pd.DataFrame) -> pd.DataFrame:
    """By kind of token: tokens, edits, the sum of their scores and that of the absolute values.

    A token that was replaced by several others is one token and several edits.
    """
    table = pd.DataFrame(table[table["token"] != ""])
    scores = table["loo"].to_numpy(np.float64)
    starts = table["start_offset"].to_numpy(np.int64)
    of_row, names = pd.factorize(table["token"].astype(str), sort=True)
    # The edits of a token follow each other.
    is_new = np.diff(starts, prepend=-1) != 0
    is_new[first_rows(table["sequence"], starts)] = True
    return pd.DataFrame(
        {
            "token": names,
            "num_tokens": np.bincount(of_row, is_new, minlength=len(names)).astype(np.int64),
            "num_edits": np.bincount(of_row, minlength=len(names)),
            "sum": np.bincount(of_row, scores, minlength=len(names)),
            "absolute": np.bincount(of_row, np.abs(scores), minlength=len(names)),
        }
    )


def token_table(sums: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Add the `token_sums` of some tables up; means are over edits.

    `share` is a token's part of all absolute scores.
    """
    whole = added_up(pd.concat(sums), ["token"])
    counts, absolute = whole["num_edits"], whole["absolute"]
    found = pd.DataFrame(
        {
            "token": whole["token"],
            "num_tokens": whole["num_tokens"],
            "num_edits": counts,
            "mean": whole["sum"] / counts,
            "mean_absolute": absolute / counts,
            "sum": whole["sum"],
            "share": absolute / (absolute.sum() or np.nan),
        }
    )
    return found.sort_values(["share", "token"], ascending=[False, True], ignore_index=True)


def codon_table(marked: Sequence[MarkedTrack]) -> pd.DataFrame:
    """The codons in frame of every CDS: the mean over codons of the sum of their three scores.

    Only codons count that were scored as a whole. The sequences are DNA or RNA.
    """
    codons, sums, sequences = [], [], []
    for number, item in enumerate(marked):
        for region in (region for region in item.regions if region.name == CDS):
            scores, plain = item.track.scores, item.track.plain
            first = region.start + max(0, -(-(0 - region.start) // 3)) * 3
            last = min(region.stop, len(plain))
            starts = np.arange(first, last - 2, 3)
            triples = scores[starts[:, None] + np.arange(3)].sum(axis=1)
            codons += [plain[start : start + 3] for start in starts.tolist()]
            sums.append(triples)
            sequences.append(np.full(len(starts), number))
    frame = pd.DataFrame(
        {
            "codon": pd.Series(codons, dtype=str),
            "score": np.concatenate(sums) if sums else np.zeros(0),
            "sequence": np.concatenate(sequences) if sequences else np.zeros(0),
        }
    ).dropna()
    frame = frame[frame["codon"].isin(list(AMINO_ACIDS))]
    groups = frame.groupby("codon")
    table = pd.DataFrame(
        {
            "num_codons": groups.size(),
            "num_sequences": groups["sequence"].nunique(),
            "mean": groups["score"].mean(),
            "standard_deviation": groups["score"].std(),
        }
    ).reset_index()
    table.insert(1, "amino_acid", [AMINO_ACIDS[codon] for codon in table["codon"]])
    return table.sort_values("mean", kind="stable", ignore_index=True)


def junction_table(marked: Sequence[MarkedTrack]) -> pd.DataFrame:
    """The last letters of exons against the same letters elsewhere, and junction markers.

    Only sequences that have a junction count. A marker has nothing to compare it with.
    """
    tracks = [item.track for item in marked]
    spliced = [track for track in tracks if track.junctions.any()]
    rows = []
    letters = np.array([letter for track in spliced for letter in track.letters], dtype="U1")
    if spliced:
        scores = np.concatenate([track.scores for track in spliced])
        ends = np.concatenate([track.junctions for track in spliced])
        for letter in sorted(set(letters[ends].tolist())):
            same = (letters == letter) & np.isfinite(scores)
            rows.append(_junction_row(letter, scores[same & ends], scores[same & ~ends]))
    markers = np.array(
        [
            score
            for track in tracks
            for text, score in zip(track.marker_texts, track.marker_scores, strict=True)
            if text == EXON_JUNCTION
        ]
    )
    if markers.size:
        rows.append(_junction_row(f"marker {EXON_JUNCTION}", markers, np.zeros(0)))
    return pd.DataFrame(rows)


def _junction_row(name: str, at: np.ndarray, elsewhere: np.ndarray) -> dict[str, object]:
    return {
        "letter": name,
        "num_junctions": len(at),
        "mean": at.mean() if len(at) else np.nan,
        "mean_absolute": np.abs(at).mean() if len(at) else np.nan,
        "num_elsewhere": len(elsewhere),
        "mean_elsewhere": elsewhere.mean() if len(elsewhere) else np.nan,
        "mean_absolute_elsewhere": np.abs(elsewhere).mean() if len(elsewhere) else np.nan,
    }
