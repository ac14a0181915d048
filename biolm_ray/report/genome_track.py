"""Scores in genome coordinates, for genome browsers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from biolm_ray.data.sources import find_files
from biolm_ray.errors import DataError
from biolm_ray.files import atomic_path
from biolm_ray.report.tracks import Track

_BED = "BED of 6 or 12 columns: chrom, start, end, name, score, strand, ..."


@dataclass(frozen=True)
class Transcript:
    """Where a sequence comes from.

    Attributes:
        blocks: Start and stop of each exon on the chromosome, 0-based and half-open, rising.
        where: File and line, for messages.
    """

    chromosome: str
    forward: bool
    blocks: tuple[tuple[int, int], ...]
    where: str

    @property
    def bases(self) -> Int[np.ndarray, " length"]:
        """The place on the chromosome of each base, in the order of the sequence."""
        places = np.concatenate([np.arange(start, stop) for start, stop in self.blocks])
        return places if self.forward else places[::-1]


def read_bed(path: str) -> dict[str, Transcript]:
    """Read the exons of sequences by name.

    Raises:
        DataError: The file cannot be read, is no BED, or names a sequence twice.
    """
    file, *others = find_files([path], "table")
    if others:
        raise DataError(f"{path} stands for {len(others) + 1} files: give one BED file")
    transcripts: dict[str, Transcript] = {}
    with file.open_text() as lines:
        for number, raw in enumerate(lines, 1):
            line = raw.decode("utf-8", "replace").strip()
            if not line or line.startswith(("#", "track", "browser")):
                continue
            where = f"{file.name}, line {number}"
            name, transcript = _read_line(line, where)
            if name in transcripts:
                raise DataError(f"{where}: '{name[:40]}' stands in {transcripts[name].where} too")
            transcripts[name] = transcript
    return transcripts


def genome_track(
    tracks: Sequence[Track], transcripts: Mapping[str, Transcript]
) -> tuple[pd.DataFrame, int]:
    """Give each scored base its place on the chromosome; bases of several sequences their mean.

    Returns:
        The columns chrom, start, end (0-based, half-open) and score, in order; and how many
        sequences have no place in it.

    Raises:
        DataError: A sequence has more bases than its exons.
    """
    parts = []
    for track in tracks:
        transcript, first = transcripts.get(track.sequence), track.first_base
        if transcript is None or first is None:
            continue
        bases = transcript.bases
        if first + len(track.letters) > len(bases):
            raise DataError(
                f"{transcript.where}: the exons of '{track.sequence[:40]}' have {len(bases)} "
                f"bases, but its scores reach base {first + len(track.letters)}"
            )
        known = np.isfinite(track.scores)
        places = bases[first : first + len(track.letters)][known]
        parts.append(
            pd.DataFrame(
                {"chrom": transcript.chromosome, "start": places, "score": track.scores[known]}
            )
        )
    missing = len(tracks) - len(parts)
    if not parts:
        return pd.DataFrame(columns=["chrom", "start", "end", "score"]), missing
    table = pd.DataFrame(pd.concat(parts).groupby(["chrom", "start"], as_index=False).mean())
    table.insert(2, "end", table["start"] + 1)
    return table, missing


def write_bedgraph(path: Path, table: pd.DataFrame, name: str) -> None:
    """Write a bedGraph with the line that browsers want at its head."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'track type=bedGraph name="{name}" visibility=full\n')
        table.to_csv(file, sep="\t", header=False, index=False, float_format="%.6g")


def _read_line(line: str, where: str) -> tuple[str, Transcript]:
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) < 6 or fields[5] not in ("+", "-"):
        found = f"{len(fields)} columns" if len(fields) < 6 else f"strand '{fields[5][:40]}'"
        raise DataError(f"{where}: found {found}; expected {_BED}")
    try:
        start, stop = int(fields[1]), int(fields[2])
        blocks = [(start, stop)]
        if len(fields) >= 12:
            sizes, offsets = _numbers(fields[10]), _numbers(fields[11])
            if not len(sizes) == len(offsets) == int(fields[9]):
                raise ValueError
            blocks = [
                (start + offset, start + offset + size)
                for offset, size in zip(offsets, sizes, strict=True)
            ]
    except ValueError:
        raise DataError(f"{where}: its places are not whole numbers; expected {_BED}") from None
    edges = [edge for block in sorted(blocks) for edge in block]
    if edges != sorted(edges) or edges[0] < start or edges[-1] > stop:
        raise DataError(f"{where}: its blocks overlap or leave {start}-{stop}")
    return fields[3], Transcript(fields[0], fields[5] == "+", tuple(sorted(blocks)), where)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number.strip()]
