"""Tokens that mark the structure of a transcript: `e` CDS end, `s` CDS start, `x` exon junction.

They are markers under these letters only, that is after replacement.
"""

from collections.abc import Sequence
from typing import Literal

from biolm_ray.errors import DataError

CDS_END, CDS_START, EXON_JUNCTION = "e", "s", "x"
MARKERS = frozenset((CDS_END, CDS_START, EXON_JUNCTION))


def kept_positions(
    tokens: Sequence[str], drop_markers: bool, region: Literal["whole", "utr3", "outside_utr3"]
) -> Sequence[int]:
    """Tell which tokens stay, by position.

    The region utr3 is what follows the first `e`, outside_utr3 what precedes it; `e` itself
    belongs to neither.

    Raises:
        DataError: A region is asked for and there is no `e`, or nothing stays.
    """
    start, stop = 0, len(tokens)
    if region != "whole":
        if CDS_END not in tokens:
            raise DataError(
                f"the sequence has no token '{CDS_END}' for the end of the CDS, which tells "
                "the 3'UTR from the rest"
            )
        end = tokens.index(CDS_END)
        start, stop = (end + 1, stop) if region == "utr3" else (0, end)
    if not drop_markers:
        kept: Sequence[int] = range(start, stop)
    else:
        kept = [i for i in range(start, stop) if tokens[i] not in MARKERS]
    if not kept:
        raise DataError("nothing of the sequence is left without its markers and cut-off regions")
    return kept
