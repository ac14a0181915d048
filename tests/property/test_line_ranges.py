"""Lines and records by byte range, against reading the whole text at once."""

import io
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from biolm_ray.data.lines import BYTE_ORDER_MARK, LineCount, find_lines, line_blocks

CONTENTS = st.builds(
    lambda mark, lines, end, last: mark + end.join(lines) + last,
    st.sampled_from([b"", BYTE_ORDER_MARK]),
    st.lists(st.text('aäß🧬\t" ,\ufeff>', max_size=6).map(str.encode), max_size=8),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.sampled_from([b"", b"\n", b"\r\n"]),
)
MARKS = st.sampled_from([b"", b">"])
CUTS = st.lists(st.integers(4, 80), max_size=6)


def split_at_newlines(text: bytes) -> list[bytes]:
    """All lines with their ends, the slow way."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return [line for line in lines if line]


def bounds_of(content: bytes, cuts: list[int]) -> list[int]:
    return [0, *sorted({cut for cut in cuts if cut < len(content)}), len(content)]


@given(CONTENTS, CUTS, st.integers(4, 30))
@example(BYTE_ORDER_MARK + b"\n", [4], 4)
@example(BYTE_ORDER_MARK + b"a\nb", [4, 5], 4)
@example(b"a\n\nb", [4], 4)
def test_ranges_cut_anywhere_give_every_line_once(content, cuts, chunk_bytes):
    found = b""
    bounds = bounds_of(content, cuts)
    text = content.removeprefix(BYTE_ORDER_MARK)
    for start, stop in pairwise(bounds):
        blocks = list(line_blocks(io.BytesIO(content), start, stop, chunk_bytes=chunk_bytes))
        assert all(block.endswith(b"\n") or text.endswith(block) for block in blocks)
        num_begun = content.count(b"\n", max(start - 1, 0), stop - 1) + (start == 0 and text != b"")
        assert sum(len(split_at_newlines(bytes(block))) for block in blocks) == num_begun
        found += b"".join(blocks)
    assert found == text


@given(CONTENTS, st.integers(4, 30))
def test_blocks_of_records_end_before_their_mark(content, chunk_bytes):
    text = content.removeprefix(BYTE_ORDER_MARK)
    blocks = list(line_blocks(io.BytesIO(content), mark=b">", chunk_bytes=chunk_bytes))
    assert b"".join(blocks) == text
    assert all(block.startswith(b">") for block in blocks[1:])


@given(CONTENTS, CUTS, MARKS)
def test_what_begins_in_each_range_is_counted(content, cuts, mark):
    num_lines = num_records = 0
    for start, stop in pairwise(bounds_of(content, cuts)):
        count = LineCount(at_line_start=content[:start].endswith(b"\n") or not start, mark=mark)
        chunk = content[start:stop]
        count.add(chunk if start else chunk.removeprefix(BYTE_ORDER_MARK))
        if count.is_undecided:
            count.decide(content[stop:])
        num_lines += count.num_lines
        num_records += count.num_records
    lines = split_at_newlines(content.removeprefix(BYTE_ORDER_MARK))
    is_record = [line.startswith(mark) if mark else bool(line.strip()) for line in lines]
    assert (num_lines, num_records) == (len(lines), sum(is_record))


@given(
    st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5), st.sampled_from([b"", b">"])
)
def test_counts_do_not_depend_on_how_the_bytes_arrive(content, cuts, mark):
    once, bit_by_bit = (LineCount(at_line_start=True, mark=mark) for _ in range(2))
    once.add(content)
    for start, stop in pairwise([0, *sorted(cuts), len(content) + 60]):
        bit_by_bit.add(content[start:stop])
    assert vars(once) == vars(bit_by_bit)


@given(CONTENTS)
def test_lines_that_are_not_blank_are_found(content):
    spans = find_lines(content)
    lines = content.split(b"\n")
    expected = [
        (index, line.removesuffix(b"\r")) for index, line in enumerate(lines) if line.strip()
    ]
    found = [
        (line, content[start:stop])
        for start, stop, line in zip(spans.starts, spans.stops, spans.lines, strict=True)
    ]
    assert found == expected
