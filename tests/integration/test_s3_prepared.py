"""Data on S3 and prepared on S3, through the command line, from a server on this machine."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from biolm_ray.config.schema import Config
from biolm_ray.data.filesystems import locate
from biolm_ray.data.store import Folder
from biolm_ray.demo.data import write_demo_data
from biolm_ray.errors import DataError, ResourceError
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.vocabulary import fit_tokenizer

SHORT_FOLDER = tempfile.gettempdir()


def upload(path: Path, uri: str) -> str:
    filesystem, inner = locate(uri)
    with filesystem.open_output_stream(inner) as stream:
        stream.write(path.read_bytes())
    return uri


@pytest.fixture
def data(bucket, tmp_path, monkeypatch) -> str:
    """A demo data file in the bucket; copies of prepared data go to a folder of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    write_demo_data(tmp_path / "demo.tsv", num_rows=30)
    return upload(tmp_path / "demo.tsv", f"{bucket}/{tmp_path.name}/demo.tsv")


def make_config(data: str, output: Path, prepared: str) -> Config:
    return Config.model_validate(
        {
            "mode": "fine-tune",
            "task": "regression",
            "output_path": str(output),
            "data": {
                "path": data,
                "has_header": True,
                "sequence_column": "sequence",
                "label_column": "half_life_hours",
                "token_separator": ",",
                "prepared_path": prepared,
            },
        }
    )


def test_prepared_data_lie_on_s3_and_are_copied_once_to_where_they_are_read(bucket, data, tmp_path):
    target = f"{bucket}/{tmp_path.name}/prepared"
    config = make_config(data, tmp_path / "out", target)
    tokenizer = fit_tokenizer(config)
    remote = prepare(config, tokenizer, target, label_kind="number")
    local = prepare(config, tokenizer, tmp_path / "local", label_kind="number")
    assert remote.location.startswith(target)
    assert remote.name == local.name
    for row in range(30):
        assert remote.token_ids(row).tolist() == local.token_ids(row).tolist()
    (copy,) = tmp_path.glob("biolm_ray-*/*")
    assert copy.name.startswith(f"{remote.name}-")
    written = copy.stat().st_mtime_ns
    again = PreparedData.open(remote.location)
    assert again.ids == local.ids
    assert copy.stat().st_mtime_ns == written


def test_a_preparation_that_was_broken_off_on_s3_is_no_data_set(bucket, data, tmp_path):
    target = f"{bucket}/{tmp_path.name}/prepared"
    config = make_config(data, tmp_path / "out", target)
    prepared = prepare(config, fit_tokenizer(config), target, label_kind="number")
    folder = Folder(prepared.location)
    filesystem, inner = locate(folder.address("manifest.json"))
    filesystem.delete_file(inner)
    with pytest.raises(DataError, match="broken off"):
        PreparedData.open(prepared.location)


def test_a_model_is_trained_from_s3_by_the_command_line(bucket, data, tmp_path):
    output = tmp_path / "out"
    command = [
        sys.executable, "-m", "biolm_ray", "fine-tune", "--task", "regression",
        "--filepath", data, "--outputpath", str(output), "--seqpos", "sequence",
        "--labelpos", "half_life_hours", "--splitpos", "fold", "--tokensep", ",",
        "--blocksize", "1024", "--nepochs", "1", "--ngpus", "0", "--model", "saluki",
        "--set", "model.channels=8",
        "--set", f"data.prepared_path={bucket}/{tmp_path.name}/shared",
    ]  # fmt: skip
    # The sockets of Ray need a short path.
    environment = {**os.environ, "TMPDIR": str(tmp_path), "RAY_TMPDIR": SHORT_FOLDER}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(output / "fine-tune" / "out_of_fold.csv")
    assert len(table) == 30
    assert not (output / "prepared").exists()


def test_a_bucket_that_is_not_there_is_told_before_anything_is_read(bucket, data, tmp_path):
    config = make_config(data, tmp_path / "out", "s3://nowhere/prepared")
    with pytest.raises(ResourceError, match=r"s3://nowhere/prepared/"):
        prepare(config, fit_tokenizer(config), "s3://nowhere/prepared", label_kind="number")
