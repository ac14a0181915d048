import numpy as np
import pytest

from biolm_ray.demo.transcripts import (
    ELEMENT,
    MAX_ELEMENTS,
    Transcript,
    draw_transcript,
    find_elements,
)


@pytest.fixture(scope="module")
def transcripts() -> list[Transcript]:
    random = np.random.default_rng(5)
    return [draw_transcript(random) for _ in range(300)]


def letters(transcript: Transcript) -> str:
    """One character per token: the letter, whether or not a junction stands on it."""
    return "".join(token[0] for token in transcript.tokens)


def test_elements_stand_where_they_were_planted_and_nowhere_else(
    transcripts: list[Transcript],
) -> None:
    for transcript in transcripts:
        assert tuple(find_elements(letters(transcript))) == transcript.element_starts


def test_elements_do_not_overlap(transcripts: list[Transcript]) -> None:
    for transcript in transcripts:
        assert all(gap >= len(ELEMENT) for gap in np.diff(transcript.element_starts))


def test_every_number_of_elements_is_drawn(transcripts: list[Transcript]) -> None:
    numbers = {len(transcript.element_starts) for transcript in transcripts}
    assert numbers == set(range(MAX_ELEMENTS + 1))


def test_overlapping_elements_are_both_found() -> None:
    assert find_elements("tatttatttat") == [0, 4]


def test_capitals_mark_every_third_token_from_start_to_stop_codon(
    transcripts: list[Transcript],
) -> None:
    for transcript in transcripts:
        text = letters(transcript)
        capitals = [place for place, letter in enumerate(text) if letter.isupper()]
        assert set(np.diff(capitals)) == {3}
        assert text[capitals[0] :].startswith("Atg")
        assert text[capitals[-1] :][:3] in ("Taa", "Tag", "Tga")


def test_junctions_stand_inside_the_cds_on_no_codon_start(transcripts: list[Transcript]) -> None:
    for transcript in transcripts:
        capitals = [i for i, token in enumerate(transcript.tokens) if token.isupper()]
        junctions = [i for i, token in enumerate(transcript.tokens) if token.endswith("ej")]
        assert all(capitals[1] < place < capitals[-1] for place in junctions)
        cds_length = capitals[-1] + 3 - capitals[0]
        assert transcript.junction_density == pytest.approx(100 * len(junctions) / cds_length)


def test_transcripts_have_246_to_506_tokens(transcripts: list[Transcript]) -> None:
    lengths = [len(transcript.tokens) for transcript in transcripts]
    assert min(lengths) >= 246
    assert max(lengths) <= 506


def test_the_half_life_follows_the_formula() -> None:
    transcript = Transcript(
        tokens=(), element_starts=(3, 20), junction_density=1.5, codon_optimality=-0.2
    )
    assert transcript.log_half_life == pytest.approx(1.9 - 0.5 * 2 + 0.3 * 1.5 + 0.9 * -0.2)
