"""A table of what was found, what must be reached and what is aimed at."""

import json
from collections.abc import Mapping, Sequence

Row = tuple[str, str, float, float]
"""The key of a measure, its name for people, what it must reach, what is aimed at."""


def print_measures(table: Sequence[Row], results: Mapping[str, float]) -> None:
    """Print a table of the measures that were taken and, as the last line, one JSON object."""
    width = max(len(text) for _, text, _, _ in table)
    print(f"{'measure':{width}} {'found':>9} {'must':>6} {'aim':>6}")
    for key, text, must, aim in table:
        if key in results:
            print(f"{text:{width}} {results[key]:9.2f} {must:6g} {aim:6g}")
    print(json.dumps({key: round(value, 4) for key, value in results.items()}))
