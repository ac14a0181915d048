"""Interrupt trainings at random moments and compare what they end with to undisturbed ones.

Runs the command line on a simulated cluster: a head without CPUs and two nodes of one CPU. Prints
a table and, as its last line, one JSON object; ends with 1 if anything was not bit-identical.

    make chaos
    make chaos ARGS="--times 2 --kinds worker driver --seed 7"
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from simulated import Nodes, kill, simulated_cluster

from biolm_ray.demo.data import DATA_SETTINGS, write_demo_data
from biolm_ray.errors import ResourceError

NUM_NODES = 2
NUM_ROWS = 60
DISK_MEGABYTES = 48
STOPPED = 128 + signal.SIGTERM
LIMIT_SECONDS = 600
ALONE = "ray::train_with_ray"
ONE_OF_SEVERAL = "ray::RayTrainWorker"
CONTROLLER = "ray::TrainController"
COMPARED = ("model.safetensors", "trainer_state.json", "test_predictions.csv")
SETTINGS = (
    DATA_SETTINGS
    + """\
  prepared_path: prepared
preprocessing: {block_size: 512}
training: {batch_size: 4, gradient_accumulation: 2, num_epochs: 20, patience: 20, scaling: log}
model: {name: saluki, channels: 16, num_layers: 3}
resources: {max_failures: 1000}
"""
)
FOLDS = ("--set", "splits.num_folds=5", "--ngpus", "0")
TWO_WORKERS = ("--splitratio", "60,20,20", "--ngpus", "2")


@dataclass
class Tally:
    """What a kind of interruption has led to."""

    interruptions: int = 0
    identical: int = 0
    runs: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, number: int, problem: str | None) -> None:
        """Take in that a training was interrupted so often, and what is wrong with its end."""
        self.runs += 1
        self.interruptions += number
        if problem is None:
            self.identical += number
        else:
            self.failures.append(problem)


class Run:
    """A command that trains in a folder, as a process of its own."""

    def __init__(self, command: Sequence[str], cwd: Path, log: Path) -> None:
        self.log = log
        with log.open("a") as output:
            self.process = subprocess.Popen(
                command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT
            )
        self._started = time.monotonic()

    def ends_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def finish(self) -> int:
        """Wait for its end; one that takes too long is killed."""
        left = max(1.0, LIMIT_SECONDS - (time.monotonic() - self._started))
        if not self.ends_within(left):
            self.process.kill()
            self.process.wait()
        return self.process.returncode

    @property
    def is_late(self) -> bool:
        return time.monotonic() - self._started > LIMIT_SECONDS


@dataclass
class Bench:
    """A cluster, a folder to train in, and what undisturbed trainings end with."""

    nodes: Nodes
    folder: Path
    draw: random.Random
    _num_runs: int = 0
    _calm: dict[tuple[str, ...], tuple[dict[str, bytes], float]] = field(default_factory=dict)

    def new_folder(self, below: Path | None = None) -> Path:
        self._num_runs += 1
        return (below or self.folder) / f"run-{self._num_runs}"

    def start(self, output: Path, arguments: Sequence[str]) -> Run:
        """Train into a folder, or go on there."""
        command = [sys.executable, "-m", "biolm_ray", "fine-tune", "--configfile", "run.yaml"]
        command += ["--outputpath", str(output), "--resume", "auto", *arguments]
        command += ["--set", f"resources.address={self.nodes.address}"]
        return Run(command, self.folder, self.folder / f"{output.name}.log")

    def calm(self, arguments: Sequence[str]) -> tuple[dict[str, bytes], float]:
        """Give the results of an undisturbed training, and how many seconds it takes."""
        key = tuple(arguments)
        if key not in self._calm:
            output, started = self.new_folder(), time.monotonic()
            run = self.start(output, arguments)
            if run.finish():
                raise SystemExit(f"the undisturbed training failed:\n{run.log.read_text()}")
            self._calm[key] = results(output), time.monotonic() - started
        return self._calm[key]

    def problem(self, run: Run, output: Path, arguments: Sequence[str]) -> str | None:
        """Say what is wrong with a run that has ended, if anything is."""
        if run.process.returncode:
            return f"{output.name} ended with {run.process.returncode}: {last_line(run.log)}"
        expected, found = self.calm(arguments)[0], results(output)
        differing = [name for name in expected if found.get(name) != expected[name]]
        return f"{output.name} differs in {', '.join(differing)}" if differing else None


def results(output: Path) -> dict[str, bytes]:
    """Read the files that tell whether two trainings were the same."""
    folder = output / "fine-tune"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in COMPARED
        for path in sorted(folder.rglob(name))
    }


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("error: ")
    return lines[-1].strip()[:500]


@dataclass(frozen=True)
class Strike:
    """A way to disturb a command while it runs.

    Attributes:
        is_ready: Tells whether there is anything to kill.
        hit: Kills it, and tells whether it was still there.
    """

    is_ready: Callable[[], bool]
    hit: Callable[[], bool]


def within_runs(
    bench: Bench, times: int, strike: Strike, arguments: Sequence[str] = FOLDS
) -> Tally:
    """Strike while the command runs, again and again; it has to cope by itself."""
    tally, (_, seconds) = Tally(), bench.calm(arguments)
    while tally.interruptions < times and tally.runs < times + 5:
        output, struck = bench.new_folder(), 0
        run = bench.start(output, arguments)
        while not run.ends_within(0.2) and not run.is_late:
            if tally.interruptions + struck >= times or not strike.is_ready():
                continue
            if run.ends_within(bench.draw.uniform(0, seconds / 4)):
                break
            struck += strike.hit()
        run.finish()
        tally.add(struck, bench.problem(run, output, arguments))
    return tally


def across_runs(
    bench: Bench, times: int, end: Callable[[Run, Path], bool], below: Path | None = None
) -> Tally:
    """End the command, start it again, and so on until it ends by itself.

    `end` tells whether it has interrupted the command.
    """
    tally, (_, seconds) = Tally(), bench.calm(FOLDS)
    while tally.interruptions < times and tally.runs < times + 5:
        output, struck = bench.new_folder(below), 0
        while True:
            run = bench.start(output, FOLDS)
            enough = tally.interruptions + struck >= times
            if run.ends_within(LIMIT_SECONDS if enough else bench.draw.uniform(0, seconds)):
                break
            struck += end(run, output)
        tally.add(struck, bench.problem(run, output, FOLDS))
    return tally


def kill_titled(bench: Bench, title: str) -> Strike:
    def hit() -> bool:
        found = bench.nodes.processes(title)
        return bool(found) and kill(bench.draw.choice(found))

    return Strike(lambda: bool(bench.nodes.processes(title)), hit)


def replace_node(bench: Bench) -> Strike:
    def hit() -> bool:
        bench.nodes.kill_one(bench.draw)
        bench.nodes.add()
        return True

    return Strike(lambda: bool(bench.nodes.processes(ALONE)), hit)


def kill_worker(bench: Bench, times: int) -> Tally:
    return within_runs(bench, times, kill_titled(bench, ALONE))


def kill_one_of_two(bench: Bench, times: int) -> Tally:
    return within_runs(bench, times, kill_titled(bench, ONE_OF_SEVERAL), TWO_WORKERS)


def kill_controller(bench: Bench, times: int) -> Tally:
    return within_runs(bench, times, kill_titled(bench, CONTROLLER), TWO_WORKERS)


def kill_node(bench: Bench, times: int) -> Tally:
    return within_runs(bench, times, replace_node(bench))


def kill_worker_or_node(bench: Bench, times: int) -> Tally:
    """Take turns, so that a few interruptions have both."""
    strikes = [kill_titled(bench, ALONE), replace_node(bench)]

    def hit() -> bool:
        strikes.reverse()
        return strikes[1].hit()

    return within_runs(bench, times, Strike(strikes[0].is_ready, hit))


def kill_driver(bench: Bench, times: int) -> Tally:
    def end(run: Run, output: Path) -> bool:
        run.process.kill()
        run.process.wait()
        return True

    return across_runs(bench, times, end)


def stop_driver(bench: Bench, times: int) -> Tally:
    """Stop the command as job systems do; it has to end in order."""
    disorderly: list[str] = []

    def end(run: Run, output: Path) -> bool:
        run.process.terminate()
        code = run.finish()
        if code not in (0, STOPPED):
            disorderly.append(f"{output.name} ended with {code}: {last_line(run.log)}")
        return code != 0

    tally = across_runs(bench, times, end)
    tally.failures += disorderly
    return tally


def damage_checkpoint(bench: Bench, times: int) -> Tally:
    """Kill the driver, and change a byte of the newest checkpoint or cut it off."""

    def end(run: Run, output: Path) -> bool:
        run.process.kill()
        run.process.wait()
        time.sleep(1.0)  # its workers are ended by Ray
        files = [path for path in output.rglob("checkpoint/*") if path.is_file()]
        if not files:
            return False
        newest = max(files, key=lambda path: path.stat().st_mtime_ns)
        content = bytearray(newest.read_bytes())
        place = bench.draw.randrange(len(content))
        if bench.draw.random() < 0.5:
            content[place] ^= 0xFF
        else:
            del content[place:]
        newest.write_bytes(content)
        return True

    return across_runs(bench, times, end)


def fill_disk(bench: Bench, times: int) -> Tally:
    """Fill the file system of the results; the run has to say so, and to go on with more room."""
    with small_disk(bench.folder / "disk") as disk:
        ballast = disk / "ballast"
        silent: list[str] = []

        def end(run: Run, output: Path) -> bool:
            with ballast.open("wb", buffering=0) as stream:
                try:
                    while True:
                        stream.write(bytes(1 << 14))
                except OSError:
                    pass
            code = run.finish()
            ballast.unlink()
            if code not in (0, ResourceError.exit_code):
                silent.append(f"{output.name} ended with {code}: {last_line(run.log)}")
            return code != 0

        tally = across_runs(bench, times, end, below=disk)
        tally.failures += silent
        return tally


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of its own size, in memory; that takes the rights of root."""
    folder.mkdir()
    size = f"size={DISK_MEGABYTES}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "chaos", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


