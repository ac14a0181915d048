"""Synthetic transcripts whose half-life is a known function of their sequence.

The log half-life falls with every AU-rich element of the 3'UTR and rises with the density of exon
junctions and with codon optimality. The three are drawn independently of each other, and the
elements account for about 70 % of what the sequence tells.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

ELEMENT = "tatttat"

BASE_LOG_HALF_LIFE = 1.9
PER_ELEMENT = -0.5
PER_JUNCTION_DENSITY = 0.3
PER_OPTIMALITY = 0.9
NOISE_DEVIATION = 0.48

MAX_ELEMENTS = 5
MAX_JUNCTIONS = 6
UTR5_LETTERS = (20, 60)
CDS_CODONS = (40, 80)
UTR3_LETTERS = (100, 200)

_LETTERS = np.array(list("acgt"))
_STOPS = ("taa", "tag", "tga")
_CODONS = tuple(codon for codon in map("".join, product("acgt", repeat=3)) if codon not in _STOPS)
_WEIGHTS = np.array([1.0 if codon[2] in "cg" else -1.0 for codon in _CODONS])


@dataclass(frozen=True)
class Transcript:
    """A transcript and what decides its half-life.

    Attributes:
        tokens: A letter each; capital where a codon starts. At a junction the token is the last
            letter of the exon followed by "ej".
        element_starts: 0-based position of the first token of each planted element, rising.
        junction_density: Exon junctions per 100 tokens of the CDS.
        codon_optimality: Mean weight of the codons between start and stop: 1 for a codon that
            ends in c or g, -1 for any other.
    """

    tokens: tuple[str, ...]
    element_starts: tuple[int, ...]
    junction_density: float
    codon_optimality: float

    @property
    def log_half_life(self) -> float:
        """The natural logarithm of the half-life in hours, without noise."""
        return (
            BASE_LOG_HALF_LIFE
            + PER_ELEMENT * len(self.element_starts)
            + PER_JUNCTION_DENSITY * self.junction_density
            + PER_OPTIMALITY * self.codon_optimality
        )


def draw_transcript(random: np.random.Generator) -> Transcript:
    """Draw a transcript of 246 to 506 tokens."""
    utr5 = _draw_utr5(random)
    cds, codon_optimality = _draw_cds(random)
    num_junctions = _mark_junctions(cds, random)
    utr3, starts = _draw_utr3(random)
    offset = len(utr5) + len(cds)
    return Transcript(
        tokens=(*utr5, *cds, *utr3),
        element_starts=tuple(offset + start for start in starts),
        junction_density=100 * num_junctions / len(cds),
        codon_optimality=codon_optimality,
    )


def find_elements(letters: str) -> list[int]:
    """Every start of the element, overlapping ones included."""
    return [start for start in range(len(letters)) if letters.startswith(ELEMENT, start)]


def _between(random: np.random.Generator, limits: tuple[int, int]) -> int:
    return int(random.integers(limits[0], limits[1], endpoint=True))


def _draw_letters(random: np.random.Generator, length: int) -> str:
    return "".join(_LETTERS[random.integers(4, size=length)])


def _draw_utr5(random: np.random.Generator) -> str:
    while True:
        letters = _draw_letters(random, _between(random, UTR5_LETTERS))
        if ELEMENT not in letters:
            return letters


def _draw_cds(random: np.random.Generator) -> tuple[list[str], float]:
    """Tokens from start to stop codon; each transcript has its own leaning in codon choice."""
    leaning = np.exp(random.normal(scale=0.5) * _WEIGHTS)
    chosen = random.choice(
        len(_CODONS), size=_between(random, CDS_CODONS), p=leaning / leaning.sum()
    )
    stop = _STOPS[random.integers(len(_STOPS))]
    codons = ["atg", *(_CODONS[index] for index in chosen), stop]
    return list("".join(codon.capitalize() for codon in codons)), float(_WEIGHTS[chosen].mean())


def _mark_junctions(cds: list[str], random: np.random.Generator) -> int:
    """Put junctions on tokens that start no codon, outside start and stop; give their number."""
    number = int(random.integers(MAX_JUNCTIONS + 1))
    inner = [position for position in range(3, len(cds) - 3) if position % 3]
    for position in random.choice(inner, size=number, replace=False):
        cds[position] += "ej"
    return number


def _draw_utr3(random: np.random.Generator) -> tuple[str, list[int]]:
    """Letters that hold the planted elements and no other, and where they start."""
    number = int(random.integers(MAX_ELEMENTS + 1))
    background = _between(random, UTR3_LETTERS) - number * len(ELEMENT)
    while True:
        letters = _draw_letters(random, background)
        before = sorted(random.integers(background + 1, size=number).tolist())
        starts = [place + rank * len(ELEMENT) for rank, place in enumerate(before)]
        for start in starts:
            letters = letters[:start] + ELEMENT + letters[start:]
        if find_elements(letters) == starts:
            return letters, starts
