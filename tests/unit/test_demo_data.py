import csv
import threading
from pathlib import Path

import numpy as np
import pytest

from biolm_ray.demo.data import DemoTruth, attainable_correlation, read_rows, write_demo_data
from biolm_ray.demo.transcripts import NOISE_DEVIATION
from biolm_ray.results import lock


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DemoTruth:
    return write_demo_data(tmp_path_factory.mktemp("demo") / "demo.tsv", num_rows=600, seed=1)


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    one = write_demo_data(tmp_path / "one.tsv", num_rows=9, seed=4)
    two = write_demo_data(tmp_path / "two.tsv", num_rows=9, seed=4)
    other = write_demo_data(tmp_path / "other.tsv", num_rows=9, seed=5)
    for name in ("data", "truth", "elements"):
        assert getattr(one, name).read_bytes() == getattr(two, name).read_bytes()
    assert one.data.read_bytes() != other.data.read_bytes()


def test_more_rows_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    few = write_demo_data(tmp_path / "few.tsv", num_rows=5, seed=2).data.read_text()
    many = write_demo_data(tmp_path / "many.tsv", num_rows=8, seed=2).data.read_text()
    assert many.startswith(few)


def test_nothing_but_the_three_files_is_left(tmp_path: Path) -> None:
    write_demo_data(tmp_path / "set.tsv", num_rows=3)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["set.elements.tsv", "set.truth.tsv", "set.tsv"]


def test_who_writes_the_same_files_waits_until_another_has_written_them(tmp_path, monkeypatch):
    path, waits = tmp_path / "set.tsv", threading.Event()
    monkeypatch.setattr(lock, "TURN_SECONDS", 0.01)
    monkeypatch.setattr(lock.log, "info", lambda *text: waits.set())
    with lock.held_in_turn(tmp_path / ".set.tsv.lock", "demo-data", "the same", 1):
        thread = threading.Thread(target=write_demo_data, args=(path, 3))
        thread.start()
        assert waits.wait(60)
        assert [found.name for found in tmp_path.iterdir()] == [".set.tsv.lock"]
    thread.join()
    assert path.exists()


def test_three_folds_share_the_rows_evenly(files: DemoTruth) -> None:
    folds = [row["fold"] for row in read_rows(files.data, "\t")]
    assert {fold: folds.count(fold) for fold in folds} == {"0": 200, "1": 200, "2": 200}


def test_listed_elements_hold_the_element(files: DemoTruth) -> None:
    sequences = {row["id"]: row["sequence"].split(",") for row in read_rows(files.data, "\t")}
    elements = list(read_rows(files.elements, "\t"))
    assert len(elements) > 1000
    for row in elements:
        tokens = sequences[row["id"]][int(row["start"]) : int(row["end"])]
        assert "".join(tokens) == row["element"] == "tatttat"


def test_the_label_follows_from_the_sequence_and_the_noise(files: DemoTruth) -> None:
    """The formula, worked out again from the text of the first rows."""
    rows = zip(read_rows(files.data, "\t"), read_rows(files.truth, "\t"), strict=True)
    for data, truth in list(rows)[:20]:
        letters = [token[0] for token in data["sequence"].split(",")]
        starts = [place for place, letter in enumerate(letters) if letter.isupper()]
        utr3 = "".join(letters[starts[-1] + 3 :])
        ends = [letters[place + 2] for place in starts[1:-1]]
        optimality = sum(1 if end in "cg" else -1 for end in ends) / len(ends)
        density = 100 * data["sequence"].count("ej") / (3 * len(starts))
        expected = 1.9 - 0.5 * utr3.count("tatttat") + 0.3 * density + 0.9 * optimality
        assert float(truth["log_half_life_without_noise"]) == pytest.approx(expected, abs=1e-5)
        measured = np.log(float(data["half_life_hours"]))
        assert float(truth["log_half_life"]) == pytest.approx(measured, abs=1e-5)


def test_the_noise_has_the_stated_size(files: DemoTruth) -> None:
    noise = [
        float(row["log_half_life"]) - float(row["log_half_life_without_noise"])
        for row in read_rows(files.truth, "\t")
    ]
    assert np.mean(noise) == pytest.approx(0, abs=0.06)
    assert np.std(noise) == pytest.approx(NOISE_DEVIATION, rel=0.1)


def test_the_attainable_correlation_is_about_nine_tenths(files: DemoTruth) -> None:
    assert attainable_correlation(files.truth) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("part", "at_least"),
    [("num_elements", 0.6), ("junction_density", 0.1), ("codon_optimality", 0.1)],
)
def test_each_feature_explains_its_share(files: DemoTruth, part: str, at_least: float) -> None:
    rows = list(read_rows(files.truth, "\t"))
    feature = [float(row[part]) for row in rows]
    expected = [float(row["log_half_life_without_noise"]) for row in rows]
    assert np.corrcoef(feature, expected)[0, 1] ** 2 > at_least


def test_counting_short_words_learns_much_but_not_all(files: DemoTruth) -> None:
    """A ridge on words of 1 to 3 tokens, trained on the 400 rows of two folds."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    rows = list(read_rows(files.data, "\t"))
    train = np.array([row["fold"] != "0" for row in rows])
    target = np.log([float(row["half_life_hours"]) for row in rows])
    words = CountVectorizer(
        analyzer="word", token_pattern=r"[^,]+", lowercase=False, ngram_range=(1, 3), min_df=5
    )
    counts = words.fit_transform([row["sequence"] for row in rows]).toarray().astype(float)
    scaled = StandardScaler().fit(counts[train]).transform(counts)
    model = RidgeCV(np.logspace(1, 6, 11)).fit(scaled[train], target[train])
    correlation = np.corrcoef(model.predict(scaled[~train]), target[~train])[0, 1]
    assert 0.6 < correlation < 0.8


def test_rows_can_be_read_with_any_csv_reader(files: DemoTruth) -> None:
    with files.data.open(newline="") as file:
        widths = {len(row) for row in csv.reader(file, delimiter="\t")}
    assert widths == {4}
