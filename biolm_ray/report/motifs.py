"""The k-mers and motifs of scored sequences, and whether they matter more than chance."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from biolm_ray.errors import ConfigError
from biolm_ray.report.enrichment import (
    added_up,
    score_tallies,
    sums_at,
    sums_of_groups,
    windows_of,
)
from biolm_ray.report.regions import MarkedTrack
from biolm_ray.report.tracks import is_nucleic

ALL_REGIONS = "all"
COLUMNS = ("num_occurrences", "num_sequences", "mean", "expected", "z", "p_value", "q_value")
ROWS_IN_MEMORY = 2_000_000
FEWEST_OCCURRENCES = 5
_BITS = 5
_NUCLEIC = {
    **{letter: letter for letter in "ACGU"},
    **{"T": "U", "R": "AG", "Y": "CU", "S": "CG", "W": "AU", "K": "GU", "M": "AC"},
    **{"B": "CGU", "D": "AGU", "H": "ACU", "V": "ACG", "N": "ACGU"},
}
_PROTEIN = {
    **{letter: letter for letter in "ACDEFGHIKLMNPQRSVWYOU"},
    **{"T": "U", "B": "DN", "Z": "EQ", "J": "IL", "X": "ACDEFGHIKLMNPQRSUVWYO"},
}


def kmer_size(asked: int | None, *, nucleic: bool) -> int:
    """The letters of a k-mer: as many as were asked for, else by the number of possible ones.

    There are 4,096 of 6 nucleotides and 8,000 of 3 amino acids; but 64 million of 6 amino acids,
    most of which occur once or never.
    """
    if asked is not None:
        return asked
    return 6 if nucleic else 3


def kmer_table(
    marked: Sequence[MarkedTrack], size: int, fewest: int = FEWEST_OCCURRENCES
) -> pd.DataFrame:
    """The k-mers inside regions, with their scores against chance.

    See `enrichment` for the test, and `score_tallies` for the columns. Those that occur fewer than
    `fewest` times in all are left out: a test would say nothing.
    """
    found: list[pd.DataFrame] = []
    num_rows = 0
    for item in marked:
        codes = _kmer_codes(item.track.plain, size)
        tallies = [
            sums_of_groups(windows, codes[windows.starts]) for windows in windows_of(item, size)
        ]
        if not tallies:
            continue
        # A k-mer in two regions of a sequence is still in one sequence.
        whole = added_up(pd.concat(tallies), ["group"])
        found.append(whole.assign(num_sequences=1))
        num_rows += len(whole)
        if num_rows > ROWS_IN_MEMORY:
            found = [added_up(pd.concat(found), ["group"])]
            num_rows = len(found[0])
    if not found:
        return pd.DataFrame(columns=["kmer", *COLUMNS])
    tallies = added_up(pd.concat(found), ["group"])
    often = (tallies["group"] >= 0) & (tallies["num_occurrences"] >= fewest)
    table = score_tallies(tallies.loc[often], ["group"])
    as_dna = _writes_t(marked)
    texts = [_kmer_text(code, size, as_dna) for code in table.pop("group").tolist()]
    table.insert(0, "kmer", pd.Series(texts, dtype=str))
    return table


def motif_table(marked: Sequence[MarkedTrack], motifs: Mapping[str, str]) -> pd.DataFrame:
    """The motifs' scores against chance: in all regions together, and in each of several.

    A motif that occurs nowhere has a row without a test. Occurrences may overlap.

    Raises:
        ConfigError: A motif has a letter that is no IUPAC code.
    """
    patterns = compile_motifs(motifs, nucleic=is_nucleic([item.track for item in marked]))
    rows = []
    for number, item in enumerate(marked):
        for size in sorted({len(text) for text in motifs.values()}):
            for windows in windows_of(item, size):
                for name, pattern in patterns.items():
                    if len(motifs[name]) != size:
                        continue
                    chosen = matches(item.track.plain, pattern)[windows.starts]
                    if chosen.any():
                        tally = {"motif": name, "sequence": number, "region": windows.region}
                        rows.append({**tally, **sums_at(windows, chosen)})
    table = _tested(pd.DataFrame(rows)) if rows else pd.DataFrame()
    missing = [name for name in motifs if not rows or name not in set(table["motif"])]
    absent = [{"motif": name, "region": ALL_REGIONS, "num_occurrences": 0, "num_sequences": 0}
              for name in missing]  # fmt: skip
    table = pd.concat([part for part in (table, pd.DataFrame(absent)) if len(part)])
    table = table.reindex(columns=["motif", "region", *COLUMNS])
    table.insert(1, "pattern", [motifs[name] for name in table["motif"]])
    return table.reset_index(drop=True)


def compile_motifs(motifs: Mapping[str, str], *, nucleic: bool) -> dict[str, re.Pattern[str]]:
    """Turn IUPAC motifs into patterns that match where they begin; T and U are the same.

    Raises:
        ConfigError: A letter is no IUPAC code of nucleotides, or of amino acids.
    """
    codes = _NUCLEIC if nucleic else _PROTEIN
    kind = "nucleotides" if nucleic else "amino acids"
    patterns = {}
    for name, text in motifs.items():
        wrong = next((letter for letter in text.upper() if letter not in codes), None)
        if wrong is not None:
            raise ConfigError(
                f"interpret.motifs, {name}: '{wrong}' in {text[:40]} is no IUPAC code of {kind}, "
                "which the scored sequences are made of"
            )
        classes = "".join(f"[{codes[letter]}]" for letter in text.upper())
        patterns[name] = re.compile(f"(?={classes})")
    return patterns


def matches(plain: str, pattern: re.Pattern[str]) -> Bool[np.ndarray, " length"]:
    """Where a compiled motif begins."""
    found = np.zeros(len(plain), dtype=bool)
    found[[match.start() for match in pattern.finditer(plain)]] = True
    return found


def _tested(tallies: pd.DataFrame) -> pd.DataFrame:
    whole = added_up(tallies.drop(columns="region"), ["motif", "sequence"])
    whole = whole.assign(region=ALL_REGIONS, num_sequences=1)
    several = tallies["region"].nunique() > 1
    both = pd.concat([whole, tallies]) if several else whole
    return score_tallies(both, ["motif", "region"])


def _kmer_codes(plain: str, size: int) -> Int[np.ndarray, " length"]:
    """A number for the k-mer at each letter; -1 where a letter is none of A-Z, or none is left."""
    letters = np.frombuffer(plain.encode("ascii", "replace"), np.uint8).astype(np.int64) - ord("A")
    codes = np.full(len(plain), -1, dtype=np.int64)
    if len(plain) < size:
        return codes
    windows = np.lib.stride_tricks.sliding_window_view(letters, size)
    values = windows @ (1 << (_BITS * np.arange(size)[::-1]))
    good = ((windows >= 0) & (windows < 26)).all(axis=1)
    codes[: len(values)] = np.where(good, values, -1)
    return codes


def _kmer_text(code: int, size: int, as_dna: bool) -> str:
    mask = (1 << _BITS) - 1
    text = "".join(chr(ord("A") + (code >> (_BITS * place) & mask)) for place in range(size)[::-1])
    return text.replace("U", "T") if as_dna else text


def _writes_t(marked: Sequence[MarkedTrack]) -> bool:
    """Whether the sequences have T, not U."""
    return not any("U" in item.track.letters.upper() for item in marked)
