"""The manifest of a prepared data set: what its folder holds, and whether that can be so."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from biolm_ray.data.columns import kind_of
from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError
from biolm_ray.files import is_plain_name
from biolm_ray.preparation.row_files import PREFIX_BYTES
from biolm_ray.records import Record, SealedFile, parse_record
from biolm_ray.tokenization.settings import MOST_SPECIFIERS

MANIFEST = "manifest.json"
ROWS = "rows"
PLACES = "places.parquet"
REJECTED = "rejected.parquet"
MOST_BYTES = 256 << 20
ALWAYS_COLUMNS = ("row", "id", "length", "center", "token_ids")

Count = Annotated[int, Field(ge=0, lt=1 << 62)]


class Part(Record):
    """A file of rows.

    Attributes:
        file: Its name.
        rows: How many it holds.
        groups: Of each row group the rows, and where the pages of its binary columns begin.
        bytes: Its size; None where it was written before sizes were kept.
    """

    file: str
    rows: Count
    groups: tuple[tuple[Count, Count, Count | None], ...]
    bytes: Count | None = None


class Summary(Record):
    """What is told of the rows; what an older preparation did not tell is missing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rows: Count
    tokens: Count | None = None
    length_min: Count = 0
    length_median: float = 0.0
    length_p95: float = 0.0
    length_max: Count = 0
    unknown_tokens: Count = 0
    unknown_share: float = 0.0
    unknown_examples: tuple[tuple[str, Count], ...] = ()
    unknown_hint: str = ""
    mixtures: tuple[str, ...] = ()
    gaps: dict[str, Count] = Field(default_factory=dict)


class PreparedManifest(SealedFile):
    """What a prepared data set is.

    Attributes:
        name: A hash of the input and of all settings that change the rows.
        rules: Of reading and refusing rows, see `stored_pieces.RULES`.
        digest: Of the input.
        files: Names of its files.
        id_type: How token ids are stored.
        vocabulary_size: Token ids are below it; None where that was not kept.
        columns: Of the files of rows.
        num_specifiers: Floats of each token.
        target_names: Of several targets.
        label_name: Of a single label.
        summary: Of the rows.
        rejected: Rows that were left out, by the rule.
        parts: The files of rows, in order.
        sizes: Of the other files, in bytes.
    """

    LATEST_VERSION: ClassVar[int] = 2
    MOST_BYTES: ClassVar[int] = MOST_BYTES

    name: str
    rules: int | None = None
    digest: str = ""
    files: tuple[str, ...] = ()
    id_type: Literal["uint8", "uint16", "int32"]
    vocabulary_size: Count | None = None
    columns: tuple[str, ...]
    num_specifiers: int = Field(ge=0, le=MOST_SPECIFIERS)
    target_names: tuple[str, ...] = ()
    label_name: str = ""
    summary: Summary
    rejected: dict[str, Count] = Field(default_factory=dict)
    parts: tuple[Part, ...]
    sizes: dict[str, Count] = Field(default_factory=dict)


def remedy(location: str) -> str:
    """What to do where a prepared data set is damaged."""
    return f"remove the folder {location}, and it is made again"


def find_manifest(folder: Folder) -> PreparedManifest | None:
    """Read the manifest of a data set, and compare the sizes of its files; None without one.

    Of a remote data set only the manifest is read.

    Raises:
        DataError: It is damaged or contradicts itself, or a file has another size than it says.
    """
    origin, what_to_do = folder.address(MANIFEST), remedy(folder.location)
    try:
        written = folder.read(MANIFEST, MOST_BYTES)
    except DataError as error:
        raise DataError(f"{error}; {what_to_do}") from None
    if written is None:
        return None
    manifest = parse_record(written, origin, PreparedManifest, what_to_do)
    for problem in _contradictions(manifest):
        raise DataError(f"{origin}: damaged ({problem}); {what_to_do}")
    if folder.is_local:
        for name, size in sizes_of(manifest).items():
            address = folder.address(name)
            check_size(Path(address).expanduser(), size, address, what_to_do)
    return manifest


def sizes_of(manifest: PreparedManifest) -> dict[str, int | None]:
    """The size of each file beside a manifest, by its path in the folder, where it is known."""
    parts = {f"{ROWS}/{part.file}": part.bytes for part in manifest.parts}
    return {**parts, **manifest.sizes}


def check_size(path: Path, size: int | None, name: str, what_to_do: str) -> None:
    """Make sure that a file is there, and has the size that is told of it, if any is.

    Raises:
        DataError: It is not so; `name` is what the file is called there.
    """
    try:
        found = path.stat().st_size if path.is_file() else None
    except OSError:
        found = None
    if found is None:
        raise DataError(f"{name} is missing; {what_to_do}")
    if size is not None and found != size:
        raise DataError(f"{name} is damaged: it has {found:,} bytes, not {size:,}; {what_to_do}")


def _contradictions(manifest: PreparedManifest) -> Iterator[str]:
    """What in a manifest cannot be so, whatever the files beside it hold."""
    parts = manifest.parts
    for name in chain([manifest.name], (part.file for part in parts)):
        if not is_plain_name(name):
            yield f"{name[:40]!a} is no plain name of a file"
    if len({part.file for part in parts}) < len(parts):
        yield "a file of rows stands there twice"
    if not set(manifest.sizes) <= {PLACES, REJECTED}:
        yield "'sizes' names files that are not of a data set"
    if sum(part.rows for part in parts) != manifest.summary.rows:
        yield f"its files do not hold the {manifest.summary.rows} rows that it speaks of"
    yield from _wrong_columns(manifest)
    for part in parts:
        yield from _wrong_groups(part, needs_specifiers=manifest.num_specifiers > 0)


def _wrong_columns(manifest: PreparedManifest) -> Iterator[str]:
    columns = manifest.columns
    wanted = {*ALWAYS_COLUMNS, *(["specifiers"] if manifest.num_specifiers else [])}
    if not wanted <= set(columns) or len(set(columns)) < len(columns):
        yield "'columns' are not those of a data set"
    num_labels = sum(kind_of(name) == "label" for name in columns)
    if manifest.target_names and num_labels not in (0, len(manifest.target_names)):
        yield f"{num_labels} columns of labels, and {len(manifest.target_names)} names of targets"


def _wrong_groups(part: Part, *, needs_specifiers: bool) -> Iterator[str]:
    if sum(rows for rows, _, _ in part.groups) != part.rows:
        yield f"the row groups of {part.file} do not hold its {part.rows} rows"
    for _, tokens, specifiers in part.groups:
        starts = [tokens, specifiers] if needs_specifiers else [tokens]
        for start in starts:
            if start is None or not PREFIX_BYTES <= start < (part.bytes or 1 << 62):
                yield f"a row group of {part.file} begins outside the file"


class StoredPiece(SealedFile):
    """What is known of a stored piece of a preparation that goes on; see `PieceState`."""

    LATEST_VERSION: ClassVar[int] = 2
    MOST_BYTES: ClassVar[int] = MOST_BYTES

    piece: Count
    file: Count
    parts: tuple[Part, ...] = ()
    lengths: tuple[tuple[Count, Count], ...] = ()
    num_unknown: Count = 0
    unknown_texts: dict[str, Count] = Field(default_factory=dict)
    num_rejected: Count = 0
    gaps: dict[str, Count] = Field(default_factory=dict)
    letters: tuple[tuple[Count, Count], ...] = ()
