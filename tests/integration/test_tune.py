"""A search that is broken off with Ctrl-C and goes on when the command is run again."""

import json
import pickle
import re
import signal
from pathlib import Path

from commands import start_command
from pickled import pickles_below

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
  num_samples: 3
  space:
    training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
    model.channels: [4, 8]
"""
)


TUNE = ("tune", "--configfile", "tune.yaml")


def reported_folds(lines: list[str]) -> set[tuple[str, str]]:
    """The (settings, fold) pairs that a run has told of."""
    pattern = re.compile(r"trial \d+ of 3, fold (\d): .* with (.*)")
    return {(found[2], found[1]) for line in lines if (found := pattern.match(line))}


def read(path: Path) -> dict:
    return json.loads(path.read_text())


class RunsCode:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def leave_pickles(folder: Path, trace: Path) -> None:
    """What Ray Tune would read where a search is restored from its own files."""
    folder.mkdir(exist_ok=True)
    names = ("tuner.pkl", "trainable.pkl", "search_gen_state-1.json", "searcher-state-1.pkl")
    for name in names:
        (folder / name).write_bytes(pickle.dumps(RunsCode(trace)))


def test_a_search_goes_on_where_ctrl_c_has_broken_it_off(tmp_path: Path):
    write_demo_data(tmp_path / "demo.tsv", num_rows=30)
    (tmp_path / "tune.yaml").write_text(SETTINGS)

    before = []
    with start_command(tmp_path, *TUNE) as first:
        assert first.stdout is not None
        for line in first.stdout:
            before.append(line)
            if line.startswith("trial ") and len(reported_folds(before)) == 2:
                first.send_signal(signal.SIGINT)
    assert first.returncode == 130, "".join(before)
    assert before[-1].startswith("interrupted")
    folder = tmp_path / "search" / "tune"
    assert not (folder / "best_config.yaml").exists()
    assert pickles_below(tmp_path / "search") == []
    half_done = [trial for trial in read(folder / "trials.json")["trials"] if not trial["ended"]]
    assert half_done
    leave_pickles(folder / "search", tmp_path / "code-has-run")

    with start_command(tmp_path, *TUNE) as second:
        after, _ = second.communicate(timeout=300)
    assert second.returncode == 0, after
    assert "continuing the search" in after
    assert not (tmp_path / "code-has-run").exists()
    assert pickles_below(tmp_path / "search") == []
    trials = read(folder / "trials.json")["trials"]
    assert [(trial["error"], trial["ended"]) for trial in trials] == [(None, True)] * 3
    assert {trial["trial"] for trial in trials} == {p.name for p in (folder / "trials").iterdir()}
    for begun in half_done:
        assert begun["settings"] in [trial["settings"] for trial in trials]
    best = load_config(folder / "best_config.yaml", "fine-tune")
    complete = [trial for trial in trials if trial["folds"] == 3]
    winner = max(complete, key=lambda trial: trial["value"])["settings"]
    assert best.training.learning_rate == winner["training.learning_rate"]
    assert best.model.options["channels"] == winner["model.channels"]

    with start_command(tmp_path, *TUNE, "--set", "tune.num_samples=4") as third:
        one_more, _ = third.communicate(timeout=300)
    assert third.returncode == 0, one_more
    assert read(folder / "trials.json")["trials"][:3] == trials
    (fourth_trial,) = read(folder / "trials.json")["trials"][3:]
    assert fourth_trial["settings"] not in [trial["settings"] for trial in trials]

    with start_command(tmp_path, *TUNE, "--set", "tune.metric=loss") as fourth:
        refused, _ = fourth.communicate(timeout=300)
    assert fourth.returncode == 2
    assert "begun with other settings; differing: tune.metric" in refused
