"""The record of results: written and read again, and refused where it cannot be trusted."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from biolm_ray.errors import DataError
from biolm_ray.results.manifest import (
    KIND,
    MANIFEST,
    FoldRecord,
    Manifest,
    ModeRecord,
    TableRecord,
    file_digest,
    first_misfit,
    new_run,
    read_manifest,
    record_tables,
    results_of,
    update_manifest,
    with_mode,
    write_manifest,
)

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=timezone.utc)
RUN = new_run("0.1.0", "mode: fine-tune\n", NOW)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def manifest_of(output: Path) -> Manifest:
    weights = write(output / "fine-tune" / "0" / "model.safetensors", "weights")
    table = write(output / "fine-tune" / "out_of_fold.csv", "a,b\n")
    record = ModeRecord(
        run=RUN,
        folds=(
            FoldRecord(name="0", folder="fine-tune/0", files={weights.name: file_digest(weights)}),
            FoldRecord(name="1", folder="fine-tune/1"),
        ),
        tables=(TableRecord(path="fine-tune/out_of_fold.csv", digest=file_digest(table), run=RUN),),
    )
    return Manifest(modes={"fine-tune": record})


def test_a_run_has_a_name_of_its_own_and_knows_its_time_and_settings():
    other = new_run("0.1.0", "mode: fine-tune\n", NOW)
    assert RUN.started == "2026-03-01T09:30:00+00:00"
    assert RUN.settings == other.settings != new_run("0.1.0", "mode: tune\n", NOW).settings
    assert RUN.id != other.id


def test_what_is_written_is_read_again(tmp_path):
    manifest = manifest_of(tmp_path)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert read_manifest(tmp_path / "fine-tune") is None


def test_a_file_of_another_kind_is_no_manifest_and_is_never_written_over(tmp_path):
    write(tmp_path / MANIFEST, '{"format": 2, "parts": []}')
    assert read_manifest(tmp_path) is None
    with pytest.raises(DataError, match=r"manifest\.json is not the record of results"):
        update_manifest(tmp_path, lambda manifest: manifest)
    assert json.loads((tmp_path / MANIFEST).read_text()) == {"format": 2, "parts": []}


BAD_PATHS = ["/etc", "../other", "fine-tune/../..", ".", "", "a//b", "a/", "./a", "a\\b", "a\nb"]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_are_not_plain_are_refused(tmp_path, path):
    content = manifest_of(tmp_path).model_dump(mode="json")
    for change in (
        lambda record: record["folds"][0].update(folder=path),
        lambda record: record["folds"][0].update(
            files={path: record["folds"][0]["files"]["model.safetensors"]}
        ),
        lambda record: record["tables"][0].update(path=path),
        lambda record: record.update(replaced=path),
    ):
        changed = json.loads(json.dumps(content))
        change(changed["modes"]["fine-tune"])
        write(tmp_path / MANIFEST, json.dumps(changed))
        with pytest.raises(DataError, match="put back a copy of it, or remove it"):
            read_manifest(tmp_path)


@pytest.mark.parametrize("to", ["fine-tune", "replaced", "replaced/a/b", "replaced/.."])
def test_results_move_only_to_where_replaced_ones_lie(tmp_path, to):
    content = Manifest().model_dump(mode="json")
    moving = {"to": to, "paths": ["fine-tune"], "modes": {}, "remove": True}
    write(tmp_path / MANIFEST, json.dumps(content | {"moving": moving}))
    with pytest.raises(DataError, match=r"moving\.to"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda text: text[:-20], "not readable as JSON"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 0'), "damaged"),
        (lambda text: text.replace('"name"', '"nom"'), "damaged"),
        (lambda text: text.replace('"size": 7', '"size": -7'), "damaged"),
        (lambda text: text.replace("fine-tune/1", "fine-tune/0"), "damaged"),
        (lambda text: text.replace(KIND, "another kind"), "damaged .'kind'"),
        (lambda text: "[" * 100_000, "not readable as JSON"),
    ],
)
def test_a_damaged_manifest_is_told_with_what_to_do(tmp_path, damage, problem):
    write_manifest(tmp_path, manifest_of(tmp_path))
    path = tmp_path / MANIFEST
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=rf"manifest\.json: {problem}.* put back a copy"):
        read_manifest(tmp_path)


def test_a_manifest_of_the_first_version_is_read(tmp_path):
    manifest = manifest_of(tmp_path)
    values = manifest.model_dump(mode="json", exclude={"format_version"})
    write(tmp_path / MANIFEST, json.dumps({**values, "format": 1}))
    assert read_manifest(tmp_path) == manifest


def test_a_manifest_of_a_later_version_is_told(tmp_path):
    write(tmp_path / MANIFEST, json.dumps({"kind": KIND, "format_version": 2}))
    with pytest.raises(DataError, match=r"written by a later version .*; update biolm_ray"):
        read_manifest(tmp_path)


def test_a_file_that_cannot_be_read_does_not_fit(tmp_path, monkeypatch):
    files = {"a": file_digest(write(tmp_path / "a", "content"))}
    touched = tmp_path / "a"
    os.utime(touched, (1, 1))

    def refused(path, *arguments, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert first_misfit(tmp_path, files) == f"{touched} cannot be read (Permission denied)"


def test_tables_take_the_places_of_earlier_ones_at_the_same_path(tmp_path):
    weights = write(tmp_path / "elsewhere" / "model.safetensors", "weights")
    output = tmp_path / "out"
    first, second = (new_run("0.1.0", str(number), NOW) for number in (1, 2))
    paths = [write(output / "interpret" / name, name) for name in ("a.csv", "b.csv")]
    record_tables(output, "interpret", first, paths, [weights])
    write(paths[0], "another")
    record_tables(output, "interpret", second, paths[:1], [weights])
    manifest = read_manifest(output)
    assert manifest is not None
    tables = {table.path: table for table in manifest.modes["interpret"].tables}
    assert tables["interpret/a.csv"].run == second
    assert tables["interpret/b.csv"].run == first
    assert tables["interpret/a.csv"].digest == file_digest(paths[0])
    assert tables["interpret/a.csv"].models == (file_digest(weights).sha256,)


def test_a_mode_is_put_in_and_taken_out(tmp_path):
    manifest = with_mode(manifest_of(tmp_path), "tune", ModeRecord(run=RUN))
    assert set(manifest.modes) == {"fine-tune", "tune"}
    assert set(with_mode(manifest, "fine-tune", None).modes) == {"tune"}


def test_a_file_that_does_not_fit_is_named_with_what_is_wrong(tmp_path):
    files = {}
    for name in ("a", "b"):
        files[name] = file_digest(write(tmp_path / name, f"content {name}"))
    assert first_misfit(tmp_path, files) is None
    write(tmp_path / "b", "content c")
    assert first_misfit(tmp_path, files) == (
        f"{tmp_path / 'b'} has another content than when it was written"
    )
    write(tmp_path / "b", "content")
    assert first_misfit(tmp_path, files) == f"{tmp_path / 'b'} has 7 bytes in place of 9"
    (tmp_path / "a").unlink()
    assert first_misfit(tmp_path, files) == f"{tmp_path / 'a'} is missing"


def test_results_find_the_folder_they_belong_to(tmp_path):
    write_manifest(tmp_path, manifest_of(tmp_path))
    for path in ("", "fine-tune", "fine-tune/0", "fine-tune/0/model.safetensors"):
        found = results_of(tmp_path / path)
        assert found is not None
        assert found[0] == tmp_path
    assert results_of(tmp_path / "a" / "b" / "c" / "d") is None
