"""Paths that mean the same in every process of a run."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from biolm_ray.config.schema import MODES, Config, DataConfig


class Compression(NamedTuple):
    """How a file may be compressed.

    Attributes:
        ending: Of the names of such files, usually; what they are is told by their first bytes.
        magic: Their first bytes.
        command: That decompresses one.
    """

    name: str
    ending: str
    magic: bytes
    command: str


COMPRESSIONS = (
    Compression("gzip", ".gz", b"\x1f\x8b", "gzip -d {name}"),
    Compression("bz2", ".bz2", b"BZh", "bzip2 -d {name}"),
    Compression("xz", ".xz", b"\xfd7zXZ\x00", "xz -d {name}"),
    Compression("zstd", ".zst", b"\x28\xb5\x2f\xfd", "zstd -d {name}"),
)
"""All compressions that are read; each is recognised by content, whatever a file is called."""
FASTA_ENDINGS = (".fasta", ".fa", ".fas", ".fsa", ".fna", ".faa", ".ffn", ".frn")
FASTQ_ENDINGS = (".fastq", ".fq")


def without_compression_ending(name: str) -> str:
    """Return the name of a file without the ending of its compression, if it has one."""
    endings = (known.ending for known in COMPRESSIONS if name.lower().endswith(known.ending))
    return name[: -len(next(endings, "")) or None]


def uri_scheme(path: str) -> str | None:
    """The scheme of a URI such as s3://bucket/file, in small letters; None for a local path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return match[1].lower() if match else None


def is_uri(path: str) -> bool:
    """Tell s3://bucket/file and the like from a path of this machine."""
    return uri_scheme(path) is not None


def absolute(path: str) -> str:
    """Make a path absolute, expanding ~; a URI stays as it is."""
    # Not Path.resolve: a shared folder may be a link that leads elsewhere on other nodes.
    return path if is_uri(path) else os.path.abspath(Path(path).expanduser())  # noqa: PTH100


def with_absolute_paths(config: Config) -> Config:
    """Make every path of a configuration absolute; workers run in folders of their own.

    A plugin given as a module name, and a model that is no folder here, stay as they are.
    """
    model, interpret = config.model, config.interpret
    bed = interpret.coordinates
    changes = {}
    if model.pretrained and Path(model.pretrained).expanduser().exists():
        changes["pretrained"] = absolute(model.pretrained)
    if model.plugin and model.plugin.endswith(".py"):
        changes["plugin"] = absolute(model.plugin)
    return config.model_copy(
        update={
            "output_path": absolute(config.output_path),
            "data": config.data.model_copy(update=_data_paths(config.data)),
            "model": model.model_copy(update=changes),
            "interpret": interpret.model_copy(
                update={"coordinates": bed and absolute(bed)},
            ),
        }
    )


def results_around(file: Path) -> Path | None:
    """The folder of an experiment, of one of its modes or of a model that a file lies in, or None.

    What tells it is a folder named as a mode, or weights.
    """
    marks = (*MODES, "model.safetensors", "pytorch_model.bin")
    for folder in (*Path(absolute(str(file))).parents, *file.resolve().parents):
        if folder.name in MODES or any((folder / mark).exists() for mark in marks):
            return folder
    return None


def _data_paths(data: DataConfig) -> dict[str, str | tuple[str, ...] | None]:
    paths = tuple(absolute(path) for path in data.paths)
    return {
        "path": paths[0] if isinstance(data.path, str) else paths,
        "prepared_path": absolute(data.prepared_path) if data.prepared_path else None,
    }
