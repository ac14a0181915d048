"""The one tokenizer of every encoding: raw sequence text in, token ids out."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from pydantic import ValidationError

from biolm_ray.config.schema import DataConfig, PreprocessingConfig
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.files import kind_of, read_json, write_json
from biolm_ray.records import VERSION_KEY, check_version, first_problem
from biolm_ray.tokenization import bpe, document
from biolm_ray.tokenization.atomic import TokenTexts, read_tokens
from biolm_ray.tokenization.blocks.cleaning import clean_texts
from biolm_ray.tokenization.blocks.encoded import (
    EncodedBlock,
    centers_by_id,
    look_up,
    narrowest_type,
    unknown_texts,
)
from biolm_ray.tokenization.blocks.kmers import frame_block
from biolm_ray.tokenization.blocks.rows import joined_offsets, num_in_rows, positions_of
from biolm_ray.tokenization.blocks.token_codes import read_codes
from biolm_ray.tokenization.kmer import frame_kmers
from biolm_ray.tokenization.settings import (
    SPECIAL_TOKENS,
    Fitting,
    LearntFrom,
    TokenizerSettings,
    check_settings,
)

__all__ = ["SPECIAL_TOKENS", "Encoded", "EncodedBlock", "Tokenizer", "TokenizerSettings"]

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenization.json"
MOST_BYTES = 256 << 20
MAPPINGS = ("letter_case", "nucleotides")
"""Settings of the data that letters are mapped by."""


@dataclass(frozen=True)
class Encoded:
    """One sequence as ids, uncropped and without special tokens.

    Attributes:
        token_ids: One id per token, int32.
        specifiers: The floats of decorated tokens, 0 where absent; None without channels.
        center: 0-based index of the centre token, -1 if none is set or the sequence has none.
        num_unknown: How many tokens the vocabulary does not hold.
        problem: Why the text cannot be used (no line number), or None. Then `token_ids` is empty.
    """

    token_ids: Int[np.ndarray, " length"]
    specifiers: Float[np.ndarray, "length channels"] | None = None
    center: int = -1
    num_unknown: int = 0
    problem: str | None = None


class Tokenizer:
    """A fitted vocabulary and the way of reading that belongs to it. Pickles; knows no Ray.

    Attributes:
        settings: How texts are read.
        vocabulary: Every token, special ones included, and its id.
        special_ids: The special tokens the vocabulary holds, by canonical name.
        is_center: Of each id, whether a sequence can be centred on it (`center_token`); the first
            such token of a sequence is its centre.
    """

    def __init__(
        self,
        settings: TokenizerSettings,
        model: dict[str, Any],
        byte_level: dict[str, Any] | None = None,
    ):
        """Take the parts of a tokenizer.json: its model and, for bpe, its byte-level step."""
        self.settings = check_settings(settings)
        self.vocabulary: dict[str, int] = model["vocab"]
        self.special_ids = {
            name: self.vocabulary[name] for name in SPECIAL_TOKENS if name in self.vocabulary
        }
        self._model = model
        self._byte_level = byte_level
        self._unknown_id = self.special_ids[document.UNKNOWN]
        self._words = {
            token: token_id
            for token, token_id in self.vocabulary.items()
            if token not in self.special_ids
        }
        self._bpe = None if byte_level is None else bpe.encoder(model, byte_level)
        self._texts, self._letters = self._read_vocabulary()
        self.is_center = np.array([self._shows_center(text) for text in self._texts], dtype=bool)

    @property
    def encoding(self) -> str:
        return self.settings.encoding

    @property
    def id_type(self) -> np.dtype:
        """The narrowest type that holds every id of the vocabulary."""
        return narrowest_type(len(self._texts))

    def encode(self, sequences: Sequence[str]) -> list[Encoded]:
        """Encode the raw texts of a sequence column, without special tokens.

        A text that cannot be used raises nothing: its `problem` says why.
        """
        return [self._encode(text) for text in sequences]

    def encode_block(self, texts: pa.Array) -> EncodedBlock:
        """Encode a block of raw texts at once, each exactly as `encode` does it alone.

        Memory is a few times that of the texts.

        Args:
            texts: Strings without nulls; a slice will do.
        """
        if self._bpe is not None:
            return self._encode_cleaned(*clean_texts(texts, self.settings))
        tokens = read_codes(texts, self.settings, self.settings.num_specifiers)
        centers = None
        if self.settings.kmer_size is not None:
            tokens, centers = frame_block(tokens, self.settings.kmer_size, self.settings.center)
        find, unknown = self._words.get, self._unknown_id
        ids = np.array([find(text, unknown) for text in tokens.texts], dtype=self.id_type)
        token_ids = look_up(tokens.codes, ids)
        if centers is None:
            centers = centers_by_id(token_ids, tokens.offsets, self.is_center)
        num_unknown = num_in_rows(positions_of(token_ids, unknown), tokens.offsets)
        unknown_counts: Counter[str] = Counter()
        if num_unknown.any():
            unknown_counts = unknown_texts(tokens, ids == unknown, self.vocabulary)
        return EncodedBlock(
            token_ids,
            tokens.offsets,
            tokens.specifiers,
            centers.astype(np.int32),
            num_unknown,
            unknown_counts,
            tokens.problems,
        )

    def tokens(self, token_ids: Int[np.ndarray, " length"]) -> list[str]:
        """Texts for reports; those of bpe in real letters, without the prefix space."""
        return [self._texts[token_id] for token_id in np.asarray(token_ids).tolist()]

    def num_letters(self, token_ids: Int[np.ndarray, " length"]) -> Int[np.ndarray, " length"]:
        """What each token counts in offsets: 1 if atomic, else its letters.

        Special tokens count 0, but [UNK] and [MASK], which stand in for a token, count 1 in an
        atomic encoding and k in a k-mer encoding.
        """
        return self._letters[np.asarray(token_ids, dtype=np.int64)]

    def adapted(
        self, data: DataConfig | None = None, preprocessing: PreprocessingConfig | None = None
    ) -> "Tokenizer":
        """Keep the vocabulary, but read another file's separators or preprocess otherwise.

        Letters are mapped as before; where they were kept, the data may ask for a mapping, and are
        then no more those that the vocabulary was learnt from.

        Raises:
            ConfigError: The settings contradict the encoding, or letters were mapped otherwise.
        """
        changes: dict[str, Any] = {}
        if data is not None:
            changes["token_separator"] = data.token_separator
            changes["specifier_separator"] = data.specifier_separator
            changes["letter_case"] = _asked(data, "letter_case", self.settings.letter_case)
            changes["nucleotides"] = _asked(data, "nucleotides", self.settings.nucleotides)
            if any(changes[name] != getattr(self.settings, name) for name in MAPPINGS):
                changes["learnt_from"] = None
        if preprocessing is not None:
            changes["center_token"] = preprocessing.center_token
            changes["drop_markers"] = preprocessing.drop_markers
            changes["region"] = preprocessing.region
        return self._with(**changes)

    def learnt_from(
        self, digest: str, unknown_share: float, fitting: Fitting | None = None
    ) -> "Tokenizer":
        """Note the data of the vocabulary, see `LearntFrom`, and the settings of its learning."""
        found = LearntFrom(digest=digest, unknown_share=unknown_share)
        return self._with(learnt_from=found, fitting=fitting)

    def _with(self, **changes: Any) -> "Tokenizer":
        settings = self.settings.model_copy(update=changes)
        if settings == self.settings:
            return self
        return Tokenizer(settings, self._model, self._byte_level)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenization.json, each whole or not at all.

        tokenization.json comes last: where it stands, the tokenizer is complete.
        """
        folder = Path(folder)
        whole = document.build(self.settings, self._model, self._byte_level)
        write_json(folder / TOKENIZER_FILE, whole)
        write_json(folder / SETTINGS_FILE, self.settings.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path, settings: TokenizerSettings | None = None) -> "Tokenizer":
        """Load a tokenizer from its folder or its tokenizer.json.

        Args:
            path: A folder that holds a tokenizer.json, or such a file under any name.
            settings: How texts are read where no tokenization.json stands beside the file, as
                in experiments of the reference system. The kind of the file decides over their
                encoding: BPE is bpe; WordLevel is atomic, or k-mers if the settings say so.

        Raises:
            ConfigError: There is no tokenizer at `path`, or nothing says how texts are read.
            DataError: A file of the tokenizer is damaged or of another kind.
        """
        path = Path(path)
        file = path / TOKENIZER_FILE if path.is_dir() else path
        if not file.is_file():
            if os.path.lexists(file):
                raise ConfigError(
                    f"{file} is {kind_of(file)}, not the file of a tokenizer; move it away (the "
                    "mode tokenize writes another)"
                )
            raise ConfigError(
                f"{path}: no tokenizer there; expected the folder of an experiment or model with "
                f"a {TOKENIZER_FILE} (written by the mode tokenize)"
            )
        model, byte_level = document.read_model(read_json(file, MOST_BYTES), str(file))
        saved = file.with_name(SETTINGS_FILE)
        if file.name == TOKENIZER_FILE and saved.is_file():
            settings = _read_settings(saved)
            if (settings.encoding == "bpe") != (byte_level is not None):
                raise DataError(f"{saved}: encoding {settings.encoding} does not fit {file.name}")
            return cls._made(settings, model, byte_level, file)
        if settings is None:
            raise ConfigError(
                f"{file}: no {SETTINGS_FILE} beside it says how sequences are read; give the "
                "settings of the data it is for"
            )
        encoding = "bpe" if byte_level is not None else settings.encoding
        if byte_level is None and settings.kmer_size is None:
            encoding = "atomic"
        settings = settings.model_copy(update={"encoding": encoding})
        return cls._made(settings, model, byte_level, file)

    @classmethod
    def _made(
        cls,
        settings: TokenizerSettings,
        model: dict[str, Any],
        byte_level: dict[str, Any] | None,
        file: Path,
    ) -> "Tokenizer":
        """Make a tokenizer of what a file holds."""
        if byte_level is not None:
            try:
                bpe.encoder(model, byte_level)
            except Exception as error:  # the library raises nothing more special
                reason = str(error).split("\n", 1)[0][:120]
                raise DataError(f"{file}: damaged (its BPE cannot be used: {reason})") from error
        return cls(settings, model, byte_level)

    def _encode_cleaned(self, texts: list[str], problems: dict[int, str]) -> EncodedBlock:
        assert self._bpe is not None
        token_ids, lengths = bpe.encode(self._bpe, texts, self.id_type)
        offsets = joined_offsets(lengths)
        num_unknown = num_in_rows(positions_of(token_ids, self._unknown_id), offsets)
        centers = centers_by_id(token_ids, offsets, self.is_center).astype(np.int32)
        return EncodedBlock(token_ids, offsets, None, centers, num_unknown, Counter(), problems)

    def _encode(self, text: str) -> Encoded:
        try:
            read = read_tokens(text, self.settings, self.settings.num_specifiers)
        except DataError as error:
            return Encoded(np.empty(0, dtype=np.int32), problem=str(error))
        if self._bpe is not None:
            token_ids = self._bpe.encode("".join(read.tokens), add_special_tokens=False).ids
            return self._encoded(np.array(token_ids, dtype=np.int32), read, center=None)
        tokens, center = read.tokens, None
        if self.settings.kmer_size is not None:
            tokens, center = frame_kmers(tokens, self.settings.kmer_size, self.settings.center)
        find, unknown = self._words.get, self._unknown_id
        ids = np.fromiter((find(token, unknown) for token in tokens), np.int32, len(tokens))
        return self._encoded(ids, read, center)

    def _encoded(
        self, token_ids: Int[np.ndarray, " length"], read: TokenTexts, center: int | None
    ) -> Encoded:
        if center is None:
            center = -1
            if self.settings.center is not None:
                hits = self.is_center[token_ids]
                center = int(hits.argmax()) if hits.any() else -1
        num_unknown = int(np.count_nonzero(token_ids == self._unknown_id))
        return Encoded(token_ids, read.specifiers, center, num_unknown)

    def _read_vocabulary(self) -> tuple[list[str], Int[np.ndarray, " vocabulary"]]:
        size = max(self.vocabulary.values()) + 1
        texts, letters = [""] * size, np.zeros(size, dtype=np.int64)
        stand_in = 0 if self.encoding == "bpe" else self.settings.kmer_size or 1
        for token, token_id in self.vocabulary.items():
            if token in self.special_ids:
                count = stand_in if token in ("[UNK]", "[MASK]") else 0
            elif self.encoding == "bpe":
                token, count = bpe.letters(token)
            else:
                count = 1 if self.encoding == "atomic" else len(token)
            texts[token_id], letters[token_id] = token, count
        return texts, letters

    def _shows_center(self, text: str) -> bool:
        center = self.settings.center
        if center is None or text in self.special_ids:
            return False
        if self.encoding == "bpe" or (self.encoding == "atomic" and center not in self._words):
            return center in text
        return text == center


def _asked(data: DataConfig, name: str, used: str) -> str:
    """How letters are mapped: as they were, or as the data ask where they were kept."""
    asked = getattr(data, name) if name in data.model_fields_set else used
    if used not in ("keep", asked):
        raise ConfigError(
            f"data.{name}: {asked} asked for, but the vocabulary was learnt or trained on with "
            f"{used}; leave it out, or learn another one"
        )
    return asked


def _read_settings(file: Path) -> TokenizerSettings:
    """Read how texts are read; a file without a version is of the first, as we write it."""
    remedy = "copy the folder once more from where it came from, or make the tokenizer again"
    values = read_json(file, MOST_BYTES)
    if not isinstance(values, dict):
        raise DataError(f"{file}: damaged (it holds no table of values); {remedy}")
    check_version(values, str(file), 1, remedy)
    rest = json.dumps({key: value for key, value in values.items() if key != VERSION_KEY})
    try:
        return check_settings(TokenizerSettings.model_validate_json(rest, strict=True))
    except ValidationError as error:
        raise DataError(f"{file}: damaged ({first_problem(error)}); {remedy}") from None
    except ConfigError as error:
        raise DataError(f"{file}: damaged ({error}); {remedy}") from None
