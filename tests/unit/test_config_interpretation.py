"""The settings of what is made of leave-one-out scores."""

from pathlib import Path
from typing import Any

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.config.paths import with_absolute_paths
from biolm_ray.config.schema import Column
from biolm_ray.errors import ConfigError

LEAST: dict[str, Any] = {"filepath": "rows.tsv", "seqpos": "seq", "model.pretrained": "old"}


def load(**settings: Any):
    named = {f"interpret.{name}": value for name, value in settings.items()}
    return load_config(None, "interpret", {**LEAST, **named}).interpret


@pytest.mark.parametrize(
    ("written", "motifs"),
    [
        ({"ARE": "UAUUUA"}, {"ARE": "UAUUUA"}),
        ("{ARE: UAUUUA, puf: ugunana}", {"ARE": "UAUUUA", "puf": "ugunana"}),
        (["UAUUUA", "NO"], {"UAUUUA": "UAUUUA", "NO": "NO"}),
        ("[UAUUUA, NO]", {"UAUUUA": "UAUUUA", "NO": "NO"}),
        ("UAUUUA,NO", {"UAUUUA": "UAUUUA", "NO": "NO"}),
        ("UAUUUA", {"UAUUUA": "UAUUUA"}),
        (None, {}),
    ],
)
def test_motifs_are_a_dictionary_a_list_or_one(written: Any, motifs: dict[str, str]) -> None:
    assert load(motifs=written).motifs == motifs


def test_motifs_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "motifs.tsv"
    path.write_text("# name\tmotif\nARE core\tUAUUUA\n\nUGUANAUA  # pumilio\n")
    expected = {"ARE core": "UAUUUA", "UGUANAUA": "UGUANAUA"}
    assert load(motifs=str(path)).motifs == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"ARE": "UAU-UA"}, r"motif 'ARE', not 'UAU-UA'"),
        ({"ARE": ""}, r"motif 'ARE', not ''"),
        ("no/such/motifs.tsv", r"expected a file of motifs that can be read"),
    ],
)
def test_what_is_no_motif_is_refused(written: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(motifs=written)


def test_regions_are_told_by_one_column_or_three() -> None:
    assert load(region_columns="cds").columns_of_regions == (Column(name="cds"),)
    three = load(region_columns="[6, 7, 8]").columns_of_regions
    assert three == tuple(Column(index=index) for index in (5, 6, 7))
    assert load().columns_of_regions == ()
    with pytest.raises(ConfigError, match=r"interpret\.region_columns: .* found 2 columns"):
        load(region_columns="[a, b]")


@pytest.mark.parametrize(("name", "value"), [("kmer", -1), ("kmer", 13), ("plots", -1)])
def test_numbers_have_limits(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"interpret\.{name}: found {value}"):
        load(**{name: value})


def test_the_file_of_coordinates_means_the_same_in_every_process() -> None:
    config = load_config(None, "interpret", {**LEAST, "interpret.coordinates": "genes.bed"})
    found = with_absolute_paths(config).interpret.coordinates
    assert found == str(Path.cwd() / "genes.bed")
