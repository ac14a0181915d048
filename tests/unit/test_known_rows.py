"""Rows that models were made with, found again in other data sets."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from stored import store

from biolm_ray.data.splits import Fold
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.files import write_json
from biolm_ray.inference.inputs import model_folders
from biolm_ray.inference.known_rows import (
    TESTED,
    TRAINED,
    UNKNOWN,
    VALIDATED,
    KnownRows,
    find_known_rows,
    tell_known_rows,
)
from biolm_ray.models.card import CARD_FILE
from biolm_ray.models.stored_weights import WEIGHTS_FILE
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_hashes import row_hashes
from biolm_ray.results.manifest import (
    FoldRecord,
    ModeRecord,
    file_digest,
    new_run,
    update_manifest,
    with_mode,
)
from biolm_ray.training.earlier_rows import find_earlier_rows, say_seen_before
from biolm_ray.training.outcome import DONE, files_of
from biolm_ray.training.trained_rows import save_rows

SEQUENCES = [[7, 8, 9], [9, 9], [7], [8, 7, 9, 9], [10], [11, 7]]
ALL = np.arange(len(SEQUENCES))


def write(
    folder: Path,
    sequences=SEQUENCES,
    ids: list[str] | None = None,
    labels=None,
    parts: list[int] | None = None,
    specifiers: np.ndarray | None = None,
) -> PreparedData:
    lengths = np.array([len(sequence) for sequence in sequences])
    tokens = np.concatenate(sequences).astype(np.uint8)
    return store(folder, parts or [len(lengths)], tokens, lengths, labels, specifiers, ids=ids)


def make_folds(folder: Path, prepared: PreparedData, tests=((0, 1), (2, 3), (4, 5))) -> list[Path]:
    """Folds as the reference makes them: the test set of the next one validates."""
    folders = [folder / str(number) for number in range(len(tests))]
    for number, path in enumerate(folders):
        path.mkdir(parents=True)
        test, validation = np.array(tests[number]), np.array(tests[(number + 1) % len(tests)])
        train = np.setdiff1d(ALL, [*test, *validation])
        save_rows(path, prepared, Fold(number, path.name, train, validation, test))
    return folders


def test_a_hash_tells_the_id_and_the_tokens_and_nothing_else(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain")
    hashes = row_hashes(plain, ALL)
    assert len(np.unique(hashes)) == 2 * len(ALL)
    labelled = write(tmp_path / "labelled", labels=ALL / 2.0, parts=[1, 3, 2])
    assert row_hashes(labelled, ALL[::-1]).tolist() == hashes[::-1].tolist()
    renamed = write(tmp_path / "renamed", ids=list("abcdef"))
    found = row_hashes(renamed, ALL)
    assert found[:, 1].tolist() == hashes[:, 1].tolist()
    assert not np.isin(found[:, 0], hashes[:, 0]).any()
    numbered = write(tmp_path / "numbered", specifiers=np.ones((13, 1), np.float32))
    assert not np.isin(row_hashes(numbered, ALL), hashes).any()


def test_rows_go_by_number_in_the_data_set_of_the_training(tmp_path: Path) -> None:
    prepared = write(tmp_path / "data", sequences=[[7]] * 6)
    folders = make_folds(tmp_path / "models", prepared)
    known = find_known_rows(folders, prepared, np.array([5, 0]))
    assert known.roles.T.tolist() == [[TRAINED, VALIDATED, TESTED], [TESTED, TRAINED, VALIDATED]]
    assert known.may_predict.T.tolist() == [[False, False, True], [True, False, False]]
    assert known.is_own


def test_rows_are_found_in_a_file_of_some_of_them_in_another_order(tmp_path: Path) -> None:
    folders = make_folds(tmp_path / "models", write(tmp_path / "data"))
    ids = ["new", "g3", "g0"]
    other = write(tmp_path / "other", sequences=[[7, 7, 7, 7], SEQUENCES[3], SEQUENCES[0]], ids=ids)
    known = find_known_rows(folders, other, np.arange(3))
    assert known.roles[:, 0].tolist() == [UNKNOWN] * 3
    assert known.roles[:, 1].tolist() == [VALIDATED, TESTED, TRAINED]
    assert known.may_predict.T.tolist() == [[True] * 3, [False, True, False], [True, False, False]]
    assert known.seen_by_some.tolist() == [False, True, True]
    assert not known.is_own


def test_a_row_of_another_name_goes_by_its_sequence(tmp_path: Path) -> None:
    folders = make_folds(tmp_path / "models", write(tmp_path / "data"))
    other = write(tmp_path / "other", ids=[f"renamed {row}" for row in ALL])
    own = find_known_rows(folders, write(tmp_path / "again", labels=ALL / 2.0), ALL)
    assert find_known_rows(folders, other, ALL).roles.tolist() == own.roles.tolist()


def test_a_row_known_by_name_is_not_taken_for_its_twin(tmp_path: Path) -> None:
    twins = [[7, 8], [9], [7, 8], [10], [11], [12]]
    folders = make_folds(tmp_path / "models", write(tmp_path / "data", twins))
    other = write(tmp_path / "other", twins, labels=ALL / 2.0)
    assert find_known_rows(folders, other, ALL).roles[:, 0].tolist() == [TESTED, TRAINED, VALIDATED]
    one = find_known_rows(folders[:1], other, np.array([0]))
    assert one.roles.tolist() == [[TESTED]]


def test_the_file_is_own_whatever_columns_are_read_of_it(tmp_path: Path) -> None:
    folders = make_folds(tmp_path / "models", write(tmp_path / "one" / "data"))
    labelled = write(tmp_path / "labelled", labels=ALL / 2.0)
    assert not find_known_rows(folders, labelled, ALL).is_own
    labelled.manifest["digest"] = "content of data"
    assert find_known_rows(folders, labelled, ALL).is_own
    others = write(tmp_path / "others", sequences=[[12, 12, row + 7] for row in ALL])
    others.manifest["digest"] = "content of data"
    assert not find_known_rows(folders, others, ALL).is_own


def test_a_row_that_all_models_have_seen_is_predicted_by_all_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = write(tmp_path / "data")
    (folder,) = make_folds(tmp_path / "models", prepared)[:1]
    known = find_known_rows([folder], prepared, ALL)
    assert known.may_predict.all()
    assert known.seen_by_all.tolist() == [False, False, True, True, True, True]
    tell_known_rows(known, "predicted")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "4 of 6 rows are among those that the model was trained or validated" in caplog.text


def test_models_that_do_not_tell_their_rows_are_told_and_take_all_rows_for_new(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "biolm_ray")
    prepared = write(tmp_path / "data")
    folders = make_folds(tmp_path / "models", prepared)
    kept = dict(np.load(folders[0] / "rows.npz"))
    (folders[1] / "rows.npz").unlink()
    old = {name: kept[name] for name in ("prepared", "train", "validation", "test")}
    np.savez(folders[0] / "rows.npz", **old)
    assert find_known_rows(folders[:1], prepared, ALL).roles[0, 0] == TESTED
    known = find_known_rows(folders[:2], write(tmp_path / "other"), ALL)
    assert (known.num_silent, known.is_own, known.may_predict.all()) == (2, False, True)
    tell_known_rows(known, "scored")
    assert "each of 2 models does not tell which rows it was trained on" in caplog.text


def test_what_is_told_counts_rows_and_models(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "biolm_ray")
    roles = np.array([[TRAINED, TESTED, UNKNOWN], [TESTED, TRAINED, UNKNOWN]], np.int8)
    tell_known_rows(KnownRows(roles, is_own=False, num_silent=0), "predicted")
    assert "2 of 3 rows are among those that some of the 2 models were" in caplog.text
    assert [record.levelname for record in caplog.records] == ["INFO"]


DAMAGES = {
    "empty": lambda whole: b"",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "no archive": lambda whole: b"PK" + whole[2:40],
    "one array": lambda whole: written(np.save, np.zeros(3)),
    "pickled": lambda whole: written(np.savez, train=np.array([{}], dtype=object)),
    "pickled alone": lambda whole: pickle.dumps({"train": [1]}),
    "no name": lambda whole: written(np.savez, train=np.zeros(3, np.int64)),
    "no numbers": lambda whole: written(np.savez, prepared="x", train=np.zeros(3)),
    "no hashes": lambda whole: written(np.savez, prepared="x", train_hashes=np.zeros((3, 2))),
    "packed": lambda whole: written(np.savez_compressed, **arrays(whole)),
    "a bomb": lambda whole: written(
        np.savez_compressed, **arrays(whole) | {"train": np.arange(1 << 20)}
    ),
    "a shape beyond the memory": lambda whole: with_shape(whole, (10**11,)),
    "a shape without end": lambda whole: with_shape(whole, (10**11, 10**11)),
    "a negative shape": lambda whole: with_shape(whole, (-1, -3)),
    "a nested type": lambda whole: with_shape(whole, (3,), "[" * 5000),
    "negative rows": lambda whole: with_array(whole, train=[-3, 1, 2]),
    "doubled rows": lambda whole: with_array(whole, train=[1, 1, 2]),
    "rows in no order": lambda whole: with_array(whole, train=[5, 4]),
    "rows that are no integers": lambda whole: with_array(whole, train=[4.0, 5.0]),
    "rows that are unsigned": lambda whole: with_array(whole, train=np.uint64([4, 5])),
    "rows of two axes": lambda whole: with_array(whole, train=[[4], [5]]),
    "rows beyond the data": lambda whole: with_array(whole, train=[4, 60]),
    "fewer hashes": lambda whole: with_array(whole, train_hashes=np.zeros((1, 2), np.uint64)),
    "signed hashes": lambda whole: with_array(whole, train_hashes=np.zeros((2, 2), np.int64)),
    "hashes of a part alone": lambda whole: written(
        np.savez, **{k: v for k, v in arrays(whole).items() if k != "test_hashes"}
    ),
    "a list of names": lambda whole: with_array(whole, prepared=["a", "b"]),
    "an endless name": lambda whole: with_array(whole, prepared="x" * 5000),
    "another array": lambda whole: with_array(whole, further=[1]),
    "a version that is none": lambda whole: with_array(whole, format_version=0),
}


def arrays(whole: bytes) -> dict[str, np.ndarray]:
    return dict(np.load(io.BytesIO(whole)))


def with_array(whole: bytes, **changes) -> bytes:
    changed = {name: np.array(value) for name, value in changes.items()}
    return written(np.savez, **arrays(whole) | changed)


def with_shape(whole: bytes, shape: tuple[int, ...], kind: str = "<i8") -> bytes:
    """An archive whose training rows claim another shape or type than their bytes have."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, array in arrays(whole).items():
            content = written(np.save, array)
            if name == "train":
                told = {"descr": kind, "fortran_order": False, "shape": shape}
                head = written(np.lib.format.write_array_header_1_0, told)
                content = head + bytes(24)
            file.writestr(f"{name}.npy", content)
    return archive.getvalue()


