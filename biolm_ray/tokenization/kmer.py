"""Consecutive k-mers that respect the markers of a transcript."""

from collections.abc import Iterable, Iterator, Sequence

from biolm_ray.tokenization.markers import CDS_START, EXON_JUNCTION


def frame_kmers(
    tokens: Sequence[str], size: int, center: str | None = None
) -> tuple[list[str], int]:
    """Join tokens into non-overlapping k-mers of `size` letters.

    A k-mer never crosses `s`, which is a token of its own and after which a new frame starts.
    `x` between two letters of one k-mer is part of its text and uses no letter; anywhere else it
    is a token of its own. Letters left over before `s` or at an end form a shorter token.

    Args:
        tokens: One sequence after replacement; a letter is one token.
        size: Letters per k-mer.
        center: The first token equal to it stays alone, and the frames run outward from it: to
            the left of it a shorter token lies at the left end of its frame.

    Returns:
        The k-mers and the index of the centre among them, -1 if there is none.
    """
    if center is None or center not in tokens:
        return list(_frame(tokens, size)), -1
    position = tokens.index(center)
    left = [list(group) for group in _groups(reversed(tokens[:position]), size)]
    before = ["".join(reversed(group)) for group in reversed(left)]
    return [*before, center, *_frame(tokens[position + 1 :], size)], len(before)


def _frame(tokens: Iterable[str], size: int) -> Iterator[str]:
    return ("".join(group) for group in _groups(tokens, size))


def _groups(tokens: Iterable[str], size: int) -> Iterator[list[str]]:
    group: list[str] = []
    waiting: list[str] = []  # junctions that belong to the group if one more letter comes
    num_letters = 0
    for token in tokens:
        if token == EXON_JUNCTION and num_letters > 0:
            waiting.append(token)
            continue
        if token in (CDS_START, EXON_JUNCTION):
            if group:
                yield group
            yield from ([junction] for junction in waiting)
            yield [token]
            group, waiting, num_letters = [], [], 0
            continue
        group += [*waiting, token]
        waiting = []
        num_letters += 1
        if num_letters == size:
            yield group
            group, num_letters = [], 0
    if group:
        yield group
    yield from ([junction] for junction in waiting)
