"""The one table of older spellings: the reference's sections and keys, and what each is now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from biolm_ray.config.schema import Mode
from biolm_ray.config.values import UNSET, is_true, is_unset, read_flag, read_number

ROWS_TO_TRY = 10
"""What `dev` without a number means."""


@dataclass(frozen=True, kw_only=True)
class OldSection:
    """A section of the reference's files.

    Attributes:
        part: The section of the schema whose own keys may stand in it too.
        modes: The modes that read it; the others skip it. None: every mode.
    """

    part: str | None
    modes: tuple[Mode, ...] | None = None


@dataclass(frozen=True)
class OldKey:
    """A key of the reference, valid in any section and as a flag of the command line.

    Attributes:
        names: The settings it stands for.
        convert: Turns the value written into one value per name; None passes it on.
        alone: The flag may stand without a value, and then means true.
        many: The flag may be followed by several values.
    """

    names: tuple[str, ...]
    convert: Callable[[Any], tuple[Any, ...]] | None = None
    alone: bool = False
    many: bool = False


def _key(name: str, *, alone: bool = False, many: bool = False) -> OldKey:
    return OldKey((name,), alone=alone, many=many)


def _switch(name: str, meaning: str) -> OldKey:
    """A true-or-false key of the reference that picks one of several values today."""

    def convert(value: Any) -> tuple[Any, ...]:
        flag = read_flag(value)
        if flag is True:
            return (meaning,)
        if flag is False or flag is UNSET:
            return (UNSET,)
        raise ValueError("true or false")

    return OldKey((name,), convert, alone=True)


def _folds(value: Any) -> tuple[Any, ...]:
    """`crossvalidation`: true, or the number of folds; false and 0 leave it to the other keys."""
    if is_unset(value) or read_number(value) == 0:
        return UNSET, UNSET
    if is_true(value):
        return UNSET, True
    number = read_number(value)
    if not isinstance(number, int):
        raise ValueError("true, false or a number of folds such as 10")
    return number, UNSET


def _rows_to_try(value: Any) -> tuple[Any, ...]:
    """`dev`: how many rows; true takes a few."""
    return (ROWS_TO_TRY if is_true(value) else value,)


TOKENIZER_SOURCE = "tokenizing and pre-training data source"
FINE_TUNING_SOURCE = "fine-tuning data source"
INFERENCE_SOURCE = "inference data source"

SECTIONS: Mapping[str, OldSection] = {
    TOKENIZER_SOURCE: OldSection(part="data", modes=("tokenize", "pre-train")),
    FINE_TUNING_SOURCE: OldSection(part="data", modes=("fine-tune", "tune", "interpret")),
    INFERENCE_SOURCE: OldSection(part="data", modes=("predict", "interpret")),
    "inference model": OldSection(part="model", modes=("predict", "interpret")),
    "settings": OldSection(part=None),
    "general": OldSection(part="training"),
    "fine-tuning": OldSection(part="training", modes=("fine-tune", "predict", "interpret", "tune")),
    "data pre-processing": OldSection(part="preprocessing"),
    "environment": OldSection(part="resources"),
    "looscores": OldSection(part="interpret"),
    "debugging": OldSection(part="run"),
    "bpe": OldSection(part="tokenization"),
}

KEYS: Mapping[str, OldKey] = {
    "outputpath": _key("output_path"),
    "filepath": _key("data.path", many=True),
    "stripheader": _key("data.has_header", alone=True),
    "columnsep": _key("data.column_separator"),
    "tokensep": _key("data.token_separator"),
    "specifiersep": _key("data.specifier_separator"),
    "idpos": _key("data.id_column"),
    "seqpos": _key("data.sequence_column"),
    "labelpos": _key("data.label_column", many=True),
    "weightpos": _key("data.weight_column"),
    "splitpos": _key("data.split_column"),
    "inferenceonsplits": _key("data.splits_to_use", many=True),
    "dev": OldKey(("data.max_rows",), _rows_to_try, alone=True),
    "blocksize": _key("preprocessing.block_size"),
    "lefttailing": _switch("preprocessing.cut_side", "left"),
    "centertoken": _key("preprocessing.center_token"),
    "nomarkers": _key("preprocessing.drop_markers", alone=True),
    "_3utr": _switch("preprocessing.region", "utr3"),
    "non3utr": _switch("preprocessing.region", "outside_utr3"),
    "only512": _key("preprocessing.drop_longer", alone=True),
    "encoding": _key("tokenization.encoding"),
    "samplesize": _key("tokenization.sample_size"),
    "vocabsize": _key("tokenization.vocabulary_size"),
    "minfreq": _key("tokenization.min_frequency"),
    "maxtokenlength": _key("tokenization.max_token_length"),
    "atomicreplacements": _key("tokenization.replacements"),
    "crossvalidation": OldKey(("splits.num_folds", "splits.cross_validate"), _folds, alone=True),
    "splitratio": _key("splits.ratio", many=True),
    "devsplits": _key("splits.validation_splits", many=True),
    "testsplits": _key("splits.test_splits", many=True),
    "pretrainedmodel": _key("model.pretrained"),
    "fromscratch": _key("model.from_scratch", alone=True),
    "model_config": _key("model.options"),
    "batchsize": _key("training.batch_size"),
    "gradacc": _key("training.gradient_accumulation"),
    "nepochs": _key("training.num_epochs"),
    "patience": _key("training.patience", alone=True),
    "learningrate": _key("training.learning_rate"),
    "scaling": _key("training.scaling"),
    "weightedregression": _key("training.weighted", alone=True),
    "resume": _key("training.resume", alone=True),
    "ngpus": _key("resources.num_gpus"),
    "accelerator": _key("resources.accelerator"),
    "handletokens": _key("interpret.edit"),
    "replacementdict": _key("interpret.replacements"),
    "replacespecifier": _key("interpret.replace_specifiers", alone=True),
    "silent": _key("run.quiet", alone=True),
    "getdata": _key("run.prepare_only", alone=True),
    "forcenewdata": _key("run.prepare_again", alone=True),
}


def older_spellings(name: str) -> tuple[str, ...]:
    return tuple(key for key, old in KEYS.items() if name in old.names)
