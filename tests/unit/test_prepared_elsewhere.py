"""A prepared data set that comes from elsewhere leads nowhere else, and its copy is one's own."""

import json
import os
import stat
import tempfile

import pytest
from stored import store_rows

from biolm_ray.data.folders import expand
from biolm_ray.errors import DataError, ResourceError
from biolm_ray.files import is_plain_name
from biolm_ray.preparation import local_copy
from biolm_ray.preparation.local_copy import cache_folder
from biolm_ray.preparation.manifest import MANIFEST, PLACES
from biolm_ray.preparation.prepared import PreparedData

LEADING_ELSEWHERE = ("../../x.parquet", "/etc/passwd", "..", "", "a/b", "a\\b", "x\n", 3, None)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_remote_data_set_is_copied_to_a_folder_of_ones_own(tmp_path, temporary):
    local = store_rows(tmp_path / "data", [3, 4])
    (tmp_path / "data" / PLACES).touch()
    remote = PreparedData.open(f"file://{tmp_path / 'data'}")
    assert remote.part_paths()[0].startswith(str(temporary))
    assert [remote.token_ids(row).tolist() for row in range(7)] == [
        local.token_ids(row).tolist() for row in range(7)
    ]
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700


@pytest.mark.parametrize("name", LEADING_ELSEWHERE)
def test_names_in_a_manifest_that_lead_elsewhere_are_refused(tmp_path, temporary, name):
    store_rows(tmp_path / "data", [3])
    path = tmp_path / "data" / MANIFEST
    whole = json.loads(path.read_text())
    part = {**whole["parts"][0], "file": name}
    for change in ({"name": name}, {"parts": [part]}):
        path.write_text(json.dumps({**whole, **change}))
        for location in (tmp_path / "data", f"file://{tmp_path / 'data'}"):
            with pytest.raises(DataError, match=r"is no plain name|should be a valid"):
                PreparedData.open(location)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "x"}', "[" * 100_000])
def test_a_damaged_manifest_is_named(tmp_path, content):
    store_rows(tmp_path / "data", [3])
    (tmp_path / "data" / MANIFEST).write_text(content)
    with pytest.raises(DataError, match=r"json: .*(not readable|damaged).*; remove the folder"):
        PreparedData.open(tmp_path / "data")


def test_data_of_the_same_name_from_another_place_have_a_copy_of_their_own(tmp_path, temporary):
    paths = []
    for place in "ab":
        store_rows(tmp_path / place / "data", [3])
        (tmp_path / place / "data" / PLACES).touch()
        paths += PreparedData.open(f"file://{tmp_path / place / 'data'}").part_paths()
    assert len(set(paths)) == 2


def test_a_cache_that_others_can_write_to_is_refused(temporary):
    cache = temporary / f"biolm_ray-{os.getuid()}"
    cache.mkdir(mode=0o700)
    cache.chmod(0o777)
    with pytest.raises(ResourceError, match=r"only you can write to.*remove it, or set TMPDIR"):
        cache_folder()
    cache.chmod(0o755)
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700


def test_a_cache_of_another_owner_or_a_link_is_refused(temporary, monkeypatch):
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    cache = temporary / f"biolm_ray-{os.getuid()}"
    cache.symlink_to(elsewhere)
    with pytest.raises(ResourceError, match="only you can write to"):
        cache_folder()
    cache.unlink()
    monkeypatch.setattr(local_copy.os, "getuid", lambda: 4711)
    with pytest.raises(ResourceError, match="biolm_ray-4711 is not a folder that only you"):
        cache_folder()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("state.json", {"_data_files": [{"filename": "../secret.arrow"}]}),
        ("state.json", {"_data_files": [{"filename": "/etc/passwd"}]}),
        ("dataset_dict.json", {"splits": ["../.."]}),
    ],
)
def test_a_saved_data_set_that_leads_elsewhere_is_refused(tmp_path, file, content):
    (tmp_path / "saved").mkdir()
    (tmp_path / "secret.arrow").touch()
    (tmp_path / "saved" / file).write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"{file}: .* is no plain name"):
        expand(str(tmp_path / "saved"))


def test_plain_names_are_plain():
    assert all(map(is_plain_name, ("part-0.parquet", "train", "..x", "ä b")))


def test_a_remote_file_of_another_size_than_was_written_is_not_copied(tmp_path, temporary):
    folder = tmp_path / "data"
    store_rows(folder, [3])
    (folder / PLACES).touch()
    path = folder / MANIFEST
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "parts": [{**whole["parts"][0], "bytes": 5000}]}))
    with pytest.raises(DataError, match=r"part-0.parquet is damaged: it has .* not 5,000; remove"):
        PreparedData.open(f"file://{folder}").part_paths()
    (folder / PLACES).unlink()
    path.write_text(json.dumps(whole))
    with pytest.raises(DataError, match=r"places.parquet is missing; remove"):
        PreparedData.open(f"file://{folder}").part_paths()
    assert not list(cache_folder().iterdir())
