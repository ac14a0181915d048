"""Tokens that mark the structure of a transcript: `e` CDS end, `s` CDS start, `x` exon junction.

They are markers under these letters only, that is after replacement.
"""

from collections.abc import Sequence
from typing import Literal

from biolm_ray.errors import DataError

CDS_END, CDS_START, EXON_JUNCTION = "e", "s", "x"
MARKERS = frozenset((CDS_END, CDS_START, EXON_JUNCTION))
NO_UTR3 = f"the sequence has no token '{CDS_END}' for the end of the CDS, and so no known 3'UTR"
"""Why a row without the marker has no part in a run on 3'UTRs; nothing is wrong with it."""


def kept_positions(
    tokens: Sequence[str], drop_markers: bool, region: Literal["whole", "utr3", "outside_utr3"]
) -> Sequence[int]:
    """Tell which tokens stay, by position.

    The region utr3 is what follows the first `e`, outside_utr3 what precedes it; `e` itself
    belongs to neither. Without an `e` everything lies outside.

    Raises:
        DataError: The 3'UTR is asked for and there is no `e`, or nothing stays.
    """
    start, stop = 0, len(tokens)
    if region != "whole":
        end = tokens.index(CDS_END) if CDS_END in tokens else stop
        if end == stop and region == "utr3":
            raise DataError(NO_UTR3)
        start, stop = (end + 1, stop) if region == "utr3" else (0, end)
    if not drop_markers:
        kept: Sequence[int] = range(start, stop)
    else:
        kept = [i for i in range(start, stop) if tokens[i] not in MARKERS]
    if not kept:
        raise DataError("nothing of the sequence is left without its markers and cut-off regions")
    return kept
