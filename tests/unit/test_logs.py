"""What reaches the terminal, and what the file."""

import errno
import io
import logging
import os
import signal
from typing import NoReturn

import pytest
from ray.exceptions import RayTaskError

from biolm_ray.cli import main
from biolm_ray.errors import DETAILS_LETTERS, DataError, ResourceError, details, root_cause
from biolm_ray.logs import RESULT, escaped, logged
from biolm_ray.signals import Stopped


@pytest.mark.parametrize(
    ("quiet", "printed"),
    [(False, ["a fact", "a result", "a warning"]), (True, ["a result", "a warning"])],
)
def test_a_quiet_run_prints_results_and_warnings(tmp_path, capsys, quiet, printed):
    with logged(tmp_path, quiet=quiet) as log:
        log.info("a fact")
        log.log(RESULT, "a result")
        log.warning("a warning")
    assert capsys.readouterr().err.splitlines() == printed
    written = (tmp_path / "run.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in written] == [
        "INFO a fact",
        "RESULT a result",
        "WARNING a warning",
    ]
    assert not logging.getLogger("biolm_ray").handlers


def test_messages_reach_terminal_and_file_without_control_characters(tmp_path, capsys):
    with logged(tmp_path, quiet=False) as log:
        log.info("first line\nrow '%s'", "\x1b[31mred\r\u202e")
    seen = "first line\nrow '\\x1b[31mred\\r\\u202e'\n"
    assert capsys.readouterr().err == seen
    assert (tmp_path / "run.log").read_text(encoding="utf-8").endswith(seen)


def test_an_error_reaches_the_terminal_without_control_characters(tmp_path, capsys):
    name = "\x1b]0;title\x07.yaml"
    assert main(["tokenize", "--configfile", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert r"\x1b]0;title\x07.yaml" in said


def test_a_text_without_control_characters_is_left_alone():
    text = "Länge 漢 \\n \xa0"
    assert escaped(text) == text
    assert escaped("a\tb\n", kept="\n") == "a\\tb\n"


def raise_in_a_worker() -> NoReturn:
    """Fail as a task of Ray does that has raised, with what is kept of where."""
    where = "\x1b[36mray::train()\x1b[39m (pid=1)\n  File plugin.py, line 7\nValueError: bad"
    raise RayTaskError("train", where, ValueError("bad")).as_instanceof_cause()


def test_the_error_that_ends_a_run_goes_to_the_file_with_where_it_was_raised(tmp_path, capsys):
    with pytest.raises(ValueError, match="bad") as raised, logged(tmp_path, quiet=False):
        raise_in_a_worker()
    assert raised.value.__dict__["run_log"] == tmp_path / "run.log"
    written = (tmp_path / "run.log").read_text()
    assert "ERROR unexpected ValueError: bad\nTraceback (most recent call last):" in written
    assert "ray::train() (pid=1)\n  File plugin.py, line 7\n" in written
    assert capsys.readouterr().err == ""


def test_where_a_worker_raised_is_kept_when_the_cause_is_raised_alone(tmp_path):
    cause = root_cause(RayTaskError("train", "File plugin.py, line 7", DataError("empty")))
    with pytest.raises(DataError), logged(tmp_path, quiet=False):
        raise cause
    assert "in the worker: File plugin.py, line 7" in (tmp_path / "run.log").read_text()


def test_a_failure_that_is_logged_shows_its_traceback_in_the_file_alone(tmp_path, capsys):
    error = KeyError("https://host/?token=secret\x1b")
    with logged(tmp_path, quiet=True) as log:
        log.error("fold 1 failed", exc_info=(KeyError, error, None))
    assert capsys.readouterr().err == "fold 1 failed\n"
    written = (tmp_path / "run.log").read_text()
    assert "KeyError: 'https://host/?token=***" in written
    assert "secret" not in written
    assert "\x1b" not in written


def test_a_long_traceback_is_cut_at_its_beginning():
    text = details(ValueError("a" * 2 * DETAILS_LETTERS + "the end"))
    assert len(text) < DETAILS_LETTERS + 100
    assert text.startswith("[")
    assert text.endswith("the end")


def test_a_run_that_is_stopped_says_by_what_in_the_file(tmp_path):
    with pytest.raises(Stopped), logged(tmp_path, quiet=False):
        raise Stopped(signal.SIGTERM)
    assert (tmp_path / "run.log").read_text().endswith("WARNING stopped by SIGTERM\n")


def test_messages_that_cannot_be_written_end_no_run_and_print_nothing(tmp_path, capsys):
    with logged(tmp_path, quiet=False) as log:
        for handler in log.handlers:
            handler.setFormatter(FullDisk())
        log.info("a fact")
    assert capsys.readouterr().err == ""


class FullDisk(logging.Formatter):
    def format(self, record):
        raise OSError("no space left on device")


def test_closing_the_file_on_a_full_disk_does_not_hide_what_ended_the_run(tmp_path, capsys):
    def run_on_a_full_disk() -> NoReturn:
        with logged(tmp_path, quiet=False) as log:
            for handler in log.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.setStream(FullFile()).close()
            raise ResourceError("make room")

    with pytest.raises(ResourceError, match="make room"):
        run_on_a_full_disk()
    assert capsys.readouterr().err == ""


class FullFile(io.StringIO):
    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("make", "what"), [(os.mkfifo, "a pipe"), (os.mkdir, "a folder")])
def test_what_is_in_the_place_of_the_file_is_named(tmp_path, make, what):
    make(tmp_path / "run.log")
    told = rf"run\.log is {what}.*move it away"
    with pytest.raises(ResourceError, match=told), logged(tmp_path, quiet=False):
        pass


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "logs").touch()
    told = "logs is a file, but a folder belongs there"
    with pytest.raises(ResourceError, match=told), logged(tmp_path / "logs", quiet=False):
        pass
