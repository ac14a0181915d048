"""The tokenizer.json that the `tokenizers` library reads: written, and read back.

What is written takes the raw text of a sequence column, as ours does, and gives the same ids
between [CLS] and [SEP] (leave those out with `add_special_tokens=False`). It cannot express
three things: specifier values, the frames of k-mers around a centre token, and k-mers of
letters that are longer than one character.
"""

import re
from collections.abc import Iterator
from typing import Any

from biolm_ray.errors import DataError
from biolm_ray.tokenization.atomic import longest_first, placeholder
from biolm_ray.tokenization.bpe import BYTE_LEVEL
from biolm_ray.tokenization.markers import CDS_END, CDS_START, EXON_JUNCTION
from biolm_ray.tokenization.settings import SPECIAL_TOKENS, TokenizerSettings

MOST_HOLES = 4096
"""Ids that the vocabulary of a checkpoint may leave out, beside as many as it has tokens."""

UNKNOWN, PAD, CLS, SEP = SPECIAL_TOKENS[:4]


def build(
    settings: TokenizerSettings, model: dict[str, Any], byte_level: dict[str, Any] | None
) -> dict[str, Any]:
    """Put together the whole document around a trained model."""
    vocabulary = model["vocab"]
    post_processor = None
    if CLS in vocabulary and SEP in vocabulary:
        post_processor = {
            "type": "BertProcessing",
            "sep": [SEP, vocabulary[SEP]],
            "cls": [CLS, vocabulary[CLS]],
        }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added_token(name, vocabulary[name]) for name in SPECIAL_TOKENS if name in vocabulary
        ],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(settings)},
        "pre_tokenizer": _pre_tokenizer(settings, byte_level),
        "post_processor": post_processor,
        "decoder": byte_level,
        "model": model,
    }


def word_model(vocabulary: dict[str, int]) -> dict[str, Any]:
    """Make the `model` part for a vocabulary of whole tokens."""
    return {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN}


