import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scored import track_of

from biolm_ray.report.elements import find_elements
from biolm_ray.report.regions import MarkedTrack, mark_regions
from biolm_ray.report.score_plots import (
    LETTERS_SHOWN,
    Picture,
    choose_pictures,
    draw_picture,
    write_picture,
)


def picture_of(length: int, *, letters: str = "acgu", **more) -> Picture:
    scores = np.random.default_rng(0).normal(scale=0.1, size=length)
    scores[length // 3 : length // 3 + 5] -= 3
    text = (letters * length)[:length]
    (marked,) = mark_regions([track_of(text, scores)], {"g": (length // 5, length // 2)})
    return Picture(marked, tuple(find_elements([marked])), **more)


def test_letters_are_as_high_as_their_scores_and_stand_at_their_places() -> None:
    picture = picture_of(40)
    _, below = draw_picture(picture).axes
    boxes = [patch.get_path().get_extents() for patch in below.patches]
    track = picture.marked.track
    assert len(boxes) == 40
    for box, score, place in zip(boxes, track.scores, track.offsets, strict=True):
        assert (box.y0 if score < 0 else box.y1) == pytest.approx(score, abs=1e-6)
        assert abs(box.y1 if score < 0 else box.y0) < 1e-6
        assert (box.x0 + box.x1) / 2 == pytest.approx(place, abs=1e-6)


def test_a_long_sequence_is_shown_around_its_strongest_stretch() -> None:
    picture = picture_of(5000)
    above, below = draw_picture(picture).axes
    assert len(below.patches) == LETTERS_SHOWN
    left, right = below.get_xlim()
    strongest = picture.elements[0]
    assert left < strongest.start < strongest.stop < right
    low, high = above.get_ylim()
    assert low < picture.marked.track.scores.min() < picture.marked.track.scores.max() < high
    bars = above.collections[1].get_segments()
    assert min(segment[0][1] for segment in bars) == picture.marked.track.scores.min()


@pytest.mark.parametrize(
    ("length", "first", "said"),
    [
        (60, 0, "whole sequence"),
        (841, 0, "first 60 of 841 letters"),
        (841, 781, "last 60 of 841 letters"),
        (841, 100, "letters 100 to 159 of 841, counted from 0"),
        (None, 100, "all that was scored, positions 100 to 159"),
    ],
)
def test_the_title_says_which_part_of_the_sequence_was_scored(length, first, said) -> None:
    picture = replace(picture_of(60), length=length)
    track = picture.marked.track
    track = replace(track, offsets=track.offsets + first)
    picture = replace(picture, marked=replace(picture.marked, track=track))
    above = draw_picture(picture).axes[0]
    assert above.get_title(loc="left").startswith(f"{said}; ")


def test_titles_and_axes_say_what_is_shown() -> None:
    picture = picture_of(
        60, edit="masking the letter", changing="half_life_hours", motifs=(("ARE", 20, 25),)
    )
    figure = draw_picture(picture)
    above, below = figure.axes
    assert figure.get_suptitle() == "g   (predicted 1.5, measured 2)"
    assert below.get_ylabel() == "change of half_life_hours\nby masking the letter"
    assert "from 0" in below.get_xlabel()
    assert {text.get_text() for text in above.texts} == {"5'UTR", "CDS", "3'UTR"}
    assert [text.get_text() for text in below.texts] == ["ARE"]


def test_names_that_look_like_formulas_are_shown_as_they_are(tmp_path) -> None:
    track = replace(track_of("acg", [1, 2, 3]), sequence="$x_", label="$^$")
    picture = Picture(MarkedTrack(track), (), (("$_$", 0, 2),), changing="class $^$")
    write_picture(tmp_path / "formula.png", picture)
    assert "$x_" in draw_picture(picture).get_suptitle()


def test_a_picture_can_be_drawn_of_any_track(tmp_path) -> None:
    odd = [
        track_of("a", [1]),
        track_of("?acg", [0, 0, 0, 0]),
        track_of(["a", "cej", "x", "g"], [1, -1, 2, 3]),
        track_of("MKLE", [1, 2, 3, -4]),
    ]
    for number, track in enumerate(odd):
        write_picture(tmp_path / f"{number}.png", Picture(MarkedTrack(track), (), nucleic=False))
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


def test_the_sequences_with_the_strongest_elements_are_drawn() -> None:
    tracks = [track_of("acgu" * 9, np.where(np.arange(36) == 9, peak, 0)) for peak in (1, 3, 2)]
    marked = mark_regions(tracks)
    elements = find_elements(marked)
    chosen = choose_pictures(marked, elements, 2)
    assert [item is marked[number] for (item, _), number in zip(chosen, (1, 2), strict=True)] == [
        True,
        True,
    ]
    assert choose_pictures(marked, elements, 0) == []


def test_a_home_folder_that_cannot_be_written_to_is_no_noise(tmp_path) -> None:
    (tmp_path / "home").write_text("a file, below which nothing can be made")
    program = (
        "from test_score_plots import draw_picture, picture_of\ndraw_picture(picture_of(20))\n"
    )
    unset = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
