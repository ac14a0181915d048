"""Files that are whole or absent."""

import errno
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from biolm_ray.errors import DataError, ResourceError
from biolm_ray.files import atomic_path, swapped_files, swapped_folder


def write_a_file(path):
    path.write_text("")


def test_a_file_whose_writing_fails_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("whole")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ResourceError):
        write_half()
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_is_swapped_as_a_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "tables"
    with swapped_folder(folder) as new:
        (new / "regions.csv").write_text("old")
        (new / "plots").mkdir()
        (new / "plots" / "1.png").write_text("old")
    before = contents(tmp_path)

    def write_half() -> None:
        with swapped_folder(folder) as new:
            (new / "tokens.csv").write_text("half")
            raise DataError("line 3")

    with pytest.raises(DataError):
        write_half()
    assert contents(tmp_path) == before
    with swapped_folder(folder) as new:
        (new / "tokens.csv").write_text("new")
        assert contents(folder) == {"regions.csv": "old", "plots/1.png": "old"}
    assert contents(tmp_path) == {"tables/tokens.csv": "new"}


def test_files_of_an_earlier_run_go_when_their_successors_are_whole(tmp_path):
    for name in ("a_results.json", "b_results.json", "config.yaml"):
        (tmp_path / name).write_text("old")
    before = contents(tmp_path)

    def write_half() -> None:
        with swapped_files(tmp_path, ["*_results.json"]) as new:
            (new / "b_results.json").write_text("half")
            raise DataError("line 3")

    with pytest.raises(DataError):
        write_half()
    assert contents(tmp_path) == before
    with swapped_files(tmp_path, ["*_results.json"]) as new:
        (new / "b_results.json").write_text("new")
    assert contents(tmp_path) == {"b_results.json": "new", "config.yaml": "old"}


@pytest.mark.parametrize("number", range(5))
def test_files_that_cannot_all_be_moved_leave_the_earlier_ones(tmp_path, monkeypatch, number):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("old")
    before, calls = contents(tmp_path), iter(range(9))
    replace = os.replace

    def replace_or_fail(source, target) -> None:
        if next(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    def swap() -> None:
        with swapped_files(tmp_path, ["*.csv"]) as new:
            for name in ("a.csv", "c.csv", "d.json"):
                (new / name).write_text("new")
            monkeypatch.setattr(os, "replace", replace_or_fail)

    with pytest.raises(ResourceError, match="no space is left"):
        swap()
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_have_the_mode_that_the_umask_gives_whatever_wrote_them(tmp_path, umask, mode):
    tensors = {"a": torch.zeros(2)}
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "model.safetensors") as path:
            save_file(tensors, path)
        with swapped_folder(tmp_path / "checkpoint") as folder:
            (folder / "below").mkdir()
            save_file(tensors, folder / "below" / "model.safetensors")
        with swapped_files(tmp_path, ["*.new"]) as folder:
            save_file(tensors, folder / "one.new")
            (folder / "two.new").write_text("x")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}


@pytest.mark.parametrize(("make", "kind"), [(os.mkfifo, "a pipe"), (write_a_file, "a file")])
def test_what_is_in_the_place_of_a_folder_is_named(tmp_path, make, kind):
    make(tmp_path / "scans")
    told = rf"scans is {kind}, but a folder belongs there"
    with pytest.raises(ResourceError, match=told), atomic_path(tmp_path / "scans" / "a" / "b.json"):
        pass
