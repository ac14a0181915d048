"""Commands that are told to end: what they leave, what they say, and that nothing runs on."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from biolm_ray.demo.data import DATA_SETTINGS, write_demo_data

SETTINGS = (
    DATA_SETTINGS
    + """\
outputpath: run
splits: {ratio: [60, 20, 20]}
preprocessing: {block_size: 512}
training: {batch_size: 4, gradient_accumulation: 2, num_epochs: 1, scaling: log}
model: {name: saluki, channels: 64}
resources: {num_gpus: 0, address: local}
"""
)
NUM_ROWS = 1600
TRAIN = ("fine-tune", "--configfile", "run.yaml")
MARK = "STARTED_BY_TEST"
GONE_SECONDS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Data of which an epoch takes a while, and a configuration for them."""
    folder = tmp_path_factory.mktemp("stopped")
    write_demo_data(folder / "demo.tsv", num_rows=NUM_ROWS)
    (folder / "run.yaml").write_text(SETTINGS)
    return folder


@contextmanager
def marked_command(
    folder: Path, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], Callable[[], list[str]]]]:
    """Start the command as the leader of a group, as shells do; gives it, and what of it runs."""
    mark = uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", "biolm_ray", *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", MARK: mark},
        start_new_session=True,
    )
    with process:
        try:
            yield process, lambda: running_with(mark)
        finally:
            process.kill()


def running_with(mark: str) -> list[str]:
    """The processes that descend from the one that was given a mark, however they were started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline())[:80])
        except psutil.Error:
            continue
    return found


def left_of(running: Callable[[], list[str]]) -> list[str]:
    """What still runs some seconds after the command has ended."""
    deadline = time.monotonic() + GONE_SECONDS
    while (left := running()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def read_until(process: subprocess.Popen[str], start: str) -> list[str]:
    """The lines up to the one that starts so."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(start):
            return lines
    raise AssertionError("".join(lines))


def send(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal; Ctrl-C and closed terminals reach all processes of the group."""
    if number == signal.SIGTERM:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)


@pytest.mark.parametrize(
    ("number", "code", "num_workers"), [(signal.SIGTERM, 143, 1), (signal.SIGINT, 130, 2)]
)
def test_a_stopped_training_leaves_a_checkpoint_in_the_middle_of_an_epoch_and_no_process(
    folder: Path, number: int, code: int, num_workers: int
):
    output = folder / f"stopped-{num_workers}"
    train = (*TRAIN, "--outputpath", str(output), "--ngpus", str(num_workers))
    with marked_command(folder, *train) as (process, running):
        read_until(process, "estimate:")
        assert any("raylet" in title for title in running())
        send(process, number)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "stopping: writing checkpoints" in said
    assert said.splitlines()[-1].endswith(f"--ngpus {num_workers} --resume"), said
    assert "Traceback" not in said
    assert "***" not in said  # as the stacks of native code begin
    assert left_of(running) == []
    assert list(output.rglob("checkpoint"))
    before = read_steps(output)
    assert before

    with marked_command(folder, *train, "--resume") as (process, running):
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert left_of(running) == []
    after = read_steps(output)
    assert after[: len(before)] == before
    assert len(before) < len(after)
    assert [row["step"] for row in after] == [str(step + 1) for step in range(len(after))]


def read_steps(output: Path) -> list[dict[str, str]]:
    with (output / "fine-tune" / "steps.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_command_that_is_stopped_while_ray_starts_says_that_nothing_was_changed(folder: Path):
    with marked_command(folder, *TRAIN) as (process, running):
        read_until(process, "fine-tune:")
        send(process, signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
    assert (process.returncode, said) == (
        143,
        "interrupted by SIGTERM; nothing was changed; run the same command again\n",
    )
    assert left_of(running) == []


def test_nothing_runs_on_when_the_command_is_killed(folder: Path):
    with marked_command(folder, *TRAIN) as (process, running):
        read_until(process, "estimate:")
        process.kill()
        process.wait(timeout=60)
        assert left_of(running) == []
