"""Paths that mean the same in every process of a run."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from biolm_ray.config.schema import MODES, Config, DataConfig
from biolm_ray.errors import ConfigError
from biolm_ray.logs import has_control_characters


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
STANDARD_INPUT = ("-", "/dev/stdin")
OPEN_FILES = ("/dev/fd/", "/proc/self/")
"""Where a system shows each process what it has opened; workers are processes of their own."""
FASTA_ENDINGS = (".fasta", ".fa", ".fas", ".fsa", ".fna", ".faa", ".ffn", ".frn")
FASTQ_ENDINGS = (".fastq", ".fq")
DATA_ENDINGS = (
    *(".tsv", ".csv", ".txt", ".tab", ".jsonl", ".ndjson", ".parquet"),
    *FASTA_ENDINGS,
    *FASTQ_ENDINGS,
)
"""Of the names of data files, usually; none of them decides how a file is read."""
CONFIG_ENDINGS = (".yaml", ".yml")


def without_compression_ending(name: str) -> str:
    """Return the name of a file without the ending of its compression, if it has one."""
    endings = (known.ending for known in COMPRESSIONS if name.lower().endswith(known.ending))
    return name[: -len(next(endings, "")) or None]


PATHS = ("data.path", "model.pretrained", "model.plugin", "interpret.coordinates")
"""The settings that name files and folders which are read."""


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


def default_output(data_path: str | tuple[str, ...]) -> str | None:
    """Where results go if no folder is named: the path of the data file without its suffix.

    Nor that of its compression. None where that is no folder: for several files, for an address,
    and for a name without a suffix.
    """
    if not isinstance(data_path, str) or is_uri(data_path):
        return None
    stem = without_compression_ending(data_path)
    folder, slash, name = stem.rpartition("/")
    stem = f"{folder}{slash}{Path(name).stem}"
    return None if stem == data_path or any(sign in data_path for sign in "*?[") else stem


def path_problems(config: Config) -> Iterator[tuple[str, str]]:
    """Find settings whose paths can lead nowhere on this machine, with what to do about each."""
    model = config.model
    local = {"output_path": config.output_path, "model.pretrained": model.pretrained}
    local |= {"model.plugin": model.plugin, "interpret.coordinates": config.interpret.coordinates}
    remote = [("data.path", path) for path in config.data.paths]
    remote.append(("data.prepared_path", config.data.prepared_path or ""))
    for name, path in (*remote, *((name, path or "") for name, path in local.items())):
        if is_uri(path) and name in local:
            yield name, f"{path} is an address, but {_wanted_place(name, path)}"
        elif "\0" in path or (name == "output_path" and has_control_characters(path)):
            yield name, f"{path!r} holds characters that no path should hold; choose another"
        elif path in STANDARD_INPUT or path.startswith(OPEN_FILES):
            yield name, f"{path} stands for what this process alone can read: save it to a file"
        elif path.startswith("~") and _home(path) is None:
            user = path.partition("/")[0]
            yield name, f"{user} is the home folder of nobody here; write the folder's path out"


def _wanted_place(name: str, path: str) -> str:
    if uri_scheme(path) == "file":
        return f"a path is wanted here: {path.partition('://')[2]}"
    if name == "output_path":
        return "results go to a folder that this machine sees (for now): give its path"
    return "a path of this machine is wanted here: download it first, and give the path to it"


def _home(path: str) -> Path | None:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or no home folder
        return None


def with_absolute_paths(config: Config) -> Config:
    """Make every path of a configuration absolute; workers run in folders of their own.

    A plugin given as a module name, and a model that is no folder here, stay as they are.

    Raises:
        ConfigError: A path can lead nowhere on this machine.
    """
    for name, problem in path_problems(config):
        raise ConfigError(f"{name}: {problem}")
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
