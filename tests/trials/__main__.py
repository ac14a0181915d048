"""Try the program in hundreds of ways that go wrong, and count how it ends.

Damages files, spoils the surroundings and runs commands at once, drawn at random from a seed, all
through the command line. Prints what failed, a table and, as its last line, one JSON object; ends
with 1 if any trial hung, showed a traceback or changed results without a word.

    make trials
    make trials ARGS="--trials 30 --seed 7 --kinds damage"
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trials.at_once import concurrent_trials
from trials.command import ENDINGS, GOOD, QUIET
from trials.damage import damage_trials
from trials.environment import environment_trials
from trials.trial import Trial
from trials.whole import Whole, make_whole

SHARES = {"damage": 0.6, "environment": 0.28, "at once": 0.12}
MAKERS = {
    "damage": damage_trials,
    "environment": environment_trials,
    "at once": concurrent_trials,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kinds", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--log", type=Path, help="a file for what every trial printed")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="trials-") as folder, ray_head() as address:
        whole = make_whole(Path(folder) / "whole", address)
        trials = drawn(whole, given.kinds, given.trials, given.seed)
        tally = Counter(run_all(trials, whole, Path(folder), given.log))
    print_table(tally)
    return 0 if all(seen in GOOD for _, seen in tally) else 1


def drawn(whole: Whole, kinds: Sequence[str], number: int, seed: int) -> list[Trial]:
    """Draw trials of some kinds, each with its share of the number."""
    total = sum(SHARES[kind] for kind in kinds)
    trials: list[Trial] = []
    for kind in kinds:
        share = round(number * SHARES[kind] / total)
        trials += MAKERS[kind](whole, share, random.Random(f"{seed} {kind}"))
    return trials


def run_all(
    trials: Sequence[Trial], whole: Whole, folder: Path, log: Path | None
) -> Iterator[tuple[str, str]]:
    """Run one trial after the other; gives the kind of each and how it ended."""
    for number, trial in enumerate(trials, start=1):
        place = folder / f"trial-{number}"
        place.mkdir()
        begun = time.monotonic()
        seen, output = trial.run(whole, place)
        took = time.monotonic() - begun
        print(f"{number}/{len(trials)} {took:4.0f} s  {seen:9} {trial.kind}: {trial.name}")
        if seen not in GOOD:
            print("    " + output.strip()[-1500:].replace("\n", "\n    "))
        sys.stdout.flush()
        if log is not None:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"=== {number} {seen} {trial.kind}: {trial.name}\n{output}\n")
        shutil.rmtree(place, ignore_errors=True)
        yield trial.kind, seen


def print_table(tally: Counter[tuple[str, str]]) -> None:
    """Print how many trials of each kind ended how, and the same as JSON."""
    endings = [name for name in ENDINGS if any(seen == name for _, seen in tally)]
    print(f"\n{'':28}" + "".join(f"{name:>11}" for name in endings))
    for kind in dict.fromkeys(kind for kind, _ in tally):
        print(f"{kind:28}" + "".join(f"{tally[kind, name]:11}" for name in endings))
    totals = {name: sum(n for (_, seen), n in tally.items() if seen == name) for name in ENDINGS}
    for name in endings:
        print(f"{totals[name]:4} {ENDINGS[name]}")
    print(json.dumps({"trials": sum(totals.values()), **totals}))


@contextmanager
def ray_head() -> Iterator[str]:
    """A cluster of two CPUs that most trials join, so that none waits for a Ray to start."""
    code = (
        "import ray, sys\n"
        "made = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)\n"
        "print(made.address_info['gcs_address'], flush=True)\n"
        "sys.stdin.read()\n"
    )
    head = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **QUIET},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert head.stdout is not None
    assert head.stdin is not None
    address = head.stdout.readline().strip()
    try:
        yield address
    finally:
        head.stdin.close()
        head.wait(60)


if __name__ == "__main__":
    sys.exit(main())
