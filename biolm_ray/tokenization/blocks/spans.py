"""Texts of several bytes inside a buffer: where they are, and which of them are the same."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, UInt8

from biolm_ray.tokenization.blocks.joined_rows import NO_TEXT

_WORD = 8  # bytes that are compared at once
_AT_ONCE = 1 << 18
_FILL = 0xFF  # never part of a span
_BEYOND = np.array([(1 << 64) - (1 << (8 * n)) for n in range(_WORD + 1)], dtype=np.uint64)


@dataclass(frozen=True)
class Spans:
    """The tokens of a window that are longer than a byte.

    Attributes:
        starts: Where each begins.
        lengths: In bytes.
        rest: The positions of all their bytes but the first ones.
    """

    starts: Int[np.ndarray, " spans"]
    lengths: Int[np.ndarray, " spans"]
    rest: Int[np.ndarray, " bytes"]


def between(inside: Bool[np.ndarray, " bytes"]) -> Spans:
    """Find the runs of two bytes and more that belong to tokens."""
    joints = np.flatnonzero(inside[1:] & inside[:-1])
    new = np.ones(len(joints), dtype=bool)
    np.not_equal(joints[1:], joints[:-1] + 1, out=new[1:])
    first = np.flatnonzero(new)
    num_joints = np.diff(first, append=len(joints))
    return Spans(joints[first], num_joints + 1, joints + 1)


def characters(window: UInt8[np.ndarray, " bytes"]) -> Spans:
    """Find the characters of two bytes and more."""
    places = np.flatnonzero(window.view(np.int8) < NO_TEXT)
    is_first = window[places] >= 0xC0
    lead = window[places[is_first]]
    lengths = 2 + (lead >= 0xE0).astype(np.int64) + (lead >= 0xF0)
    return Spans(places[is_first], lengths, places[~is_first])


class SpanNumbers:
    """Numbers the different texts of spans in order of first sight, over many buffers.

    Attributes:
        texts: The bytes of each, by number.
    """

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self._numbers: dict[bytes | int, int] = {}  # short texts as words, filled up

    def look_up(
        self,
        buffer: bytearray,
        starts: Int[np.ndarray, " spans"],
        lengths: Int[np.ndarray, " spans"],
    ) -> Int[np.ndarray, " spans"]:
        """Give the number of each span, int32.

        Args:
            buffer: Holds no byte 0xFF inside a span, and eight bytes more after the last one.
            starts: Of the spans.
            lengths: In bytes, at least 1.
        """
        numbers = np.empty(len(starts), dtype=np.int32)
        for first in range(0, len(starts), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            numbers[part] = self._look_up(buffer, starts[part], lengths[part])
        return numbers

    def look_up_runs(
        self, buffer: bytearray, bounds: Int[np.ndarray, " runs+1"]
    ) -> Int[np.ndarray, " runs"]:
        """Give the number of each run between two bounds, int32; see `look_up`."""
        numbers = np.empty(len(bounds) - 1, dtype=np.int32)
        for first in range(0, len(numbers), _AT_ONCE):
            part = bounds[first : first + _AT_ONCE + 1]
            numbers[first : first + _AT_ONCE] = self._look_up(buffer, part[:-1], np.diff(part))
        return numbers

    def _look_up(
        self,
        buffer: bytearray,
        starts: Int[np.ndarray, " spans"],
        lengths: Int[np.ndarray, " spans"],
    ) -> Int[np.ndarray, " spans"]:
        long = lengths > _WORD
        if not long.any():
            return self._short(buffer, starts, lengths)
        if long.all():
            return self._long(buffer, starts, lengths)
        numbers = np.empty(len(starts), dtype=np.int32)
        numbers[~long] = self._short(buffer, starts[~long], lengths[~long])
        numbers[long] = self._long(buffer, starts[long], lengths[long])
        return numbers

    def _short(
        self,
        buffer: bytearray,
        starts: Int[np.ndarray, " spans"],
        lengths: Int[np.ndarray, " spans"],
    ) -> Int[np.ndarray, " spans"]:
        words = np.ndarray(len(buffer) - _WORD + 1, "<u8", buffer, strides=(1,))
        keys = words[starts] | _BEYOND[lengths]
        encoded = pa.array(keys).dictionary_encode()
        return self._number(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]

    def _long(
        self,
        buffer: bytearray,
        starts: Int[np.ndarray, " spans"],
        lengths: Int[np.ndarray, " spans"],
    ) -> Int[np.ndarray, " spans"]:
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        data = np.frombuffer(buffer, np.uint8)[places]
        parts = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        encoded = pa.Array.from_buffers(pa.large_binary(), len(starts), parts).dictionary_encode()
        return self._number(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]

    def _number(self, keys: list[bytes] | list[int]) -> Int[np.ndarray, " keys"]:
        numbers = self._numbers
        for key in keys:
            if key not in numbers:
                numbers[key] = len(numbers)
                self.texts.append(_text(key))
        return np.fromiter(map(numbers.__getitem__, keys), np.int32, len(keys))


def _text(key: bytes | int) -> bytes:
    return key if isinstance(key, bytes) else key.to_bytes(_WORD, "little").rstrip(bytes([_FILL]))
