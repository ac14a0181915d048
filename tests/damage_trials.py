"""Try all damages of all kinds of folders, and count what each ends in: `python damage_trials.py`.

Run it in the folder `tests` with the package installed. Names of kinds restrict it to those. It
ends with 1 if any damage ends in anything but a sentence or the same result.
"""

import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from damaged import OTHER, SENTENCE, UNCHANGED, Damage, outcomes
from model_folders import KINDS as MODELS
from model_folders import damages_of
from prepared_folders import damages_of as damages_of_data
from prepared_folders import found_before, older_manifest, opened, prepared_again
from result_folders import RESULTS

EDITED = "another result of an edit that nothing shows"


Trial = tuple[
    Callable[[Path], object], Callable[[Path], Iterator[Damage]], Callable[[Path], object]
]


def _prepared(folder: Path) -> None:
    prepared_again(folder)


def _prepared_of_before(folder: Path) -> None:
    prepared_again(folder)
    older_manifest(folder)


TRIALS: dict[str, Trial] = {
    **{name: (kind.write, damages_of, kind.use) for name, kind in MODELS.items()},
    **{name: (kind.write, kind.damages, kind.use) for name, kind in RESULTS.items()},
    "prepared, opened": (_prepared, damages_of_data, opened),
    "prepared, found before": (_prepared, damages_of_data, found_before),
    "prepared before versions": (_prepared_of_before, damages_of_data, opened),
}
"""What writes a folder, what can befall it, and what it is used for."""


def main(names: list[str]) -> int:
    """Try the damages of some kinds of folders, or of all, and print what is wrong."""
    logging.getLogger().addHandler(logging.NullHandler())
    total: Counter[str] = Counter()
    for name in names or list(TRIALS):
        total += _try_kind(name)
    print(f"in all: {_said(total)}")
    return int(bool(total.keys() - {SENTENCE, UNCHANGED, EDITED}))


def _try_kind(name: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        write, damages, use = TRIALS[name]
        whole = Path(folder) / "whole"
        write(whole)
        tried = outcomes(damages(whole), whole, Path(folder) / "place", use)
        for damage, found in tried:
            is_edited = damage.is_edit and found.kind == OTHER
            kind = EDITED if is_edited else found.kind
            counts[kind] += 1
            if kind not in (SENTENCE, UNCHANGED, EDITED):
                print(f"  {name}: {damage.name[:120]!a}: {kind}: {found.told[:300]!a}")
    print(f"{name}: {_said(counts)}; {time.monotonic() - started:.0f} s", flush=True)
    return counts


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in counts.most_common())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
