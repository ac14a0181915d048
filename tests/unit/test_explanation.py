from dataclasses import replace
from pathlib import Path

from biolm_ray.inference.distribute import LooSummary
from biolm_ray.inference.explanation import counted_over_all

SUMMARY = LooSummary(
    num_sequences=1,
    num_positions=300,
    num_reused=0,
    seconds=1.0,
    largest_difference=0.0,
    num_redone=0,
    paths=(Path("scores.csv"),),
)


def test_progress_counts_the_edits_of_all_tables() -> None:
    told = []
    tokens = [100, 200, 300]
    for index, summaries in enumerate(
        ([], [SUMMARY], [SUMMARY, replace(SUMMARY, num_positions=600)])
    ):
        progress = counted_over_all(lambda *counts: told.append(counts), summaries, tokens, index)
        progress(30, 3 * tokens[index])
    assert told == [(30, 1800), (330, 1800), (930, 1800)]