def read_model(document: Any, origin: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Take the model and, for BPE, the byte-level step out of a document, ours or older.

    Tokens that were added to the vocabulary later on keep their ids, since a model has embeddings
    for them; no text becomes one of them.

    Raises:
        DataError: It is no tokenizer of a kind we know; `origin` names the file.
    """
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise DataError(f"{origin}: not the tokenizer.json of a trained tokenizer")
    _check_ids(model["vocab"], origin)
    model = {**model, "vocab": {**model["vocab"], **_added_later(document, origin)}}
    _check_all_there(model["vocab"], origin)
    kind = model.get("type")
    if kind not in ("WordLevel", "BPE"):
        raise DataError(
            f"{origin}: holds a {_shown(kind)} tokenizer; WordLevel and BPE can be used"
        )
    missing = [name for name in (UNKNOWN, PAD) if name not in model["vocab"]]
    if missing:
        raise DataError(f"{origin}: the vocabulary lacks the special token {missing[0]}")
    if kind == "WordLevel":
        return model, None
    for step in _steps(document.get("pre_tokenizer")):
        if step.get("type") == BYTE_LEVEL["type"]:
            return model, step
    raise DataError(f"{origin}: its BPE does not work on bytes (no ByteLevel step)")


def unused_name(token_id: int) -> str:
    """Name an id that no text is encoded as."""
    return f"[unused {token_id}]"


def _steps(given: Any) -> list[dict[str, Any]]:
    """The steps before the model: one, or those of a sequence."""
    if not isinstance(given, dict):
        return []
    more = given.get("pretokenizers")
    more = more if isinstance(more, list) else []
    return [given, *(step for step in more if isinstance(step, dict))]


def _added_later(document: dict[str, Any], origin: str) -> dict[str, int]:
    """Name the ids that the vocabulary lacks, such as those of XLNet's <eop> and <eod>."""
    vocabulary = document["model"]["vocab"]
    taken, added = set(vocabulary.values()), {}
    for token_id, content, is_special in _read_added(document.get("added_tokens"), origin):
        if content in vocabulary or token_id in taken:
            continue
        if token_id != len(vocabulary) + len(added):
            raise DataError(
                f"{origin}: the added token '{_shown(content)}' has the id {token_id}, where "
                f"{len(vocabulary) + len(added)} comes next"
            )
        if not is_special:
            raise DataError(
                f"{origin}: '{_shown(content)}' was added to the vocabulary after it was learnt, "
                "and texts cannot be encoded with it; learn a tokenizer that has it from the start"
            )
        added[unused_name(token_id)] = token_id
    return added


def _read_added(listed: Any, origin: str) -> Iterator[tuple[int, str, bool]]:
    """The id and text of each added token, and whether it is a special one."""
    if not isinstance(listed, list | None):
        raise DataError(f"{origin}: damaged ('added_tokens' is no list)")
    for token in listed or []:
        found = token if isinstance(token, dict) else {}
        token_id, content, special = found.get("id"), found.get("content"), found.get("special")
        if type(token_id) is not int or type(content) is not str:
            raise DataError(f"{origin}: damaged (an entry of 'added_tokens' has no id or no text)")
        yield token_id, content, special is True


def _check_ids(vocabulary: dict[str, Any], origin: str) -> None:
    """Refuse ids that name no row of a table, or a row of one that would not fit into memory."""
    tokens: dict[int, str] = {}
    for token, token_id in vocabulary.items():
        if type(token_id) is not int or not 0 <= token_id < 2 * len(vocabulary) + MOST_HOLES:
            raise DataError(
                f"{origin}: a vocabulary of {len(vocabulary)} tokens cannot have the id "
                f"{repr(token_id)[:40]}"
            )
        if token_id in tokens:
            raise DataError(
                f"{origin}: damaged (the tokens '{_shown(tokens[token_id])}' and "
                f"'{_shown(token)}' have the same id {token_id})"
            )
        tokens[token_id] = token


def _check_all_there(vocabulary: dict[str, int], origin: str) -> None:
    """Refuse a vocabulary that leaves ids out: a model has as many as there are tokens."""
    missing = set(range(len(vocabulary))) - set(vocabulary.values())
    if missing:
        raise DataError(
            f"{origin}: damaged (no token has the id {min(missing)}, and there are "
            f"{len(vocabulary)} tokens)"
        )


def _shown(text: Any) -> str:
    return str(text)[:40].encode("ascii", "backslashreplace").decode()


def _added_token(content: str, token_id: int) -> dict[str, Any]:
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    return {
        "id": token_id,
        "content": content,
        **dict.fromkeys(flags, False),
        "special": True,
    }


def _replace(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def _replace_regex(pattern: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": new}


def _normalizers(settings: TokenizerSettings) -> list[dict[str, Any]]:
    separator = settings.token_separator
    if not separator:
        steps = [_replace('"', ""), _replace_regex(r"\s+", "")]
        return steps + _replacements_in_text(settings) + _markers(settings, None)
    escaped = re.escape(separator)
    around = r"\s+" if separator.isspace() else rf"\s*{escaped}\s*"
    steps = [_replace('"', ""), {"type": "Strip", "strip_left": True, "strip_right": True}]
    steps.append(_replace_regex(around, separator))
    if settings.specifier_separator:
        specifier = re.escape(settings.specifier_separator)
        steps.append(_replace_regex(rf"\s*{specifier}(?:(?!{escaped}).)*", ""))
    steps += _replacements_of_tokens(settings, escaped) + _markers(settings, escaped)
    if settings.encoding != "atomic":
        steps.append(_replace(separator, ""))
    return steps


def _replacements_in_text(settings: TokenizerSettings) -> list[dict[str, Any]]:
    pairs = longest_first(settings.replacements)
    first = [_replace(old, placeholder(index)) for index, (old, _) in enumerate(pairs)]
    return first + [_replace(placeholder(index), new) for index, (_, new) in enumerate(pairs)]


def _replacements_of_tokens(settings: TokenizerSettings, separator: str) -> list[dict[str, Any]]:
    pairs = longest_first(settings.replacements)
    first = [
        _replace_regex(_whole_token(re.escape(old), separator), placeholder(index))
        for index, (old, _) in enumerate(pairs)
    ]
    return first + [_replace(placeholder(index), new) for index, (_, new) in enumerate(pairs)]


def _whole_token(token: str, separator: str | None) -> str:
    if separator is None:
        return token
    return rf"(?:\A|(?<={separator})){token}(?={separator}|\z)"


def _markers(settings: TokenizerSettings, separator: str | None) -> list[dict[str, Any]]:
    steps = []
    end = _whole_token(CDS_END, separator)
    if settings.region == "utr3":
        steps.append(_replace_regex(rf"\A(?:.*?){end}", ""))
    elif settings.region == "outside_utr3":
        steps.append(_replace_regex(rf"{end}.*\z", ""))
    if settings.drop_markers:
        marker = f"[{CDS_END}{CDS_START}{EXON_JUNCTION}]"
        steps.append(_replace_regex(_whole_token(marker, separator), ""))
    return steps


def _pre_tokenizer(
    settings: TokenizerSettings, byte_level: dict[str, Any] | None
) -> dict[str, Any]:
    if byte_level is not None:
        return byte_level
    if settings.kmer_size is not None:
        letter = f"[^{CDS_START}{EXON_JUNCTION}]"
        more = rf"(?:{EXON_JUNCTION}*{letter}){{0,{settings.kmer_size - 1}}}"
        return _split(f"{letter}{more}|{CDS_START}|{EXON_JUNCTION}", "Isolated")
    if settings.token_separator:
        return _split(re.escape(settings.token_separator), "Removed")
    return _split(".", "Isolated")


def _split(pattern: str, behavior: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": behavior,
        "invert": False,
    }
