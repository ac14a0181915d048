"""Output folders that cannot hold results are refused in one sentence, before anything else."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.config.paths import with_absolute_paths
from biolm_ray.config.schema import Config, DataConfig
from biolm_ray.errors import BiolmError, ConfigError, ResourceError
from biolm_ray.results.manifest import FoldRecord, Manifest, ModeRecord, new_run, write_manifest
from biolm_ray.results.output_folder import check_output

RUN = new_run("0.1.0")


def refused(output: Path, kind: type[BiolmError] = ConfigError, *, is_default: bool = False) -> str:
    with pytest.raises(kind) as caught:
        check_output(output, "predict", is_default=is_default)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_can_hold_results_is_made_and_nothing_is_left_in_it(tmp_path):
    output = tmp_path / "a" / "b"
    for _ in range(2):
        check_output(output, "predict")
        assert list(output.iterdir()) == []


def test_a_file_is_no_output_folder_nor_is_a_place_below_it(tmp_path):
    (tmp_path / "file").write_text("x")
    ending = "it is a file, not a folder; set outputpath to a folder that you may write to"
    told = refused(tmp_path / "file")
    assert told == f"outputpath {tmp_path}/file cannot hold results: {ending}"
    told = refused(tmp_path / "file" / "below" / "it")
    assert told.endswith(f"/it cannot hold results because of {tmp_path}/file: {ending}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predict").write_text("x")
    assert f"because of {tmp_path}/out/predict: it is a file" in refused(tmp_path / "out")


def test_links_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    told = f"{tmp_path}/dangling: it is a link to {tmp_path}/gone, which does not exist"
    assert told.replace("dangling:", "dangling cannot hold results:") in refused(
        tmp_path / "dangling"
    )
    assert f"because of {told}" in refused(tmp_path / "dangling" / "x")
    assert "it is a link that leads back to itself" in refused(tmp_path / "loop")
    assert "it is a link that leads back to itself" in refused(tmp_path / "loop" / "x")


def test_a_name_that_is_too_long_is_told_and_not_printed_in_full(tmp_path):
    for output in (tmp_path / ("n" * 300), tmp_path / ("n" * 300) / "x"):
        told = refused(output)
        assert "the name is longer than the file system allows" in told
        assert len(told) < 500


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place where no folder can be made")
def test_a_place_where_no_folder_can_be_made_is_named():
    assert "because of /proc: no folder can be made there" in refused(Path("/proc/biolm/x"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path):
    (tmp_path / "shared").mkdir(mode=0o555)
    assert f"because of {tmp_path}/shared: you may not" in refused(tmp_path / "shared" / "x")


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EACCES, ConfigError, "cannot hold results: you may not write there"),
        (errno.EROFS, ConfigError, "cannot hold results: it is read-only"),
        (errno.ENOSPC, ResourceError, "no space is left there"),
        (errno.EDQUOT, ResourceError, "no space is left there"),
        (errno.EIO, ResourceError, "cannot be written to: Input/output error"),
    ],
)
def test_what_the_system_says_of_writing_decides(tmp_path, monkeypatch, number, kind, words):
    def refuse(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert words in refused(tmp_path, kind)
    default = "(next to the data file, since no other is set)"
    assert default in refused(tmp_path, kind, is_default=True)
    assert default not in refused(tmp_path, kind)


@pytest.mark.parametrize(
    "part", ["fine-tune", "fine-tune/0", "predict", "link", "fine-tune/../predict"]
)
def test_a_part_of_an_experiment_is_no_output_folder(tmp_path, part):
    experiment = tmp_path / "experiment"
    folds = (FoldRecord(name="0", folder="fine-tune/0"),)
    (experiment / "fine-tune" / "0").mkdir(parents=True)
    write_manifest(experiment, Manifest(modes={"fine-tune": ModeRecord(run=RUN, folds=folds)}))
    (tmp_path / "link").symlink_to(experiment / "fine-tune")
    output = tmp_path / "link" if part == "link" else experiment / part
    with pytest.raises(
        ConfigError, match=rf"a part of the experiment {experiment}: set outputpath"
    ):
        check_output(output, "predict")
    for fine in (experiment, experiment / "new", experiment / "replaced" / "x", tmp_path / "new"):
        check_output(fine, "predict")


@pytest.mark.parametrize(
    ("setting", "path", "words"),
    [
        ("outputpath", "s3://bucket/x", "s3://bucket/x is an address, but results go to a folder"),
        ("outputpath", "GS://bucket/x", "results go to a folder that this machine sees"),
        ("outputpath", "file:///data/x", "but a path is wanted here: /data/x"),
        ("outputpath", "~nobody-here/x", "~nobody-here is the home folder of nobody here"),
        ("outputpath", "a\x1b[31m", "holds characters that no path should hold"),
        ("outputpath", "a\0b", "holds characters that no path should hold"),
        ("pretrainedmodel", "s3://bucket/model", "download it first, and give the path to it"),
        ("interpret.coordinates", "https://x/genes.bed", "download it first"),
        ("filepath", "~nobody-here/x.tsv", "~nobody-here is the home folder of nobody here"),
        ("data.prepared_path", "~nobody-here/x", "~nobody-here is the home folder of nobody here"),
        ("filepath", "a\0b.tsv", "holds characters that no path should hold"),
    ],
)
def test_paths_that_lead_nowhere_are_refused_by_the_name_of_their_setting(setting, path, words):
    given = {"filepath": "x.tsv", "seqpos": 1, setting: path}
    with pytest.raises(ConfigError) as caught:
        load_config(None, "predict", given)
    assert str(caught.value).startswith(f"overrides, {setting}: ")
    assert words in str(caught.value)


def test_buckets_may_hold_data_and_prepared_data():
    given = {"filepath": "s3://b/x.tsv", "seqpos": 1, "outputpath": "out"}
    load_config(None, "predict", given | {"data.prepared_path": "s3://b/prepared"})


def test_a_configuration_made_by_hand_makes_no_folder_named_after_a_scheme():
    config = Config(mode="predict", output_path="s3://bucket", data=DataConfig(path="x.tsv"))
    with pytest.raises(ConfigError, match=r"^output_path: s3://bucket is an address"):
        with_absolute_paths(config)


def test_the_home_folder_stands_for_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = Config(mode="predict", output_path="~", data=DataConfig(path="~/x.tsv"))
    assert with_absolute_paths(config).output_path == str(tmp_path)
