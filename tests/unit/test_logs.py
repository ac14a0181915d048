"""What reaches the terminal, and what the file."""

import logging

import pytest

from biolm_ray.logs import RESULT, logged


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
