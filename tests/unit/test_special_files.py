"""Pipes and devices in the place of files are told by name, and never read without end."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.data.sources import find_files
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.files import read_bounded
from biolm_ray.report.genome_track import read_bed

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="devices of Linux")


def test_a_pipe_or_socket_as_data_is_to_be_saved_first(tmp_path):
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(DataError, match=r"pipe.tsv is a pipe, .* save it to a file first"):
        find_files([str(tmp_path / "pipe.tsv")])
    with pytest.raises(DataError, match="is a pipe"):
        read_bed(str(tmp_path / "pipe.tsv"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(DataError, match="is a pipe"):
            find_files([str(tmp_path / "s")])


@LINUX
@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/urandom"])
def test_a_device_is_no_data_and_no_configuration(device):
    with pytest.raises(DataError, match=f"{device} is a device, not a file of data"):
        find_files([device])
    if device != "/dev/null":
        with pytest.raises(ConfigError, match=r"larger than 1 MB|not UTF-8"):
            load_config(device, "predict")


@LINUX
def test_a_view_of_the_system_is_no_file_and_is_not_opened(tmp_path):
    (tmp_path / "link.tsv").symlink_to("/proc/version")
    for path in ("/proc/version", str(tmp_path / "link.tsv")):
        with pytest.raises(DataError, match=f"{path} is no file of data, but a view of the runn"):
            find_files([path])
    with pytest.raises(DataError, match="is no file, but a view of the running system"):
        read_bounded(Path("/proc/version"), 100)
    with pytest.raises(ConfigError, match="is no configuration file, but a view of the running"):
        load_config("/proc/version", "predict")


def test_a_link_that_leads_nowhere_is_told_with_where_it_leads(tmp_path):
    (tmp_path / "dangling").symlink_to("gone.tsv")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for name, told in (
        ("dangling", r"dangling is a link to gone\.tsv, which does not exist$"),
        ("a", "a is a link to b, which leads back to itself$"),
    ):
        with pytest.raises(DataError, match=told):
            find_files([str(tmp_path / name)])


def test_an_empty_file_is_told_without_being_opened(tmp_path):
    (tmp_path / "empty.tsv").touch(mode=0o000)
    with pytest.raises(DataError, match=r"empty\.tsv is empty"):
        find_files([str(tmp_path / "empty.tsv")])


def test_a_folder_of_several_files_is_no_bed_file(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text("chr1\t1\t9\tx\n")
    with pytest.raises(DataError, match="stands for 2 files: give one BED file"):
        read_bed(str(tmp_path))


@pytest.mark.parametrize("path", ["-", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/0"])
def test_the_standard_input_is_no_data_since_workers_have_another(path):
    given = {"filepath": path, "seqpos": 1, "outputpath": "out"}
    with pytest.raises(ConfigError, match=r"filepath: .* stands for what this process alone"):
        load_config(None, "predict", given)


@LINUX
def test_a_configuration_may_come_through_a_pipe():
    program = "import sys; from biolm_ray.config.load import load_config as load; "
    program += "print(load(sys.argv[1], 'tokenize').data.path)"
    for name, code in (("/dev/stdin", 0), ("-", 1)):
        done = subprocess.run(
            [sys.executable, "-c", program, name],
            input="filepath: rows.tsv\nseqpos: 2\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert done.stdout == ("" if code else "rows.tsv\n")
        assert ("for the standard input give /dev/stdin" in done.stderr) == bool(code)


def test_pipes_beside_the_data_of_a_folder_are_passed_over(tmp_path):
    (tmp_path / "rows.tsv").write_text("g1\tacgu\n")
    os.mkfifo(tmp_path / "pipe")
    assert [Path(file.path).name for file in find_files([str(tmp_path)])] == ["rows.tsv"]
