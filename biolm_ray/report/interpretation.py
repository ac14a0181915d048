"""Everything that is made of one table of leave-one-out scores, to be read."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from biolm_ray.config.schema import Config, InterpretConfig
from biolm_ray.data.side_columns import read_side_columns
from biolm_ray.files import swapped_folder
from biolm_ray.inference.scores_file import table_stem, typed_path
from biolm_ray.report.composition import codon_table, junction_table, token_sums, token_table
from biolm_ray.report.elements import Element, element_table, find_elements
from biolm_ray.report.genome_track import genome_track, read_bed, write_bedgraph
from biolm_ray.report.motifs import (
    FEWEST_OCCURRENCES,
    compile_motifs,
    kmer_size,
    kmer_table,
    matches,
    motif_table,
)
from biolm_ray.report.readings import Reading, find_readings
from biolm_ray.report.regions import MarkedTrack, mark_regions, read_spans, region_table
from biolm_ray.report.score_plots import Picture, choose_pictures, write_picture
from biolm_ray.report.tracks import Track, is_nucleic, make_tracks, read_score_pieces
from biolm_ray.training.fold_tables import write_table
from biolm_ray.wording import counted, part_of

log = logging.getLogger("biolm_ray")

NO_TRACK = "no genome track: the model reads the 3'UTR only, and its place is not known"
EDIT_NAMES = {
    "remove": "removing the token",
    "mask": "masking the token",
    "replace": "replacing the token",
    "insert": "inserting before the token",
    "saturation": "other tokens, on average",
}


@dataclass(frozen=True)
class Interpretation:
    """What was written about one table of scores, or about some together.

    Attributes:
        folder: Where it lies.
        paths: The files, by what they hold; of several classes each has its own, as
            `<folder of the class>/<what it holds>`.
        sequence_notes: How many of its sequences were left out of something, and why.
        other_notes: What else was left out.
        num_tables: How many tables it is about.
        changing: What changes by an edit, of each class by itself.
    """

    folder: Path
    paths: dict[str, Path] = field(default_factory=dict)
    sequence_notes: tuple[str, ...] = ()
    other_notes: tuple[str, ...] = ()
    num_tables: int = 1
    changing: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.sequence_notes, *self.other_notes)


@dataclass(frozen=True)
class ReadScores:
    """Tables of scores as they are interpreted: sums by token, and a track for each sequence."""

    tokens: list[pd.DataFrame]
    tracks: list[Track]
    num_tables: int = 1


def read_scores(path: Path, reading: Reading) -> ReadScores:
    """Read the scores of one kind in a table, a piece at a time.

    Raises:
        DataError: It cannot be used.
    """
    scores = ReadScores([], [])
    for piece in read_score_pieces(path, reading.column, is_class=reading.is_class):
        scores.tokens.append(token_sums(piece))
        scores.tracks.extend(make_tracks(piece))
    return scores


def check_readings(config: Config, names: Sequence[str]) -> None:
    """Read what is asked for beside the scores, so that it is found wrong before hours of scoring.

    Args:
        config: Of the run.
        names: Of the sequences to be scored.

    Raises:
        DataError: The columns of regions or the file of coordinates cannot be used.
    """
    if columns := config.interpret.columns_of_regions:
        read_spans(read_side_columns(config.data, columns, np.unique(names)))
    if config.interpret.coordinates:
        read_bed(config.interpret.coordinates)


def interpret_tables(
    paths: Sequence[Path], config: Config, lengths: Mapping[str, int] | None = None
) -> list[Interpretation]:
    """Write what the run's settings ask for about its tables of one target.

    Each table has its folder beside it; of the tables of several folds, all that is written is
    written about all of them together as well, into a folder beside those of the folds. A table
    without a score, as of an edit that no sequence allows, is left out.

    Args:
        paths: The tables.
        config: Of the run.
        lengths: Letters of whole sequences, as far as they are known, of which a model may have
            seen a part only.
    """
    empty = [path for path in paths if _num_scores(path) == 0]
    for path in empty:
        log.warning(
            "%s holds no score: none of its sequences has a token for this edit, so that there is "
            "nothing to be read of it",
            path,
        )
    paths = [path for path in paths if path not in empty]
    if not paths:
        return []
    whole = paths[0].parent.parent / table_stem(paths[0]) if len(paths) > 1 else None
    typed = {_typed_if_there(path): path.with_name(table_stem(path)) for path in paths}
    written: dict[Path, list[Interpretation]] = {folder: [] for folder in typed.values()}
    written |= {} if whole is None else {whole: []}
    spans, columns = None, config.interpret.columns_of_regions
    only_utr3 = config.preprocessing.region == "utr3"
    with ExitStack() as stack:
        new = {folder: stack.enter_context(swapped_folder(folder)) for folder in written}
        for reading in find_readings(list(typed), config.interpret.class_name):
            scores = {typed[path]: read_scores(path, reading) for path in reading.paths}
            if whole is not None:
                scores[whole] = _together(list(scores.values()))
            if columns and spans is None:
                names = np.unique([t.sequence for each in scores.values() for t in each.tracks])
                spans = read_spans(read_side_columns(config.data, columns, names))
            for folder, each in scores.items():
                found = _write(
                    each,
                    reading,
                    config.interpret,
                    folder,
                    new[folder],
                    spans,
                    only_utr3=only_utr3,
                    lengths=lengths or {},
                )
                if whole not in (None, folder):  # the notes about all tables count its sequences
                    found = replace(found, sequence_notes=())
                written[folder].append(found)
    return [_merged(folder, found) for folder, found in written.items()]


def _merged(folder: Path, found: Sequence[Interpretation]) -> Interpretation:
    """What was written about the classes of a table, each by itself; older genome tracks go."""
    paths = {name: path for each in found for name, path in each.paths.items()}
    for track in folder.parent.glob("*.bedgraph"):
        of_table = track.stem == folder.name or track.stem.startswith(f"{folder.name}_class_")
        if of_table and track not in paths.values():
            track.unlink()
    return Interpretation(
        folder,
        paths,
        tuple(dict.fromkeys(note for each in found for note in each.sequence_notes)),
        tuple(dict.fromkeys(note for each in found for note in each.other_notes)),
        max((each.num_tables for each in found), default=1),
        tuple(changing for each in found for changing in each.changing),
    )


def _num_scores(path: Path) -> int | None:
    """The number of rows of a table; None where only its CSV is there."""
    typed = typed_path(path)
    return pq.read_metadata(typed).num_rows if typed.is_file() else None


def _typed_if_there(path: Path) -> Path:
    typed = typed_path(path)
    return typed if typed.is_file() else path


def _together(scores: Sequence[ReadScores]) -> ReadScores:
    return ReadScores(
        [sums for each in scores for sums in each.tokens],
        [track for each in scores for track in each.tracks],
        len(scores),
    )


def write_interpretation(
    path: Path,
    settings: InterpretConfig,
    folder: Path | None = None,
    *,
    spans: Mapping[str, tuple[int, int]] | None = None,
    only_utr3: bool = False,
) -> Interpretation:
    """Write tables by region, codon, junction, token, k-mer and motif, elements, plots, a track.

    Of more than two classes, without `interpret.class_name`, each class has all of these.

    Args:
        path: A table of scores, CSV or Parquet.
        settings: What is to be written.
        folder: Where to; unset: beside the table, under its name.
        spans: Start and stop of the CDS of each sequence; else its tokens tell.
        only_utr3: The model reads the 3'UTR only, so that no place in the whole is known.

    Raises:
        ConfigError: A motif has a letter that is no IUPAC code.
        DataError: The table or the file of coordinates cannot be used.
    """
    folder = path.with_name(table_stem(path)) if folder is None else folder
    with swapped_folder(folder) as new:
        found = [
            _write(
                read_scores(path, reading),
                reading,
                settings,
                folder,
                new,
                spans,
                only_utr3=only_utr3,
            )
            for reading in find_readings([path], settings.class_name)
        ]
    return _merged(folder, found)


def _write(
    scores: ReadScores,
    reading: Reading,
    settings: InterpretConfig,
    folder: Path,
    new: Path,
    spans: Mapping[str, tuple[int, int]] | None,
    *,
    only_utr3: bool,
    lengths: Mapping[str, int] = MappingProxyType({}),
) -> Interpretation:
    """Write what one kind of scores is read as into `new`, which takes the place of `folder`."""
    marked = mark_regions(scores.tracks, spans, only_utr3=only_utr3)
    nucleic = is_nucleic(scores.tracks)
    tables, notes = _score_tables(scores, marked, settings, nucleic)
    sequence_notes = _about_regions(marked)
    elements = find_elements(marked)
    tables["top_elements"] = element_table(marked, elements)
    new = new / reading.folder
    paths = {name: new / f"{name}.csv" for name in tables}
    for name, found in tables.items():
        write_table(paths[name], found)

    def draw(item: MarkedTrack, *others: Any) -> Picture:
        return Picture(
            item,
            *others,
            edit=EDIT_NAMES[settings.edit],
            changing=reading.changing,
            nucleic=nucleic,
            length=lengths.get(item.track.sequence),
        )

    paths |= _write_pictures(new / "plots", marked, elements, settings, nucleic, draw)
    paths = {name: folder / reading.folder / path.relative_to(new) for name, path in paths.items()}
    if settings.coordinates and not only_utr3:
        paths["genome track"] = folder.with_name(f"{_track_stem(folder, reading)}.bedgraph")
        sequence_notes += _write_track(paths["genome track"], scores.tracks, settings.coordinates)
    notes += [NO_TRACK] if settings.coordinates and only_utr3 else []
    if reading.folder:
        paths = {f"{reading.folder}/{name}": path for name, path in paths.items()}
    return Interpretation(
        folder,
        paths,
        tuple(sequence_notes),
        tuple(notes),
        scores.num_tables,
        (reading.changing,),
    )


def _track_stem(folder: Path, reading: Reading) -> str:
    return f"{folder.name}_{reading.folder}" if reading.folder else folder.name


def describe_interpretations(found: Sequence[Interpretation]) -> list[str]:
    """Say of each where things are and what was left out; what holds for all, once at the end."""
    shared = [note for note in found[0].notes if _is_in_all(note, found)] if len(found) > 1 else []
    lines = [describe_interpretation(each, without=shared) for each in found]
    return [*lines, *(f"  {note}" for note in shared)]


def _is_in_all(note: str, found: Sequence[Interpretation]) -> bool:
    return all(note in each.notes for each in found)


def describe_interpretation(found: Interpretation, without: Sequence[str] = ()) -> str:
    """Say in one line where things are, and then what was left out, but for some notes."""
    kinds = [name.rpartition("/")[2] for name in found.paths]
    names = list(dict.fromkeys(kind for kind in kinds if not kind.startswith("plot ")))
    num_plots = sum(kind.startswith("plot ") for kind in kinds)
    names += [counted(num_plots, "plot")] if num_plots else []
    which = "" if found.num_tables == 1 else f" of all {found.num_tables} tables together"
    by = ", ".join(name.replace("_", " ") for name in names)
    of = f" (changes of {_one_or_each(found.changing)})" if found.changing else ""
    text = f"summaries{which}{of}: {by}, in {found.folder}"
    return "\n".join([text, *(f"  {note}" for note in found.notes if note not in without)])


def _one_or_each(changing: Sequence[str]) -> str:
    many = f"the probability of each of {len(changing)} classes"
    return changing[0] if len(changing) == 1 else many


def _score_tables(
    scores: ReadScores, marked: list[MarkedTrack], settings: InterpretConfig, nucleic: bool
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The tables that can be made, and why the others cannot."""
    tables, notes = {"tokens": token_table(scores.tokens)}, []
    if any(item.regions for item in marked):
        tables["regions"] = region_table(marked)
    codons = codon_table(marked) if nucleic else pd.DataFrame()
    junctions = junction_table(marked)
    tables |= {"codons": codons} if len(codons) else {}
    tables |= {"junctions": junctions} if len(junctions) else {}
    size = kmer_size(settings.kmer, nucleic=nucleic)
    if size:
        tables["kmers"] = kmer_table(marked, size)
    if settings.kmer is None and not nucleic:
        notes.append(f"k-mers of {size} letters, as these are proteins (interpret.kmer)")
    if size and tables["kmers"].empty:
        notes.append(f"no k-mer of {size} letters occurs {FEWEST_OCCURRENCES} times")
    if settings.motifs:
        tables["motifs"] = motif_table(marked, settings.motifs)
    return tables, notes


