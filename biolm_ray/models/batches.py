"""From encoded sequences to the padded batch that a model reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int

from biolm_ray.config.schema import PreprocessingConfig
from biolm_ray.errors import ConfigError
from biolm_ray.models.spec import Batch, ModelInputs, ModelSpec
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.streaming import stream_rows
from biolm_ray.tokenization.cropping import crop_window

Row = tuple[Int[np.ndarray, " length"], Float[np.ndarray, "length channels"] | None]


class EncodedSequence(Protocol):
    """What cropping needs to know of a sequence; `center` is -1 where there is no such token."""

    @property
    def token_ids(self) -> Int[np.ndarray, " length"]: ...
    @property
    def specifiers(self) -> Float[np.ndarray, "length channels"] | None: ...
    @property
    def center(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a sequence is cut and what is put around it."""

    prefix_ids: tuple[int, ...] = ()
    suffix_ids: tuple[int, ...] = ()
    pad_id: int
    padding_side: Literal["left", "right"] = "right"
    length_multiple: int = 1
    block_size: int
    cut_side: Literal["right", "left"] = "right"

    @property
    def num_special(self) -> int:
        """Special tokens around every sequence."""
        return len(self.prefix_ids) + len(self.suffix_ids)

    @property
    def room(self) -> int:
        """Most tokens of a sequence that fit beside the special tokens."""
        return self.block_size - self.num_special

    @property
    def spare_side(self) -> Literal["left", "right"]:
        """The side of a centre token that gets one token more where the room is even."""
        return "left" if self.prefix_ids or self.suffix_ids else "right"

    def padded_lengths(self, lengths: Int[np.ndarray, "*rows"]) -> Int[np.ndarray, "*rows"]:
        """How long a row makes its batch if no other is longer; special tokens are counted in."""
        multiple = self.length_multiple
        return np.minimum((lengths + multiple - 1) // multiple * multiple, self.block_size)


def frame(spec: ModelSpec, inputs: ModelInputs, preprocessing: PreprocessingConfig) -> Framing:
    """Work out the framing of a model's sequences.

    Raises:
        ConfigError: The tokenizer lacks a special token, or no token fits beside them.
    """
    framing = Framing(
        prefix_ids=_special_ids(spec, spec.prefix, inputs),
        suffix_ids=_special_ids(spec, spec.suffix, inputs),
        pad_id=inputs.pad_id,
        padding_side=spec.padding_side,
        length_multiple=spec.length_multiple,
        block_size=inputs.block_size,
        cut_side=preprocessing.cut_side,
    )
    if framing.room < 1:
        raise ConfigError(
            f"blocksize {framing.block_size} leaves no room for a sequence: model {spec.name} adds "
            f"{framing.num_special} special tokens"
        )
    return framing


def _special_ids(spec: ModelSpec, names: Sequence[str], inputs: ModelInputs) -> tuple[int, ...]:
    missing = [name for name in names if name not in inputs.special_ids]
    if missing and not spec.optional_specials:
        raise ConfigError(
            f"model {spec.name} puts {missing[0]} around sequences, but the tokenizer has only "
            f"{', '.join(inputs.special_ids)}"
        )
    return tuple(inputs.special_ids[name] for name in names if name not in missing)


def crop(sequence: EncodedSequence, framing: Framing) -> Row:
    """Cut a sequence to the room it has; a shorter one is returned as it is."""
    length = len(sequence.token_ids)
    start, stop = crop_window(
        length, framing.room, framing.cut_side, sequence.center, framing.spare_side
    )
    specifiers = None if sequence.specifiers is None else sequence.specifiers[start:stop]
    return sequence.token_ids[start:stop], specifiers


def collate(rows: Sequence[Row], framing: Framing) -> Batch:
    """Put special tokens around cropped rows and pad them to the multiple above the longest one.

    Lengths count the special tokens. Their specifiers, like those of the padding, are 0.
    """
    assert len(rows) > 0
    lengths = np.array([len(token_ids) for token_ids, _ in rows], dtype=np.int64)
    lengths += framing.num_special
    assert lengths.max() <= framing.block_size
    longest = int(framing.padded_lengths(lengths).max())
    token_ids = np.full((len(rows), longest), framing.pad_id, dtype=np.int64)
    first = rows[0][1]
    specifiers = (
        None if first is None else np.zeros((len(rows), longest, first.shape[1]), dtype=np.float32)
    )
    for index, (row_ids, row_specifiers) in enumerate(rows):
        start = longest - int(lengths[index]) if framing.padding_side == "left" else 0
        body = slice(
            start + len(framing.prefix_ids), start + len(framing.prefix_ids) + len(row_ids)
        )
        token_ids[index, start : body.start] = framing.prefix_ids
        token_ids[index, body] = row_ids
        token_ids[index, body.stop : body.stop + len(framing.suffix_ids)] = framing.suffix_ids
        if specifiers is not None:
            specifiers[index, body] = row_specifiers
    return Batch(
        token_ids=torch.from_numpy(token_ids),
        lengths=torch.from_numpy(lengths),
        specifiers=None if specifiers is None else torch.from_numpy(specifiers),
    )


class Batches(Protocol):
    """Makes the batches of some rows of a data set, each known by its number."""

    def padded_lengths(self, rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]: ...
    def load(self, rows: Int[np.ndarray, " batch"]) -> Batch: ...


@dataclass(frozen=True)
class RowBatches:
    """Makes the batches of a prepared data set as one model reads them.

    Attributes:
        prepared: Stays where it is; only the rows of a batch are copied.
        framing: The model's.
    """

    prepared: PreparedData
    framing: Framing

    @cached_property
    def lengths(self) -> Int[np.ndarray, " rows"]:
        """Tokens of every row of the data set in a batch: cropped, special ones included."""
        return np.minimum(self.prepared.lengths, self.framing.room) + self.framing.num_special

    def padded_lengths(self, rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        """How long each row makes its batch if no other is longer."""
        return self.framing.padded_lengths(self.lengths[rows])

    def load(self, rows: Int[np.ndarray, " batch"]) -> Batch:
        """Give some rows, cropped, as one padded batch."""
        encoded = self.prepared.encoded
        return collate([crop(encoded(row), self.framing) for row in rows.tolist()], self.framing)


class StreamedBatches:
    """Makes batches of rows that stream in, where the data set does not fit on this node.

    A row waits in memory, cropped, from its arrival until it is asked for: few do where rows are
    asked for nearly in the order that was announced.

    Args:
        batches: Of the whole data set; nothing is read through them but lengths.
        rows: All rows that will be asked for, each once, in about the order in which they will be.
    """

    def __init__(self, batches: RowBatches, rows: Int[np.ndarray, " rows"]) -> None:
        self._batches = batches
        self._arriving = stream_rows(batches.prepared, rows)
        self._waiting: dict[int, Row] = {}

    def padded_lengths(self, rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        """How long each row makes its batch if no other is longer."""
        return self._batches.padded_lengths(rows)

    def load(self, rows: Int[np.ndarray, " batch"]) -> Batch:
        """Give some rows, cropped, as one padded batch, once all of them have arrived.

        Raises:
            DataError: A file of the data set cannot be read.
        """
        return collate([self._take(row) for row in rows.tolist()], self._batches.framing)

    def _take(self, row: int) -> Row:
        while row not in self._waiting:
            arrived = next(self._arriving, None)
            assert arrived is not None, f"row {row} was not announced, or taken before"
            number, sequence = arrived
            token_ids, specifiers = crop(sequence, self._batches.framing)
            # What arrives are views that would keep whole files in memory.
            kept = None if specifiers is None else specifiers.copy()
            self._waiting[number] = (token_ids.copy(), kept)
        return self._waiting.pop(row)
