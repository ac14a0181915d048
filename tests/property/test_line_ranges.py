"""Lines by byte range, against reading the whole text at once."""

import io
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from biolm_ray.data.lines import lines_in_range, scan_lines

CONTENTS = st.builds(
    lambda bom, lines, end, last: (b"\xef\xbb\xbf" if bom else b"") + end.join(lines) + last,
    st.booleans(),
    st.lists(st.text('aäß🧬\t" ,\ufeff', max_size=6).map(str.encode), max_size=8),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.sampled_from([b"", b"\n", b"\r\n"]),
)


def whole(content: bytes) -> list[bytes]:
    """All lines the slow way: strip the mark once, cut at LF, take off CR."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line[:-1] if line.endswith(b"\r") else line for line in lines]


@given(CONTENTS, st.lists(st.integers(0, 80), max_size=6))
@example(b"\xef\xbb\xbf", [1])
@example(b"\xef\xbb\xbf\n", [2])
@example(b"\xef\xbb\xbfa\nb", [1, 2, 3, 4, 5])
def test_ranges_cut_anywhere_give_every_line_once(content, cuts):
    bounds = [0, *sorted(min(cut, len(content)) for cut in cuts), None]
    found = []
    for start, stop in pairwise(bounds):
        found += lines_in_range(io.BytesIO(content), start or 0, stop)
    expected = whole(content)
    if content == b"\xef\xbb\xbf":
        expected = [b""]
    assert found == expected


@given(CONTENTS, st.integers(1, 40), st.booleans(), st.none() | st.integers(1, 5))
def test_scanned_ranges_know_their_lines_and_rows(content, range_bytes, has_header, max_rows):
    scan = scan_lines(
        io.BytesIO(content), has_header=has_header, range_bytes=range_bytes, max_rows=max_rows
    )
    rows = [(number, line) for number, line in enumerate(whole(content), 1) if line.strip()]
    rows = rows[1:] if has_header else rows
    rows = rows[:max_rows]
    found = []
    for lines in scan.ranges:
        row = lines.first_row
        raw = lines_in_range(io.BytesIO(content), lines.start, lines.stop)
        for number, line in enumerate(raw, lines.first_line):
            if line.strip():
                if row >= 0:
                    found.append((row, number, line))
                row += 1
    assert found == [(row, number, line) for row, (number, line) in enumerate(rows)]
    assert scan.num_rows == len(rows)
