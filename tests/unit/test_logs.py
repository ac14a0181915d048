"""What reaches the terminal, and what the file."""

import logging

import pytest

from biolm_ray.cli import main
from biolm_ray.logs import RESULT, escaped, logged


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
