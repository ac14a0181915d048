"""Pictures of the scores of a sequence: all of them, and its strongest stretch in letters."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm_ray.files import atomic_path
from biolm_ray.report.elements import Element
from biolm_ray.report.regions import CDS, OUTSIDE_UTR3, UNKNOWN_REGION, UTR3, UTR5, MarkedTrack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTERS_SHOWN = 60
MOST_BARS = 1200
DOTS_PER_INCH = 160
WIDEST_LABEL = 30
_RISE, _FALL, _GREY = "#D55E00", "#0072B2", "#666666"
# The palette of Okabe and Ito, which people with any kind of colour vision can tell apart.
_NUCLEOTIDES = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "U": "#D55E00"}
_AMINO_ACIDS = {
    **dict.fromkeys("KRH", "#0072B2"),
    **dict.fromkeys("DE", "#D55E00"),
    **dict.fromkeys("STNQ", "#009E73"),
    **dict.fromkeys("AVLIMFWYP", "#333333"),
    **dict.fromkeys("GC", "#E69F00"),
}
_REGIONS = {UTR5: "#56B4E9", CDS: "#BBBBBB", UTR3: "#F0E442", OUTSIDE_UTR3: "#CCE3F0"}


@dataclass(frozen=True)
class Picture:
    """What is shown of one sequence.

    Attributes:
        elements: Its strong stretches, the strongest first.
        motifs: Name, start and stop of each occurrence of a motif.
        edit, changing: What was done, and what changes by it, for the axes.
        length: Letters of the whole sequence, markers included; None where that is not known.
    """

    marked: MarkedTrack
    elements: tuple[Element, ...]
    motifs: tuple[tuple[str, int, int], ...] = ()
    edit: str = "the edit"
    changing: str = "the prediction"
    nucleic: bool = True
    length: int | None = None


def write_picture(path: Path, picture: Picture) -> None:
    """Draw a picture and write it whole or not at all."""
    figure = draw_picture(picture)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH)


def draw_picture(picture: Picture) -> "Figure":
    """Draw all scores of a sequence above, and below its strongest stretch letter by letter."""
    # Where no folder of the home can be written to, it warns of keeping its files elsewhere.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6))
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.15))
    figure.subplots_adjust(left=0.11, right=0.985, top=0.85, bottom=0.085, hspace=0.32)
    # What users call their sequences, columns and classes is no formula.
    figure.suptitle(_title(picture), x=0.01, ha="left", fontsize=12, parse_math=False)
    window = _window(picture)
    _draw_whole(above, picture, window)
    _draw_letters(below, picture, window)
    return figure


def _title(picture: Picture) -> str:
    track = picture.marked.track
    told = [f"predicted {_shown(track.prediction)}", f"measured {_shown(track.label)}"]
    known = [text for text, value in zip(told, (track.prediction, track.label), strict=True)
             if value is not None]  # fmt: skip
    return f"{track.sequence}   ({', '.join(known)})" if known else track.sequence


def _shown(value: float | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _window(picture: Picture) -> tuple[int, int]:
    """The letters around the strongest stretch, as many as can be read."""
    length = len(picture.marked.track.letters)
    middle = length // 2
    if picture.elements:
        middle = (picture.elements[0].start + picture.elements[0].stop) // 2
    start = max(0, min(middle - LETTERS_SHOWN // 2, length - LETTERS_SHOWN))
    return start, min(length, start + LETTERS_SHOWN)


def _draw_whole(axes: "Axes", picture: Picture, window: tuple[int, int]) -> None:
    """Bars of all scores; in long sequences a bar shows the least and largest of a few letters."""
    track = picture.marked.track
    scores, places = track.scores, track.offsets
    low, high, at = _thinned(scores, places)
    axes.vlines(at, 0, np.fmax(high, 0), color=_RISE, linewidth=_bar_width(len(at)))
    axes.vlines(at, np.fmin(low, 0), 0, color=_FALL, linewidth=_bar_width(len(at)))
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xlim(places[0] - 0.5, places[-1] + 0.5)
    _pad_scale(axes, scores)
    axes.axvspan(places[window[0]] - 0.5, places[window[1] - 1] + 0.5, color="black", alpha=0.08)
    _mark_regions(axes, picture)
    ends = places[track.junctions]
    axes.plot(ends, np.full(len(ends), 0.045), "|", color="black", markersize=7,
              transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip
    more = [f"{len(ends)} exon junctions (ticks)"] if len(ends) else []
    more.append("grey: shown below")
    title = f"{_what_was_scored(picture)}; {', '.join(more)}"
    axes.set_title(title, loc="left", fontsize=10, pad=16)
    _label(axes, picture)


def _what_was_scored(picture: Picture) -> str:
    """Say which part of the sequence is there: a model sees no more than its block size."""
    track, length = picture.marked.track, picture.length
    places = np.concatenate([track.offsets, track.marker_offsets])
    first, stop = int(places.min()), int(places.max()) + 1
    if length is None:
        return f"all that was scored, positions {first:,} to {stop - 1:,}"
    if first == 0:
        return "whole sequence" if stop >= length else f"first {stop:,} of {length:,} letters"
    if stop >= length:
        return f"last {stop - first:,} of {length:,} letters"
    return f"letters {first:,} to {stop - 1:,} of {length:,}, counted from 0"


def _draw_letters(axes: "Axes", picture: Picture, window: tuple[int, int]) -> None:
    """Letters as high as their scores: upright above 0, upside down below."""
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    track = picture.marked.track
    colours = _NUCLEOTIDES if picture.nucleic else _AMINO_ACIDS
    outlines: dict[str, Any] = {}
    for place in range(*window):
        letter, score = track.letters[place].upper(), track.scores[place]
        if not np.isfinite(score) or score == 0:
            continue
        outline = outlines.setdefault(letter, TextPath((0, 0), letter, size=1, prop=_font()))
        box = outline.get_extents()
        scale = Affine2D().translate(-box.x0 - box.width / 2, -box.y0)
        scale.scale(min(0.9 / box.width, 3 / box.height), score / box.height)
        scale.translate(track.offsets[place], 0)
        colour = colours.get("U" if letter == "T" and picture.nucleic else letter, _GREY)
        axes.add_patch(PathPatch(scale.transform_path(outline), facecolor=colour, linewidth=0))
    axes.axhline(0, color="black", linewidth=0.6)
    first, last = track.offsets[window[0]], track.offsets[window[1] - 1]
    axes.set_xlim(first - 0.7, last + 0.7)
    _pad_scale(axes, track.scores[window[0] : window[1]], share=0.22)
    _mark_stretches(axes, picture, window)
    region = picture.marked.region_at(sum(window) // 2)
    where = "" if region == UNKNOWN_REGION else f", {region}"
    axes.set_title(f"strongest stretch{where}: letters as high as their scores; "
                   "bars: strong stretches", loc="left", fontsize=10)  # fmt: skip
    axes.set_xlabel("position in the sequence (from 0)")
    _label(axes, picture)


def _mark_stretches(axes: "Axes", picture: Picture, window: tuple[int, int]) -> None:
    """Bars above for strong stretches; below, in black with a name, the motifs looked for."""
    offsets, across = picture.marked.track.offsets, axes.get_xaxis_transform()
    spans = [("", element.start, element.stop, 0.95, _GREY) for element in picture.elements]
    spans += [(name, start, stop, 0.07, "black") for name, start, stop in picture.motifs]
    for name, start, stop, height, colour in spans:
        start, stop = max(start, window[0]), min(stop, window[1])
        if start >= stop:
            continue
        left, right = offsets[start] - 0.45, offsets[stop - 1] + 0.45
        axes.plot([left, right], [height, height], color=colour, linewidth=3,
                  solid_capstyle="butt", transform=across)  # fmt: skip
        if name:
            axes.text((left + right) / 2, height - 0.02, name, transform=across, ha="center",
                      va="top", fontsize=8, parse_math=False)  # fmt: skip


def _mark_regions(axes: "Axes", picture: Picture) -> None:
    """A coloured band above the axes, with the names that fit."""
    offsets, across = picture.marked.track.offsets, axes.get_xaxis_transform()
    whole = len(offsets)
    for part in picture.marked.parts:
        if part.name == UNKNOWN_REGION:
            continue
        left, right = offsets[part.start] - 0.5, offsets[part.stop - 1] + 0.5
        axes.fill_between([left, right], 1.01, 1.08, color=_REGIONS.get(part.name, "#DDDDDD"),
                          transform=across, clip_on=False, linewidth=0)  # fmt: skip
        if part.stop - part.start > 0.03 * whole:
            axes.text((left + right) / 2, 1.043, part.name, transform=across, ha="center",
                      va="center", fontsize=8)  # fmt: skip


def _label(axes: "Axes", picture: Picture) -> None:
    lines = [*wrap(f"change of {picture.changing}", WIDEST_LABEL), f"by {picture.edit}"]
    axes.set_ylabel("\n".join(lines), fontsize=9, parse_math=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=9)


def _pad_scale(axes: "Axes", scores: np.ndarray, share: float = 0.1) -> None:
    """A scale with 0 on it and room for the marks at both ends."""
    low, high = min(0.0, np.nanmin(scores)), max(0.0, np.nanmax(scores))
    room = share * ((high - low) or 1.0)
    axes.set_ylim(low - room, high + room)


def _thinned(scores: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    step = -(-len(scores) // MOST_BARS)
    starts = np.arange(0, len(scores), step)
    low, high = np.fmin.reduceat(scores, starts), np.fmax.reduceat(scores, starts)
    return low, high, places[starts] + (step - 1) / 2


def _bar_width(num_bars: int) -> float:
    return max(0.6, min(3.0, 500 / max(1, num_bars)))


def _font() -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family="DejaVu Sans", weight="bold")


def choose_pictures(
    marked: Sequence[MarkedTrack], elements: Sequence[Element], most: int
) -> list[tuple[MarkedTrack, tuple[Element, ...]]]:
    """The sequences with the strongest elements, each with its own, the strongest first."""
    by_number: dict[int, list[Element]] = {}
    for element in elements:
        by_number.setdefault(element.number, []).append(element)
    chosen = list(by_number.items())[:most]
    return [(marked[number], tuple(found)) for number, found in chosen]