def _about_regions(marked: list[MarkedTrack]) -> list[str]:
    num_unknown = sum(not item.regions for item in marked)
    if not num_unknown:
        return []
    unknown = part_of(num_unknown, len(marked), "sequence", ("has", "have"))
    return [
        f"{unknown} no known regions: no markers s and e, and nothing in interpret.region_columns"
    ]


def _write_pictures(
    folder: Path,
    marked: list[MarkedTrack],
    elements: list[Element],
    settings: InterpretConfig,
    nucleic: bool,
    draw: Callable[..., Picture],
) -> dict[str, Path]:
    patterns = compile_motifs(settings.motifs, nucleic=nucleic)
    paths = {}
    for rank, (item, own) in enumerate(choose_pictures(marked, elements, settings.plots), 1):
        motifs = [
            (name, start, start + len(settings.motifs[name]))
            for name, pattern in patterns.items()
            for start in matches(item.track.plain, pattern).nonzero()[0].tolist()
        ]
        named = re.sub(r"[^\w.+-]+", "_", item.track.sequence)[:80]
        path = folder / f"{rank:02d}_{named}.png"
        write_picture(path, draw(item, own, tuple(motifs)))
        paths[f"plot {rank}"] = path
    return paths


def _write_track(path: Path, tracks: list[Track], coordinates: str) -> list[str]:
    """Write the genome track; say which sequences are not in it."""
    table, missing = genome_track(tracks, read_bed(coordinates))
    write_bedgraph(path, table, path.name.removesuffix(".bedgraph"))
    return (
        [f"{counted(missing, 'sequence has', 'sequences have')} no place in the genome track"]
        if missing
        else []
    )
