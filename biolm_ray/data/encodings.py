"""Text in UTF-16 or UTF-32, as spreadsheets save it: recognised, and read as UTF-8."""

import codecs
import io
from typing import Any, BinaryIO

_MARKS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "UTF-32LE"),
    (codecs.BOM_UTF32_BE, "UTF-32BE"),
    (codecs.BOM_UTF16_LE, "UTF-16LE"),
    (codecs.BOM_UTF16_BE, "UTF-16BE"),
)
_LEAST_BYTES = 8
_SHARE_OF_ZEROS = 0.9
_TEXT_BYTES = frozenset((*b"\t\n\r", *range(32, 127)))


def recognise_encoding(head: bytes) -> str | None:
    """Return the encoding of a text that is neither UTF-8 nor another one without zero bytes.

    Without a byte order mark, it is UTF-16 where every other byte is zero, as in text that is
    almost all ASCII, and the others are no control characters.

    Args:
        head: The first bytes of the text, a few thousand where there are as many.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if len(head) < _LEAST_BYTES:
        return None
    for high, low, encoding in ((1, 0, "UTF-16LE"), (0, 1, "UTF-16BE")):
        zeros, letters = head[high::2], head[low::2]
        num_text = sum(byte in _TEXT_BYTES for byte in letters)
        if zeros.count(0) > _SHARE_OF_ZEROS * len(zeros) < num_text:
            return encoding
    return None


def as_utf8(head: bytes, encoding: str) -> bytes:
    """Return the first bytes of a text in UTF-8, but for a letter that is cut off at the end."""
    return head.decode(encoding, "ignore").encode()


class Utf8Stream(io.RawIOBase):
    """The bytes of a text in UTF-8, decoded as they are read; it cannot seek.

    A byte order mark stays, as that of UTF-8. Bytes that the encoding does not allow raise an
    OSError, as damaged bytes of a compressed file do.
    """

    def __init__(self, source: BinaryIO, encoding: str, request_bytes: int) -> None:
        self._source = source
        self._encoding = encoding
        self._request_bytes = request_bytes
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._held = b""
        self._num_read = 0
        self._is_end = False
        self._problem = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not (self._held or self._is_end):
            if self._problem:
                raise OSError(self._problem)
            chunk = self._source.read(self._request_bytes)
            self._is_end = not chunk
            self._held = self._decoded(chunk)
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()

    def _decoded(self, chunk: bytes) -> bytes:
        """Decode the next bytes; of damaged ones those before the damage."""
        first = self._num_read - len(self._decoder.getstate()[0])
        self._num_read += len(chunk)
        try:
            return self._decoder.decode(chunk, not chunk).encode()
        except UnicodeDecodeError as error:
            at = first + error.start + 1
            self._problem = f"byte {at} is not {self._encoding}; save it as UTF-8"
            self._is_end = False
            return error.object[: error.start].decode(self._encoding).encode()
