"""Whatever befalls prepared data: they are made again, or one sentence names what is damaged."""

import json
import logging
from itertools import islice

import numpy as np
import pyarrow.parquet as pq
import pytest
from damaged import OTHER, SENTENCE, UNCHANGED, outcomes
from prepared_folders import (
    LINES,
    config_of,
    damages_of,
    data_folder,
    found_before,
    older_manifest,
    opened,
    prepared_again,
    read_all,
)

from biolm_ray.data.reading import plan_input
from biolm_ray.data.store import Folder
from biolm_ray.errors import DataError
from biolm_ray.preparation.manifest import MANIFEST, PLACES, ROWS
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.scanning import scan_input
from biolm_ray.preparation.stored_pieces import STATE, PieceState, PieceWriter, stored_pieces

USES = {
    "opened by a worker": (opened, lambda folder: folder, 120),
    "found by the next run": (found_before, lambda folder: folder, 25),
    "from before sizes were kept": (opened, older_manifest, 120),
}
"""What the folder is used for, what it is made into, and about how many damages are tried."""


@pytest.fixture
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", list(USES))
def test_damaged_prepared_data_end_in_a_sentence_or_in_the_same_rows(tmp_path, name):
    use, change, about = USES[name]
    prepared_again(tmp_path / "whole")
    whole = change(tmp_path / "whole")
    every = list(damages_of(whole))
    some = islice(every, list(USES).index(name), None, len(every) // about)
    wrong = [
        f"{damage.name[:120]!a}: {found.kind} {found.told!a}"
        for damage, found in outcomes(some, whole, tmp_path / "place", use)
        if found.kind not in (SENTENCE, UNCHANGED, *([OTHER] if damage.is_edit else []))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def whole(tmp_path):
    prepared_again(tmp_path)
    return tmp_path


def test_the_manifest_tells_its_version_and_the_sizes_of_all_files(whole):
    folder = data_folder(whole)
    written = json.loads((folder / MANIFEST).read_text())
    assert written["format_version"] == 2
    assert written["vocabulary_size"] == 11
    (part,) = written["parts"]
    assert part["bytes"] == (folder / ROWS / part["file"]).stat().st_size
    assert written["sizes"] == {
        path.name: path.stat().st_size
        for path in folder.iterdir()
        if path.is_file() and path.name != MANIFEST
    }


def test_a_file_of_rows_cut_short_is_found_when_the_data_are_opened(whole):
    (part,) = (data_folder(whole) / ROWS).iterdir()
    size = part.stat().st_size
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(DataError, match=rf"{part.name} is damaged: it has .* not {size:,}; remove"):
        PreparedData.open(data_folder(whole))


def test_damaged_data_are_told_and_prepared_again_by_the_next_run(whole, caplog):
    expected = read_all(prepared_again(whole))
    folder = data_folder(whole)
    (folder / PLACES).unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        found = prepared_again(whole)
    assert f"{folder / PLACES} is missing. It is removed and prepared again" in caplog.text
    np.testing.assert_equal(read_all(found), expected)


def test_data_of_a_later_version_are_neither_read_nor_removed(whole):
    path = data_folder(whole) / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 7}))
    for use in (prepared_again, opened):
        with pytest.raises(DataError, match=r"later version of biolm_ray \(format 7.*; update"):
            use(whole)
    assert path.exists()


def test_data_from_before_versions_are_used_as_they_are(whole, caplog):
    expected = opened(whole)
    older_manifest(whole)
    written = (data_folder(whole) / MANIFEST).read_bytes()
    with caplog.at_level(logging.INFO):
        np.testing.assert_equal(found_before(whole), expected)
    assert "prepared before" in caplog.text
    assert (data_folder(whole) / MANIFEST).read_bytes() == written


def _scans(folder):
    plan = plan_input(config_of(folder).data, "number")
    memory = Folder(folder / "scans")
    return plan, memory, scan_input(plan, memory)


@pytest.mark.parametrize(
    "content", [b"", b"[{}]", b"[]", b'{"scans": []}', b"[" * 10_000, b'[{"digest": 3}]']
)
def test_a_damaged_scan_is_told_and_made_again(tmp_path, monkeypatch, caplog, content):
    monkeypatch.setattr("biolm_ray.preparation.scanning.SETTLED_SECONDS", -1.0)
    plan, memory, expected = _scans(tmp_path)
    (path,) = (tmp_path / "scans").iterdir()
    path.write_bytes(content)
    assert scan_input(plan, memory) == expected
    assert f"{path}: " in caplog.text
    assert "it is made again" in caplog.text
    caplog.clear()
    assert scan_input(plan, memory) == expected
    assert not caplog.text


def test_a_scan_from_before_versions_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("biolm_ray.preparation.scanning.SETTLED_SECONDS", -1.0)
    plan, memory, expected = _scans(tmp_path)
    (path,) = (tmp_path / "scans").iterdir()
    written = json.loads(path.read_text())
    assert written["format_version"] == 2
    path.write_text(json.dumps(written["scans"]))
    assert scan_input(plan, memory) == expected
    assert isinstance(json.loads(path.read_text()), list)


def test_damaged_pieces_of_a_broken_off_preparation_are_told_and_made_again(tmp_path, caplog):
    target = Folder(tmp_path / "data")
    for piece in range(5):
        PieceWriter(target, PieceState(piece, 0), hashed=False).close()
    state = tmp_path / "data" / STATE
    assert sorted(stored_pieces(target, 5)) == [0, 1, 2, 3, 4]
    (state / "000001.json").write_bytes(b"{")
    (state / "000002.json").write_bytes((state / "000003.json").read_bytes())
    record = json.loads((state / "000004.json").read_text())
    record["parts"] = [{"file": "lost.parquet", "rows": 1, "groups": [[1, 9, None]], "bytes": 9}]
    for key in ("format_version", "seal"):
        del record[key]
    (state / "000004.json").write_text(json.dumps(record))
    (state / "notes.json").write_text("of somebody")
    assert sorted(stored_pieces(target, 5)) == [0, 3]
    assert caplog.text.count("read and stored again") == 3


def test_rows_whose_identifier_repeats_are_left_out_and_the_others_keep_their_places(tmp_path):
    source = tmp_path / "rows.tsv"
    source.write_text(LINES + LINES.splitlines(keepends=True)[3])
    prepared = prepared_again(tmp_path)
    assert prepared.place(11) == (0, 12)
    assert prepared.rejected()["line"].to_pylist() == [13]


def test_token_ids_beyond_the_vocabulary_are_told_and_no_model_sees_them(whole):
    folder = data_folder(whole)
    (part,) = (folder / ROWS).iterdir()
    prepared = PreparedData.open(folder)
    first = prepared.token_ids(0).astype(np.uint8).tobytes()
    part.write_bytes(part.read_bytes().replace(first, b"\xfe" * len(first)))
    assert pq.read_table(part).num_rows == prepared.num_rows
    with pytest.raises(DataError, match=r"token id 254, and the vocabulary has 11 tokens"):
        PreparedData.open(folder).token_ids(0)


def test_what_the_manifest_tells_is_given_as_it_is_written(whole):
    prepared = PreparedData.open(data_folder(whole))
    assert prepared.manifest["files"] == ["rows.tsv"]
    assert prepared.manifest == json.loads((data_folder(whole) / MANIFEST).read_text())
