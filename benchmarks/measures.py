"""A table of what was found, what must be reached and what is aimed at."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

Row = tuple[str, str, float | None, float | None]
"""The key of a measure, its name for people, what it must reach, what is aimed at, if anything."""


def print_measures(table: Sequence[Row], results: Mapping[str, float]) -> None:
    """Print a table of the measures that were taken and, as the last line, one JSON object."""
    width = max(len(text) for _, text, _, _ in table)
    print(f"{'measure':{width}} {'found':>9} {'must':>6} {'aim':>6}")
    for key, text, must, aim in table:
        if key in results:
            goals = " ".join("     -" if goal is None else f"{goal:6g}" for goal in (must, aim))
            print(f"{text:{width}} {results[key]:9.2f} {goals}")
    print(json.dumps({key: round(value, 4) for key, value in results.items()}))


def take_measures(
    about: str, measures: Mapping[str, Callable[[], dict[str, float]]], table: Sequence[Row]
) -> None:
    """Take those measures that the command line names (`--only`), else all, and print them.

    Each has a process of its own, so that what one leaves in memory does not touch the next.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=measures, default=list(measures))
    results: dict[str, float] = {}
    for name in parser.parse_args().only:
        print(f"measuring {name} ...", file=sys.stderr)
        with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as process:
            results |= process.submit(measures[name]).result()
    print_measures(table, results)
