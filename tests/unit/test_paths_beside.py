"""Paths of a YAML file begin in the working directory; one that lies beside the file is named."""

from pathlib import Path

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.errors import ConfigError

YAML = "filepath: rows.tsv\nseqpos: 2\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A YAML file in another folder than the working directory."""
    path = tmp_path / "project" / "x.yaml"
    path.parent.mkdir()
    path.write_text(YAML)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return path


def test_a_file_beside_the_yaml_is_named_with_both_places(file):
    (file.parent / "rows.tsv").write_text("g1\tac\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, "tokenize")
    here = Path.cwd() / "rows.tsv"
    assert str(caught.value) == (
        f"{file}, line 1, filepath: rows.tsv is looked for in the working directory, and {here} "
        f"does not exist; it exists beside the YAML file: {file.parent / 'rows.tsv'}. Run the "
        "command there, or write that path"
    )


def test_the_working_directory_goes_first(file):
    for folder in (file.parent, Path.cwd()):
        (folder / "rows.tsv").write_text("g1\tac\n")
    assert load_config(file, "tokenize").data.path == "rows.tsv"


def test_a_path_of_the_command_line_is_not_looked_for_beside_the_yaml(file):
    (file.parent / "other.tsv").write_text("g1\tac\n")
    config = load_config(file, "tokenize", {"filepath": "other.tsv"})
    assert config.data.path == "other.tsv"
