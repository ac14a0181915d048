"""Folders whose files are whole or absent."""

import pickle

import pytest

from biolm_ray.data.store import Folder
from biolm_ray.errors import ResourceError


@pytest.fixture(params=["path", "uri"])
def folder(request, tmp_path) -> Folder:
    """The same folder by its path and by a URI, which takes the way of remote ones."""
    path = tmp_path / "store"
    if request.param == "path":
        return Folder(path)
    path.mkdir()
    return Folder(path.as_uri())


def test_what_is_written_is_read_and_listed(folder):
    assert folder.names() == set()
    assert folder.read("a.bin") is None
    folder.write("a.bin", lambda file: file.write(b"abc"))
    (folder / "below").write("b.bin", lambda file: file.write(b"def"))
    assert folder.read("a.bin") == b"abc"
    assert folder.names() == {"a.bin"}
    assert pickle.loads(pickle.dumps(folder / "below")).read("b.bin") == b"def"
    assert (folder / "below").name == "below"


def test_a_file_that_could_not_be_filled_does_not_appear(folder):
    def fail(file):
        file.write(b"half of it")
        raise OSError("no space left on device")

    folder.write("kept.bin", lambda file: file.write(b"old"))
    for name in ("new.bin", "kept.bin"):
        with pytest.raises(ResourceError, match=f"{name} cannot be written: no space left"):
            folder.write(name, fail)
    assert folder.names() == {"kept.bin"}
    assert folder.read("kept.bin") == b"old"


def test_deleting_takes_what_is_below_and_may_find_nothing(folder):
    (folder / "below").write("b.bin", lambda file: file.write(b"def"))
    (folder / "below").delete()
    (folder / "below").delete()
    assert (folder / "below").read("b.bin") is None