KINDS: dict[str, Callable[[Bench, int], Tally]] = {
    "worker": kill_worker,
    "worker-of-two": kill_one_of_two,
    "controller": kill_controller,
    "node": kill_node,
    "driver": kill_driver,
    "stop": stop_driver,
    "disk": fill_disk,
    "checkpoint": damage_checkpoint,
}
MIXED = {"worker-or-node": kill_worker_or_node}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="interruptions of each kind")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, *MIXED], default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    tallies = {}
    with (
        tempfile.TemporaryDirectory(prefix="chaos", ignore_cleanup_errors=True) as folder,
        simulated_cluster(NUM_NODES) as nodes,
    ):
        write_demo_data(Path(folder) / "demo.tsv", num_rows=NUM_ROWS)
        (Path(folder) / "run.yaml").write_text(SETTINGS)
        bench = Bench(nodes, Path(folder), random.Random(given.seed))
        for kind in given.kinds:
            started = time.monotonic()
            tallies[kind] = (KINDS | MIXED)[kind](bench, given.times)
            tallies[kind].seconds = round(time.monotonic() - started, 1)
            print(line(kind, tallies[kind]), flush=True)
    print(json.dumps({kind: vars(tally) for kind, tally in tallies.items()}))
    sys.exit(any(tally.failures for tally in tallies.values()))


def line(kind: str, tally: Tally) -> str:
    text = f"{kind:<15} {tally.identical} of {tally.interruptions} bit-identical"
    text += f"   {tally.runs} trainings, {tally.seconds:.0f} s"
    return "\n  ".join([text, *tally.failures])


if __name__ == "__main__":
    main()
