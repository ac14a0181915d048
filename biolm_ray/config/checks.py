"""What must be set, and which settings contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from biolm_ray.config.paths import COMPRESSIONS, FASTA_ENDINGS, FASTQ_ENDINGS, path_problems
from biolm_ray.config.schema import Config, Mode, SplitsConfig

TRAINING_MODES: tuple[Mode, ...] = ("fine-tune", "tune")

_SOURCES: dict[str, str] = {
    "tokenize": "'tokenizing and pre-training data source'",
    "pre-train": "'tokenizing and pre-training data source'",
    "fine-tune": "'fine-tuning data source'",
    "tune": "'fine-tuning data source'",
    "predict": "'inference data source'",
    "interpret": "'inference data source' or 'fine-tuning data source'",
}

Problem = tuple[tuple[str, ...], str]
"""The settings that are at odds, and what to do about it."""


def missing_settings(
    mode: Mode, values: Mapping[str, Any], unread: Iterable[str] = ()
) -> Iterator[str]:
    """Say of each setting that the mode cannot do without, and that is not set, how to set it.

    Args:
        mode: The command.
        values: The settings, by dotted name.
        unread: The data sources of the file that are for other modes.
    """
    source = _SOURCES[mode]
    names = " and ".join(f"'{name}'" for name in unread)
    aside = f"; {mode} reads nothing from {names}" if names else ""
    if "data.path" not in values:
        yield (
            f"{mode} needs a data file: set filepath in {source}, path in 'data', "
            f"or --filepath{aside}"
        )
    if "data.sequence_column" not in values and not _may_be_fasta(values):
        yield (
            f"{mode} needs the column of the sequences: set seqpos in {source}, "
            f"sequence_column in 'data', or --seqpos{aside}"
        )
    if mode in TRAINING_MODES and "task" not in values:
        yield f"{mode} needs a task: --task regression or --task classification"
    if mode in TRAINING_MODES and "data.label_column" not in values:
        yield (
            f"{mode} needs the column of the labels: set labelpos in {source}, "
            f"label_column in 'data', or --labelpos{aside}"
        )


def _may_be_fasta(values: Mapping[str, Any]) -> bool:
    """Tell whether the data may be of a kind that has no column of sequences."""
    if "data.format" in values:
        return values["data.format"].value == "fasta"
    path = values["data.path"].value if "data.path" in values else ""
    names = [path] if isinstance(path, str) else path
    endings = ["", *(compression.ending for compression in COMPRESSIONS)]
    stems = [name.lower().removesuffix(end) for name in names for end in endings]
    # FASTQ is not read either, but to say so takes a look into the file.
    return any(stem.endswith((*FASTA_ENDINGS, *FASTQ_ENDINGS)) for stem in stems)


def contradictions(config: Config) -> Iterator[Problem]:
    """Find settings at odds with each other or with this machine, among those that the mode uses.

    `center_token` with `cut_side: left` is none: sequences without that token are cut on that side.
    """
    for name, problem in path_problems(config):
        yield (name,), problem
    yield from _tokenization_problems(config)
    if config.mode in TRAINING_MODES:
        yield from _split_problems(config)
        yield from _target_problems(config)
        yield from _adaptation_problems(config)
    if config.mode == "interpret":
        yield from _edit_problems(config)
    if config.mode == "tune" and not config.tune.space:
        yield ("tune.space",), "tune needs at least one setting to vary in 'tune: space'"


def _edit_problems(config: Config) -> Iterator[Problem]:
    settings = config.interpret
    edit = settings.edit
    if edit == "replace" and not (settings.replacements or settings.replace_specifiers):
        yield (
            ("interpret.edit",),
            "replacing tokens needs a replacementdict, such as {a: [c, g], t: u}",
        )
    if settings.window > 1 and edit not in ("remove", "mask"):
        yield (
            ("interpret.window", "interpret.edit"),
            f"several tokens at once can be removed or masked, found {edit}; leave window out",
        )
    if settings.alphabet is not None and edit not in ("saturation", "insert"):
        yield (
            ("interpret.alphabet", "interpret.edit"),
            f"an alphabet is for saturation and insert, found {edit}; leave it out",
        )
    num_columns = len(settings.columns_of_regions)
    if num_columns not in (0, 1, 3):
        yield (
            ("interpret.region_columns",),
            f"regions are given by one column, the CDS as start-end, or by three, the lengths of "
            f"5'UTR, CDS and 3'UTR; found {num_columns} columns",
        )


def _tokenization_problems(config: Config) -> Iterator[Problem]:
    data, encoding = config.data, config.tokenization.encoding
    if data.specifier_separator is not None and encoding != "atomic":
        yield (
            ("data.specifier_separator", "tokenization.encoding"),
            f"numbers on tokens (specifiersep) need the atomic encoding, found {encoding}",
        )
    if data.remove_gaps and data.token_separator is not None:
        yield (
            ("data.remove_gaps", "data.token_separator"),
            "gaps are removed from sequences of single letters; tokens with a tokensep are kept "
            "as they are, so leave remove_gaps out",
        )
    if data.specifier_separator is not None and data.specifier_separator == data.token_separator:
        yield (
            ("data.specifier_separator", "data.token_separator"),
            "tokensep and specifiersep must differ",
        )


def _split_problems(config: Config) -> Iterator[Problem]:
    splits, has_column = config.splits, config.data.split_column is not None
    if splits.num_folds is not None and splits.num_folds < 2:
        yield ("splits.num_folds",), f"{splits.num_folds} fold is no cross-validation; 2 is least"
    if splits.method == "repeated hold-out" and None in (splits.ratio, splits.num_folds):
        yield (
            ("splits.method",),
            "repeated hold-out needs the shares of the parts and how often to draw them, "
            "such as ratio: [80, 10, 10] and num_folds: 5",
        )
    if splits.cross_validate is False and splits.num_folds is not None:
        yield (
            ("splits.cross_validate", "splits.num_folds"),
            "a number of folds contradicts cross_validate: false",
        )
    if splits.cross_validate and splits.num_folds is None and not has_column:
        yield (
            ("splits.cross_validate",),
            "cross-validation needs a number of folds (such as 10) or the column of the splits",
        )
    for name in ("test_splits", "validation_splits", "leave_out"):
        if getattr(splits, name) is not None and not has_column:
            yield (f"splits.{name}",), "names of splits need the column of the splits (splitpos)"
    yield from _named_split_problems(splits)


def _named_split_problems(splits: SplitsConfig) -> Iterator[Problem]:
    validation, test = splits.validation_splits, splits.test_splits
    given = {"splits.validation_splits": validation, "splits.test_splits": test}
    named = {name: groups for name, groups in given.items() if groups is not None}
    names = tuple(named)
    if not names:
        return
    if splits.ratio is not None:
        yield (
            ("splits.ratio", *names),
            "rows are parted by shares (splitratio) or by names of splits (devsplits, "
            "testsplits), not by both",
        )
    if validation and test and len(validation) != len(test):
        yield (
            names,
            f"{len(validation)} validation sets and {len(test)} test sets; each fold needs both",
        )
    num_sets = max(len(groups) for groups in named.values())
    asked = 1 if splits.cross_validate is False else splits.num_folds or num_sets
    if asked != num_sets:
        yield (
            ("splits.num_folds", *names),
            f"folds asked for: {asked}, found: {num_sets} sets of names; each fold needs a list of "
            "its own, such as [[a, b], [c]] for two",
        )
    for ours, theirs in zip(validation or (), test or (), strict=False):
        shared = sorted(set(ours) & set(theirs))
        if shared:
            yield names, f"split '{shared[0]}' both validates and tests in the same fold"
    for name, groups in named.items():
        both = [split for group in groups for split in group if split in (splits.leave_out or ())]
        if both:
            yield (name, "splits.leave_out"), f"split '{both[0]}' is named and left out"


def _adaptation_problems(config: Config) -> Iterator[Problem]:
    training = config.training
    if training.lora_rank is not None and training.freeze != "none":
        yield (
            ("training.lora_rank", "training.freeze"),
            "adapters stand beside an encoder that is frozen as a whole; leave freeze out",
        )
    if training.lora_alpha is not None and training.lora_rank is None:
        yield ("training.lora_alpha",), "the strength of adapters needs their lora_rank, such as 8"


def _target_problems(config: Config) -> Iterator[Problem]:
    training, is_classes = config.training, config.task == "classification"
    if training.weighted and is_classes:
        yield (
            ("training.weighted", "task"),
            "weights of rows (weightedregression) are for regression; classes have class_weights",
        )
    elif training.weighted and config.data.weight_column is None:
        yield ("training.weighted",), "weighted regression needs the column of weights (weightpos)"
    if training.loss != "mse" and is_classes:
        yield (
            ("training.loss", "task"),
            f"the loss {training.loss} is for regression; classes are learnt by cross entropy",
        )
    if training.class_weights == "none" and not is_classes:
        yield (
            ("training.class_weights", "task"),
            "regression has no classes to weigh; leave class_weights out",
        )
    num_columns = len(config.data.label_columns)
    if is_classes and num_columns > 1:
        yield (
            ("data.label_column", "task"),
            f"classes stand in one column, found {num_columns} label columns: several classes at "
            "once cannot be learnt; train a classification of each column (labelpos: one of them), "
            "or a regression of all",
        )
    foreign = ("pearson", "spearman") if is_classes else ("auroc", "f1")
    for name, metric in (
        ("training.stop_metric", training.stop_metric),
        ("tune.metric", config.tune.metric if config.mode == "tune" else None),
    ):
        if metric in foreign or (is_classes and metric == "r2"):
            yield (name, "task"), f"{metric} is no metric of {config.task}"
