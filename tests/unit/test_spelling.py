"""One function finds the name that was meant."""

import pytest

from biolm_ray.config.spelling import closest, did_you_mean


@pytest.mark.parametrize(
    ("word", "names", "meant"),
    [
        ("SEQUENCE", ["id", "sequence"], "sequence"),
        ("half life", ["Half_Life", "id"], "Half_Life"),
        ("halflife", ["id", "Half-Life (h)"], "Half-Life (h)"),
        ("seq", ["split", "my_sequence"], "my_sequence"),
        ("Sequnce", ["split", "SEQUENCE"], "SEQUENCE"),
        ("--EPOCHS", ["--epochs", "--help"], "--epochs"),
        ("qqq", ["id", "sequence"], None),
        ("---", ["id", "---"], "---"),
    ],
)
def test_case_blanks_and_signs_do_not_count(word, names, meant):
    assert closest(word, names) == meant


def test_words_that_hold_the_whole_one_can_be_left_out():
    assert closest("est", ["latest", "tes"], holding=False) == "tes"


def test_a_hint_is_a_question_or_nothing():
    assert did_you_mean("Seq", ["seq"]) == "; did you mean 'seq'?"
    assert did_you_mean("qqq", ["seq"]) == ""