def written(write, *arrays, **named) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *arrays, **named)
    return buffer.getvalue()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_rows_are_refused_and_named(tmp_path: Path, damage) -> None:
    prepared = write(tmp_path / "data")
    (folder,) = make_folds(tmp_path / "models", prepared)[:1]
    path = folder / "rows.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"0/rows.npz: damaged .* it says which rows the model has"):
        find_known_rows([folder], prepared, ALL)


def test_rows_of_a_later_version_are_not_read(tmp_path: Path) -> None:
    prepared = write(tmp_path / "data")
    (folder,) = make_folds(tmp_path / "models", prepared)[:1]
    path = folder / "rows.npz"
    path.write_bytes(with_array(path.read_bytes(), format_version=2))
    with pytest.raises(DataError, match=r"later version of biolm_ray \(format 2.*update"):
        find_known_rows([folder], prepared, ALL)


@pytest.mark.parametrize("other", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_what_is_no_file_of_rows_is_not_waited_for(tmp_path: Path, other) -> None:
    prepared = write(tmp_path / "data")
    (folder,) = make_folds(tmp_path / "models", prepared)[:1]
    (folder / "rows.npz").unlink()
    other(folder / "rows.npz")
    with pytest.raises(DataError, match=r"rows\.npz: damaged \(it is no file\)"):
        find_known_rows([folder], prepared, ALL)


@pytest.mark.parametrize("in_manifest", [True, False])
def test_models_count_as_unfinished_where_their_rows_are_not_those_they_were_made_with(
    tmp_path: Path, in_manifest: bool
) -> None:
    folders = make_folds(tmp_path / "fine-tune", write(tmp_path / "data"))
    for folder in folders:
        (folder / WEIGHTS_FILE).write_bytes(b"weights")
        (folder / CARD_FILE).write_bytes(b"{}")
        names = (WEIGHTS_FILE, CARD_FILE, "rows.npz")
        files = {name: file_digest(folder / name).model_dump() for name in names}
        write_json(folder / DONE, {"metrics": {}, "files": files})
    record = ModeRecord(
        run=new_run("1", ""),
        folds=tuple(
            FoldRecord(
                name=folder.name,
                folder=f"fine-tune/{folder.name}",
                files=files_of(folder) if in_manifest else {},
            )
            for folder in folders
        ),
    )
    update_manifest(tmp_path, lambda manifest: with_mode(manifest, "fine-tune", record))
    assert model_folders(tmp_path) == folders
    first, second = (folder / "rows.npz" for folder in folders[:2])
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(whole)
    with pytest.raises(ConfigError, match=r"2 of 3 folds not finished .0, 1.: .*rows.npz has"):
        model_folders(tmp_path)
    first.unlink()
    with pytest.raises(ConfigError, match=r"the model not finished: .*rows.npz is missing"):
        model_folders(folders[0])


def write_child(folder: Path, parent: Path, prepared: PreparedData, fold: Fold) -> Path:
    folder.mkdir(parents=True)
    save_rows(folder, prepared, fold, find_earlier_rows(parent, prepared, fold))
    return folder


def test_rows_that_earlier_weights_have_seen_are_told_and_count_as_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = write(tmp_path / "data")
    parent, *_ = make_folds(tmp_path / "models", prepared)  # tested on rows 0 and 1
    fold = Fold(0, "0", np.array([0, 1]), np.array([2]), np.array([3, 4]))
    honest = Fold(1, "1", ALL[2:5], ALL[5:], ALL[:1])
    say_seen_before(parent, prepared, [fold, honest])
    assert "2 of 3 test rows are among those that the earlier weights of" in caplog.text
    assert "say nothing about new sequences" in caplog.text
    caplog.clear()
    say_seen_before(parent, prepared, [honest])
    say_seen_before(None, prepared, [fold])
    say_seen_before(tmp_path, prepared, [fold])
    assert not caplog.records

    child = write_child(tmp_path / "child", parent, prepared, fold)
    expected = [TRAINED, TRAINED, VALIDATED, TRAINED, TRAINED, TRAINED]
    grandchild = write_child(tmp_path / "grandchild", child, prepared, honest)
    renamed = write(tmp_path / "renamed", ids=[f"renamed {row}" for row in ALL])
    for data in (prepared, write(tmp_path / "again", labels=ALL / 2.0), renamed):
        assert find_known_rows([child], data, ALL).roles.tolist() == [expected]
        assert find_known_rows([grandchild], data, ALL).seen.all()


def test_rows_of_another_file_that_earlier_weights_have_seen_stay_seen(tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    parent, *_ = make_folds(tmp_path / "models", data)
    other = write(tmp_path / "other", [[12], [12, 12], SEQUENCES[5]], ids=["x", "y", "z"])
    fold = Fold(0, "0", np.array([0]), np.array([1]), np.array([2]))
    child = write_child(tmp_path / "child", parent, other, fold)
    assert find_known_rows([child], other, np.arange(3)).roles.tolist() == [
        [TRAINED, VALIDATED, TRAINED]
    ]
    seen = find_known_rows([child], data, ALL).seen
    assert seen.tolist() == [[False, False, True, True, True, True]]


def test_more_epochs_from_own_weights_add_no_rows(tmp_path: Path) -> None:
    prepared = write(tmp_path / "data")
    parent, *_ = make_folds(tmp_path / "models", prepared)
    fold = Fold(0, "0", ALL[4:], ALL[2:4], ALL[:2])
    before = find_known_rows([parent], prepared, ALL).roles.tolist()
    save_rows(parent, prepared, fold, find_earlier_rows(parent, prepared, fold))
    for data in (prepared, write(tmp_path / "again", labels=ALL / 2.0)):
        assert find_known_rows([parent], data, ALL).roles.tolist() == before
