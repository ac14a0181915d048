"""The regions of a transcript, and how much of the importance lies in each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from biolm_ray.errors import DataError
from biolm_ray.report.tracks import GAP, Track
from biolm_ray.tokenization.markers import CDS_END, CDS_START

UTR5, CDS, UTR3 = "5'UTR", "CDS", "3'UTR"
OUTSIDE_UTR3, AFTER_START, UNKNOWN_REGION = "outside 3'UTR", "after CDS start", "not known"
ORDER = (UTR5, OUTSIDE_UTR3, CDS, AFTER_START, UTR3, UNKNOWN_REGION)
FAR = 1 << 40


@dataclass(frozen=True)
class Region:
    """A part of a sequence: letters from `start` to `stop`, half-open, counted from 0 in a track.

    It may reach beyond the letters that were scored, at either end.
    """

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class MarkedTrack:
    """A track and its regions, in order, without overlap; none where they are not known."""

    track: Track
    regions: tuple[Region, ...] = ()

    @cached_property
    def parts(self) -> tuple[Region, ...]:
        """The regions cut to the letters at hand; the whole sequence where none is known."""
        length = len(self.track.letters)
        whole = (Region(UNKNOWN_REGION, 0, length),)
        cut = [
            replace(region, start=max(0, region.start), stop=min(length, region.stop))
            for region in self.regions or whole
        ]
        return tuple(region for region in cut if region.stop > region.start)

    def region_at(self, position: int) -> str:
        found = (part.name for part in self.parts if part.start <= position < part.stop)
        return next(found, UNKNOWN_REGION)


def mark_regions(
    tracks: Sequence[Track],
    spans: Mapping[str, tuple[int, int]] | None = None,
    *,
    only_utr3: bool = False,
) -> list[MarkedTrack]:
    """Find the regions of each sequence: told by the input, else by what its tokens mark.

    Tokens mark the CDS by `s` and `e`, or by capitals where each of its codons starts.

    Args:
        tracks: The scores.
        spans: Start and stop of the CDS in letters, 0-based and half-open, by sequence.
        only_utr3: The model reads the 3'UTR only.
    """
    if only_utr3:
        return [MarkedTrack(track, (Region(UTR3, 0, FAR),)) for track in tracks]
    return [MarkedTrack(track, _find_regions(track, (spans or {}))) for track in tracks]


def read_spans(texts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[int, int]]:
    """Read where each CDS lies, 0-based and half-open.

    Args:
        texts: By sequence either `start-end`, counted from 1 with the end included, as in
            cds=96-3917, or the lengths of 5'UTR, CDS and 3'UTR.

    Raises:
        DataError: A text is neither.
    """
    spans = {}
    for name, fields in texts.items():
        numbers = fields[0].split("-") if len(fields) == 1 else list(fields)
        try:
            values = [int(float(number)) for number in numbers]
        except ValueError:
            values = []
        first = values[0] - 1 if len(fields) == 1 and values else 0
        if len(values) != (2 if len(fields) == 1 else 3) or min(first, *values) < 0:
            wanted = "start-end, such as 96-3917" if len(fields) == 1 else "three lengths"
            found = ", ".join(field[:40] for field in fields)
            raise DataError(
                f"interpret.region_columns: found '{found}' for sequence {name}; expected {wanted}"
            )
        spans[name] = (first, values[1]) if len(fields) == 1 else (values[0], sum(values[:2]))
    return spans


def region_table(marked: Sequence[MarkedTrack]) -> pd.DataFrame:
    """Sum the scores up by region; markers belong to none.

    `share` is the region's part of all absolute scores.
    """
    rows = [
        (part.name, number, track.track.scores[part.start : part.stop])
        for number, track in enumerate(marked)
        for part in track.parts
    ]
    total = sum(float(np.nansum(np.abs(scores))) for _, _, scores in rows)
    table = []
    for name in (name for name in ORDER if any(row[0] == name for row in rows)):
        scores = np.concatenate([scores for found, _, scores in rows if found == name])
        scores = scores[np.isfinite(scores)]
        absolute = float(np.abs(scores).sum())
        table.append(
            {
                "region": name,
                "num_sequences": len({number for found, number, _ in rows if found == name}),
                "num_letters": len(scores),
                "mean": scores.mean() if len(scores) else np.nan,
                "mean_absolute": absolute / len(scores) if len(scores) else np.nan,
                "sum": scores.sum(),
                "share": absolute / total if total else np.nan,
            }
        )
    return pd.DataFrame(table)


def _find_regions(track: Track, spans: Mapping[str, tuple[int, int]]) -> tuple[Region, ...]:
    told, first = spans.get(track.sequence), track.first_base
    if told is not None and first is not None:
        start, stop = told[0] - first, told[1] - first
        return (Region(UTR5, -first, start), Region(CDS, start, stop), Region(UTR3, stop, FAR))
    return _by_markers(track) or _by_capitals(track)


def _by_markers(track: Track) -> tuple[Region, ...]:
    places = dict(reversed(list(zip(track.marker_texts, track.marker_offsets, strict=True))))
    # The number of letters before a marker is where it stands among them.
    places = {text: int(np.searchsorted(track.offsets, at)) for text, at in places.items()}
    start, end = places.get(CDS_START), places.get(CDS_END)
    if start is None and end is None:
        return ()
    if start is None:
        assert end is not None
        return (Region(OUTSIDE_UTR3, 0, end), Region(UTR3, end, FAR))
    if end is None:
        return (Region(UTR5, 0, start), Region(AFTER_START, start, FAR))
    return (Region(UTR5, 0, start), Region(CDS, start, end), Region(UTR3, end, FAR))


def _by_capitals(track: Track) -> tuple[Region, ...]:
    """A CDS whose every third letter is a capital, in a sequence of small letters."""
    letters = np.array(list(track.letters), dtype="U1")
    capitals = np.flatnonzero(np.char.isupper(letters))
    if len(capitals) < 2 or not (np.diff(capitals) == 3).all():
        return ()
    start, stop = int(capitals[0]), int(capitals[-1]) + 3
    if start < 3 and track.offsets[0] > 0:
        start -= 3
    if not np.char.islower(letters[letters != GAP]).any():
        return ()
    return (Region(UTR5, 0, start), Region(CDS, start, stop), Region(UTR3, stop, FAR))
