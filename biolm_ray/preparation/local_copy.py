"""The copy of a remote prepared data set on this node."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError, ResourceError
from biolm_ray.preparation.manifest import (
    MANIFEST,
    PLACES,
    REJECTED,
    ROWS,
    check_size,
    remedy,
)


def cache_folder() -> Path:
    """The folder of this user for copies of remote data sets, which nobody else can write to.

    Raises:
        ResourceError: Somebody else has made it, and could change what is read from it.
    """
    cache = Path(tempfile.gettempdir()) / f"biolm_ray-{os.getuid()}"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = cache.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ResourceError(
            f"{cache} is not a folder that only you can write to, so others could change the data "
            "that are read from it; remove it, or set TMPDIR to a folder of your own"
        )
    cache.chmod(0o700)
    return cache


def local_copy(folder: Folder, manifest: dict[str, Any]) -> Path:
    """Copy a remote data set to this node, once; several processes may ask at the same time."""
    cache = cache_folder()
    # The name is as the manifest says; another place may say the same of other data.
    place = json.dumps([folder.location, manifest], sort_keys=True)
    copy = cache / f"{manifest['name']}-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    if copy.exists():
        return copy
    parts = {f"{ROWS}/{part['file']}": part["bytes"] for part in manifest["parts"]}
    sizes = {MANIFEST: None, PLACES: None, **parts, **manifest["sizes"]}
    if manifest["rejected"]:
        sizes.setdefault(REJECTED, None)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        for name, size in sizes.items():
            _copy_file(folder, name, size, Path(temporary) / "copy" / name)
        try:
            (Path(temporary) / "copy").rename(copy)
        except OSError:
            if not copy.exists():
                raise
    return copy


def _copy_file(folder: Folder, name: str, size: int | None, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with folder.open(name) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except FileNotFoundError:
        raise DataError(f"{folder.address(name)} is missing; {remedy(folder.location)}") from None
    check_size(target, size, folder.address(name), remedy(folder.location))
