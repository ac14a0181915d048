"""From encoded sequences to the padded batch that a model reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int

from biolm_ray.config.schema import PreprocessingConfig
from biolm_ray.errors import ConfigError
from biolm_ray.models.spec import Batch, ModelInputs, ModelSpec
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
    block_size: int
    cut_side: Literal["right", "left"] = "right"

    @property
    def room(self) -> int:
        """Most tokens of a sequence that fit beside the special tokens."""
        return self.block_size - len(self.prefix_ids) - len(self.suffix_ids)

    @property
    def spare_side(self) -> Literal["left", "right"]:
        """The side of a centre token that gets one token more where the room is even."""
        return "left" if self.prefix_ids or self.suffix_ids else "right"


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
        block_size=inputs.block_size,
        cut_side=preprocessing.cut_side,
    )
    if framing.room < 1:
        raise ConfigError(
            f"blocksize {framing.block_size} leaves no room for a sequence: model {spec.name} adds "
            f"{len(framing.prefix_ids) + len(framing.suffix_ids)} special tokens"
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
    """Put special tokens around cropped rows and pad them to the longest one.

    Lengths count the special tokens. Their specifiers, like those of the padding, are 0.
    """
    num_extra = len(framing.prefix_ids) + len(framing.suffix_ids)
    lengths = np.array([len(token_ids) + num_extra for token_ids, _ in rows], dtype=np.int64)
    assert len(rows) > 0
    assert lengths.max() <= framing.block_size
    longest = int(lengths.max())
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
