"""Whatever befalls a file that runs leave ends in a sentence that names it, or changes nothing."""

from itertools import islice

import pytest
from damaged import OTHER, SENTENCE, UNCHANGED, outcomes
from result_folders import RESULTS

ABOUT = 100
"""Damages that are tried of each kind; `python tests/damage_trials.py` tries all."""


@pytest.mark.parametrize("name", list(RESULTS))
def test_a_damaged_file_of_results_ends_in_a_sentence_or_changes_nothing(tmp_path, name):
    kind = RESULTS[name]
    whole = kind.write(tmp_path / "whole")
    every = list(kind.damages(whole))
    some = islice(every, list(RESULTS).index(name) % 3, None, max(1, len(every) // ABOUT))
    wrong = [
        f"{damage.name[:100]!a}: {found.kind} {found.told!a}"
        for damage, found in outcomes(some, whole, tmp_path / "place", kind.use)
        if found.kind not in (SENTENCE, UNCHANGED, *([OTHER] if damage.is_edit else []))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["search", "part of scores"])
def test_a_sealed_file_never_leads_to_another_result(tmp_path, name):
    kind = RESULTS[name]
    whole = kind.write(tmp_path / "whole")
    damages = [damage for damage in kind.damages(whole) if damage.is_edit][::7]
    wrong = [
        f"{damage.name[:100]!a}: {found.kind} {found.told!a}"
        for damage, found in outcomes(damages, whole, tmp_path / "place", kind.use)
        if found.kind not in (SENTENCE, UNCHANGED)
    ]
    assert not wrong, "\n".join(wrong)
