"""A search that is broken off with Ctrl-C and goes on when the command is run again."""

import json
import re
import signal
from pathlib import Path

from commands import start_command

from biolm_ray.config.load import load_config
from biolm_ray.demo.data import DATA_SETTINGS, write_demo_data

SETTINGS = (
    DATA_SETTINGS
    + """\
  split_column: fold
outputpath: search
preprocessing: {block_size: 512}
training: {batch_size: 8, num_epochs: 2, scaling: log}
model: {name: saluki, num_layers: 3}
resources: {num_gpus: 0, address: local}
tune:
  num_samples: 4
  space:
    training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
    model.channels: [4, 8]
"""
)


TUNE = ("tune", "--configfile", "tune.yaml")


def reported_folds(lines: list[str]) -> set[tuple[str, str]]:
    """The (settings, fold) pairs that a run has told of."""
    pattern = re.compile(r"trial \d+ of 4, fold (\d): .* with (.*)")
    return {(found[2], found[1]) for line in lines if (found := pattern.match(line))}


def test_a_search_goes_on_where_ctrl_c_has_broken_it_off(tmp_path: Path):
    write_demo_data(tmp_path / "demo.tsv", num_rows=30)
    (tmp_path / "tune.yaml").write_text(SETTINGS)

    before = []
    with start_command(tmp_path, *TUNE) as first:
        assert first.stdout is not None
        for line in first.stdout:
            before.append(line)
            if line.startswith("trial ") and len(reported_folds(before)) == 3:
                first.send_signal(signal.SIGINT)
    assert first.returncode == 130, "".join(before)
    assert before[-1].startswith("interrupted")
    assert not (tmp_path / "search" / "tune" / "best_config.yaml").exists()

    with start_command(tmp_path, *TUNE) as second:
        after, _ = second.communicate(timeout=300)
    assert second.returncode == 0, after
    assert "continuing the search" in after
    trials = json.loads((tmp_path / "search" / "tune" / "trials.json").read_text())
    assert [trial["error"] for trial in trials] == [None] * 4
    best = load_config(tmp_path / "search" / "tune" / "best_config.yaml", "fine-tune")
    complete = [trial for trial in trials if trial["folds"] == 3]
    winner = max(complete, key=lambda trial: trial["pearson"])["settings"]
    assert best.training.learning_rate == winner["training.learning_rate"]
    assert best.model.options["channels"] == winner["model.channels"]

    with start_command(tmp_path, *TUNE, "--set", "tune.num_samples=5") as third:
        refused, _ = third.communicate(timeout=300)
    assert third.returncode == 2
    assert "begun with other settings; differing: tune.num_samples" in refused
