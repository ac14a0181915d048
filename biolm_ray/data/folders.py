"""Which files a path stands for: the file itself, those of a folder, or those of a pattern."""

import fnmatch
import json
import stat
from pathlib import Path
from typing import NamedTuple

from pyarrow import fs

from biolm_ray.config.paths import is_uri
from biolm_ray.config.spelling import did_you_mean
from biolm_ray.data.filesystems import locate
from biolm_ray.errors import DataError
from biolm_ray.files import is_of_kernel, is_plain_name


class FoundFile(NamedTuple):
    """A file below a path of the configuration.

    Attributes:
        path: Local path or URI.
        filesystem: Where it lies; `info.path` is its path there.
        info: Its size and time.
        in_dataset: Whether it belongs to a folder that `datasets` saved.
        split: The split of a dataset dictionary that it belongs to.
    """

    path: str
    filesystem: fs.FileSystem
    info: fs.FileInfo
    in_dataset: bool = False
    split: str | None = None


def expand(path: str) -> list[FoundFile]:
    """The files a path stands for, in order of their names.

    Raises:
        ConfigError: The scheme of a URI is unknown.
        DataError: There is no such file, or the folder or pattern has none.
        OSError: The place cannot be read.
    """
    filesystem, inner = locate(path)
    info = filesystem.get_file_info(inner)
    if info.type == fs.FileType.Directory:
        return _files_of_folder(path, filesystem, inner.rstrip("/"))
    if info.type == fs.FileType.Unknown:
        raise DataError(f"{path} {_name_special(inner)}")
    if info.type != fs.FileType.NotFound:
        _refuse_of_kernel(path, filesystem, inner)
        return [FoundFile(path, filesystem, info)]
    if not _is_pattern(_without_query(path)[0]):
        raise DataError(f"{path} {_name_missing(path)}")
    found = _matches(filesystem, inner)
    if not found:
        raise DataError(f"no file matches {path}")
    return [FoundFile(_full_path(path, inner, entry), filesystem, entry) for entry in found]


def _refuse_of_kernel(path: str, filesystem: fs.FileSystem, inner: str) -> None:
    """Refuse what looks like a file and is not: opening it may wait for good, deaf to signals."""
    if isinstance(filesystem, fs.LocalFileSystem) and is_of_kernel(Path(inner)):
        raise DataError(f"{path} is no file of data, but a view of the running system")


def _name_special(path: str) -> str:
    """Say what a path leads to that is neither a file nor a folder; it is not opened for that."""
    mode = Path(path).stat().st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return (
            "is a pipe, which can be read once only, and data are read several times, from several "
            "processes: save it to a file first, and give that"
        )
    return "is a device, not a file of data"


def _files_of_folder(path: str, filesystem: fs.FileSystem, folder: str) -> list[FoundFile]:
    entries = _list_folder(filesystem, folder)
    names = {entry.base_name for entry in entries}
    if "dataset_dict.json" in names:
        splits = _read_json(filesystem, f"{folder}/dataset_dict.json", "splits")
        _check_names(splits, f"{folder}/dataset_dict.json")
        return [
            file
            for split in splits
            for file in _saved_dataset(path, filesystem, folder, f"{folder}/{split}", split)
        ]
    if "state.json" in names:
        return _saved_dataset(path, filesystem, folder, folder, None)
    files = [entry for entry in entries if entry.type == fs.FileType.File]
    if not files:
        raise DataError(f"{path} is a folder without data files")
    return [FoundFile(_full_path(path, folder, entry), filesystem, entry) for entry in files]


def _saved_dataset(
    path: str, filesystem: fs.FileSystem, root: str, folder: str, split: str | None
) -> list[FoundFile]:
    """The arrow files of a folder that `save_to_disk` of the library `datasets` wrote."""
    files = _read_json(filesystem, f"{folder}/state.json", "_data_files")
    names = [file.get("filename") if isinstance(file, dict) else file for file in files]
    _check_names(names, f"{folder}/state.json")
    infos = filesystem.get_file_info([f"{folder}/{name}" for name in names])
    for info in infos:
        if info.type != fs.FileType.File:
            raise DataError(f"{info.path} does not exist, but state.json beside it names it")
    return [
        FoundFile(_full_path(path, root, info), filesystem, info, True, split) for info in infos
    ]


def _read_json(filesystem: fs.FileSystem, inner: str, key: str) -> list:
    with filesystem.open_input_stream(inner, compression=None) as stream:
        content = stream.read()
    try:
        return list(json.loads(content)[key])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{inner} is not as datasets writes it: it has no list '{key}'") from error


def _check_names(names: list, origin: str) -> None:
    """Refuse what would lead out of a folder that one was sent."""
    for name in names:
        if not is_plain_name(name):
            raise DataError(f"{origin}: {name!r} is no plain name of what lies beside it")


def _matches(filesystem: fs.FileSystem, pattern: str) -> list[fs.FileInfo]:
    """The files that match a pattern, by name; a `*` stays within one folder."""
    names = pattern.split("/")
    folders = [names[0] or "/"] if not _is_pattern(names[0]) else ["."]
    names = names[1:] if folders != ["."] else names
    found: list[fs.FileInfo] = []
    for name in names:
        if _is_pattern(name):
            listed = [entry for folder in folders for entry in _list_folder(filesystem, folder)]
            found = [entry for entry in listed if fnmatch.fnmatchcase(entry.base_name, name)]
        else:
            found = filesystem.get_file_info([f"{folder.rstrip('/')}/{name}" for folder in folders])
        folders = [entry.path for entry in found if entry.type == fs.FileType.Directory]
    return [entry for entry in found if entry.type == fs.FileType.File]


def _is_pattern(text: str) -> bool:
    return any(letter in text for letter in "*?[")


def _list_folder(filesystem: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    """What lies in a folder, by name, without what is hidden or marks a finished job."""
    entries = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    entries = [entry for entry in entries if entry.base_name[:1] not in (".", "_")]
    return sorted(entries, key=lambda entry: entry.base_name)


def _full_path(path: str, inner: str, entry: fs.FileInfo) -> str:
    """The path or URI of a file found below `inner`, which is where `path` leads."""
    if not is_uri(path):
        return entry.path
    plain, query = _without_query(path)
    return plain.rstrip("/").removesuffix(inner.rstrip("/")) + entry.path + query


def _without_query(path: str) -> tuple[str, str]:
    """A URI and its options: in a URI, a question mark begins these."""
    plain, mark, query = path.partition("?") if is_uri(path) else (path, "", "")
    return plain, mark + query


def _name_missing(path: str) -> str:
    """Say of a path that leads to nothing what there is, or is near it in the same folder."""
    if is_uri(path):
        return "does not exist"
    link = Path(path).expanduser()
    if link.is_symlink():
        return f"is a link to {link.readlink()}, {_where_it_ends(link)}"
    return f"does not exist{_nearest(path)}"


def _where_it_ends(link: Path) -> str:
    try:
        link.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError of a loop before Python 3.13
        if isinstance(error, FileNotFoundError):
            return "which does not exist"
    return "which leads back to itself"


def _nearest(path: str) -> str:
    """A hint at a file of a similar name in the same folder."""
    folder = Path(path).expanduser().parent
    if not folder.is_dir():
        return f" (nor does the folder {folder})"
    names = [entry.name for entry in folder.iterdir()]
    return did_you_mean(Path(path).name, names, cutoff=0.8)
