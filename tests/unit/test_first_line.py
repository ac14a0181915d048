"""What a run says before anything else."""

from pathlib import Path

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config
from biolm_ray.stages import running


class _FarEnough(Exception):
    """The run has said its first line."""


def _stop(config: Config) -> None:
    raise _FarEnough


@pytest.mark.parametrize("mode", ["fine-tune", "interpret"])
def test_the_first_line_names_the_folder_of_all_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    rows, output = tmp_path / "rows.tsv", tmp_path / "out"
    rows.write_text("id\tseq\tlabel\na\tACGT\t1\nb\tACGG\t2\n")
    (output / "fine-tune").mkdir(parents=True)
    settings = {"filepath": str(rows), "outputpath": str(output), "task": "regression"}
    settings |= {"stripheader": True, "seqpos": "seq", "idpos": "id", "labelpos": "label"}
    with pytest.raises(_FarEnough), running(load_config(None, mode, settings), _stop):
        pass
    assert capsys.readouterr().err.splitlines()[0] == f"{mode}: {rows} -> {output}"
