"""The vocabulary of a Hugging Face checkpoint as a tokenizer of this system."""

import json
from typing import Any

from biolm_ray.errors import ConfigError, DataError, in_short
from biolm_ray.tokenization import document
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer

SOURCES = {
    "[UNK]": ("unk_token",),
    "[PAD]": ("pad_token",),
    "[CLS]": ("cls_token", "bos_token"),
    "[SEP]": ("sep_token", "eos_token"),
    "[MASK]": ("mask_token",),
    "[BOS]": ("bos_token",),
    "[EOS]": ("eos_token",),
}


def checkpoint_tokenizer(
    source: str, settings: TokenizerSettings, *, remote_code: bool = False
) -> Tokenizer:
    """Give a checkpoint's tokenizer, its special tokens under this system's names.

    The encoding follows the vocabulary: byte-level BPE, single letters (atomic) or k-mers.

    Args:
        source: A folder, or a name on the hub.
        settings: How the texts of the data file are read; its encoding is not used.
        remote_code: Whether the checkpoint's own Python files may run.

    Raises:
        ConfigError: The tokenizer cannot be had, or is of a kind that cannot be taken over.
    """
    tokenizer = _load(source, remote_code)
    renamed = _canonical_names(tokenizer, source)
    ids: dict[str, int] = tokenizer.get_vocab()
    named = {renamed.get(token, token): token_id for token, token_id in ids.items()}
    vocabulary = _without_holes(named, source)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    written = {} if backend is None else json.loads(backend.to_str())
    if written.get("model", {}).get("type") == "BPE":
        written["model"] = {**written["model"], "vocab": vocabulary}
        try:
            model, byte_level = document.read_model(written, f"the tokenizer of {source}")
        except DataError as error:
            raise ConfigError(f"{error}; set the model's option tokenizer: own") from None
        encoding = "bpe"
    else:
        model, byte_level = document.word_model(vocabulary), None
        encoding = _word_encoding(vocabulary, set(tokenizer.all_special_tokens), source)
    return Tokenizer(settings.model_copy(update={"encoding": encoding}), model, byte_level)


def _without_holes(vocabulary: dict[str, int], source: str) -> dict[str, int]:
    """Name the ids that no token has, for a model has embeddings for them, too."""
    taken = set(vocabulary.values())
    if len(taken) < len(vocabulary):
        raise ConfigError(f"the tokenizer of {source} has two tokens with the same id")
    if max(taken) > 2 * len(taken) + document.MOST_HOLES:
        raise ConfigError(
            f"the tokenizer of {source} has the id {max(taken)} for {len(taken)} tokens"
        )
    holes = set(range(max(taken))) - taken
    return vocabulary | {document.unused_name(token_id): token_id for token_id in holes}


def _load(source: str, remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=remote_code)
    except Exception as error:  # what reads it raises nothing more special, and whatever else
        if "trust_remote_code" in str(error) and not remote_code:
            raise ConfigError(
                f"the tokenizer of checkpoint {source} needs Python files of its own, which are "
                "not run: they could do all that you can. If you trust them, set "
                "model.trust_remote_code: true; else set the model's option tokenizer: own"
            ) from None
        raise ConfigError(
            f"checkpoint {source} has no tokenizer that can be loaded ({in_short(error)}); copy "
            "its files once more, or set the model's option tokenizer: own"
        ) from error


def _canonical_names(tokenizer: Any, source: str) -> dict[str, str]:
    """Map the checkpoint's special tokens; one that stands for two keeps the first name."""
    renamed: dict[str, str] = {}
    for canonical, attributes in SOURCES.items():
        for attribute in attributes:
            token = getattr(tokenizer, attribute, None)
            if token is not None and token not in renamed:
                renamed[token] = canonical
                break
    missing = {"[UNK]", "[PAD]"} - set(renamed.values())
    if missing:
        raise ConfigError(
            f"the tokenizer of {source} has no token for {' or '.join(sorted(missing))}; set the "
            "model's option tokenizer: own"
        )
    return renamed


def _refuse_overlapping(lengths: list[int], source: str) -> None:
    """Refuse k-mers that overlap: where they do, a sequence has none that is shorter.

    One after the other, k-mers leave letters over at the end, and a vocabulary has tokens for them.
    """
    size = max(lengths)
    if min(lengths) == size:
        raise ConfigError(
            f"the vocabulary of {source} has {size}-mers and nothing shorter, as DNABERT's, which "
            f"reads {size}-mers that overlap (each one letter after the other); here k-mers follow "
            "each other without overlap, and the checkpoint would see other tokens than it was "
            "trained on. Use a checkpoint of letters, byte-level BPE or k-mers without overlap, or "
            "set the model's option tokenizer: own"
        )


def _word_encoding(vocabulary: dict[str, int], special: set[str], source: str) -> str:
    words = [
        token
        for token in vocabulary
        if token not in special and not (token.startswith(("<", "[")) and len(token) > 1)
    ]
    lengths = [len(word) for word in words if word.isalpha()]
    if lengths and all(length == 1 for length in lengths):
        return "atomic"
    longest = max(lengths, default=0)
    if 1 < longest <= 9 and lengths.count(longest) > 0.9 * len(lengths):
        _refuse_overlapping(lengths, source)
        return f"{longest}mer"
    raise ConfigError(
        f"the vocabulary of {source} is neither single letters, k-mers nor byte-level BPE, and "
        "cannot be taken over; set the model's option tokenizer: own"
    )
