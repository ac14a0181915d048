"""Odd ways of writing a value, all found in files that are in use."""

from pathlib import Path
from typing import Any

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Column, Config
from biolm_ray.errors import ConfigError

LEAST: dict[str, Any] = {"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"}


def load_line(folder: Path, line: str) -> Config:
    """Load a file of one line beside the settings that cannot be missing."""
    file = folder / "experiment.yaml"
    file.write_text(f"{line}\n", encoding="utf-8")
    key = line.partition(":")[0]
    return load_config(file, "fine-tune", {k: v for k, v in LEAST.items() if k != key})


@pytest.mark.parametrize("unset", ["None", "False", "", '"None"', "''", "null", "~", "none"])
@pytest.mark.parametrize(
    "key",
    ["specifiersep", "samplesize", "centertoken", "resume", "weightpos", "splitratio", "devsplits",
     "atomicreplacements", "model_config", "crossvalidation", "dev", "nepochs", "lefttailing",
     "pretrainedmodel", "encoding", "ngpus", "silent"],
)  # fmt: skip
def test_none_false_and_nothing_leave_a_setting_at_its_default(
    tmp_path: Path, key: str, unset: str
) -> None:
    assert load_line(tmp_path, f"{key}: {unset}") == load_config(None, "fine-tune", LEAST)


@pytest.mark.parametrize("unset", [None, False, "None", "False", "", "null", "none"])
@pytest.mark.parametrize(
    "key", ["samplesize", "centertoken", "resume", "crossvalidation", "silent"]
)
def test_overrides_may_leave_a_setting_at_its_default(key: str, unset: Any) -> None:
    config = load_config(None, "fine-tune", {**LEAST, key: unset})
    assert config == load_config(None, "fine-tune", LEAST)


@pytest.mark.parametrize(
    ("text", "number"), [("20_000", 20_000), ("2e4", 20_000), ('"512"', 512), ("+8", 8)]
)
def test_whole_numbers_have_many_spellings(tmp_path: Path, text: str, number: int) -> None:
    config = load_line(tmp_path, f"vocabsize: {text}")
    assert config.tokenization.vocabulary_size == number


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "0.00001", ".00001", "1.0e-05", '"1e-5"'])
def test_small_numbers_have_many_spellings(tmp_path: Path, text: str) -> None:
    config = load_line(tmp_path, f"training: {{learning_rate: {text}}}")
    assert config.training.learning_rate == 1e-5


@pytest.mark.parametrize(
    "text",
    [
        "{a: A, bcd: xyz}",
        "\"{'a': 'A', 'bcd': 'xyz'}\"",
        '\'{"a": "A", "bcd": "xyz"}\'',
        '"{a: A, bcd: xyz}"',
        "\n  a: A\n  bcd: xyz",
    ],
)
def test_a_dictionary_is_yaml_or_quoted_python_or_json(tmp_path: Path, text: str) -> None:
    replacements = {"a": "A", "bcd": "xyz"}
    assert load_line(tmp_path, f"atomicreplacements: {text}").tokenization.replacements == (
        replacements
    )
    assert load_line(tmp_path, f"replacementdict: {text}").interpret.replacements == {
        "a": ("A",),
        "bcd": ("xyz",),
    }


@pytest.mark.parametrize(
    "text",
    [
        "{a: [c, g], t: u, n: [1]}",
        '\'{"a": ["c", "g"], "t": "u", "n": "1"}\'',
        "\"{'a': ('c', 'g'), 't': ['u'], 'n': 1}\"",
        "\n  a: [c, g]\n  t: u\n  n: '1'",
    ],
)
def test_a_token_has_one_replacement_or_a_list_of_them(tmp_path: Path, text: str) -> None:
    read = load_line(tmp_path, f"replacementdict: {text}").interpret.replacements
    assert read == {"a": ("c", "g"), "t": ("u",), "n": ("1",)}


def test_a_dictionary_in_text_is_never_run_as_code(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(ConfigError, match="dictionary"):
        load_line(tmp_path, f"atomicreplacements: \"__import__('pathlib').Path('{trap}').touch()\"")
    assert not trap.exists()


def test_keys_that_yaml_takes_for_truth_values_stay_text(tmp_path: Path) -> None:
    config = load_line(tmp_path, "atomicreplacements: {no: n, 1: on, y: 01}")
    assert config.tokenization.replacements == {"no": "n", "1": "on", "y": "01"}


@pytest.mark.parametrize(
    "text", ["85,15", "85/15", "[85, 15]", '"85,15"', '"[85, 15]"', "(85, 15)", "85 / 15"]
)
def test_a_ratio_has_many_spellings(tmp_path: Path, text: str) -> None:
    assert load_line(tmp_path, f"splitratio: {text}").splits.ratio == (85, 15)


def test_a_ratio_may_have_a_third_share(tmp_path: Path) -> None:
    assert load_line(tmp_path, "splitratio: 0.8/0.1/0.1").splits.ratio == (0.8, 0.1, 0.1)


@pytest.mark.parametrize("text", ['"\\t"', "'\\t'", "\\t"])
def test_a_tab_between_columns_has_many_spellings(tmp_path: Path, text: str) -> None:
    assert load_line(tmp_path, f"columnsep: {text}").data.column_separator == "\t"


@pytest.mark.parametrize("text", ["None", "", "False"])
def test_an_unset_column_separator_is_left_to_the_file(tmp_path: Path, text: str) -> None:
    assert load_line(tmp_path, f"columnsep: {text}").data.column_separator is None


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("rows.tsv", ("rows.tsv",)),
        ("[a.tsv, 'b,c.tsv']", ("a.tsv", "b,c.tsv")),
        ("[a.tsv]", ("a.tsv",)),
        ('"data/*.tsv"', ("data/*.tsv",)),
    ],
)
def test_the_data_are_a_path_or_a_list_of_paths(
    tmp_path: Path, text: str, paths: tuple[str, ...]
) -> None:
    assert load_line(tmp_path, f"filepath: {text}\noutputpath: out").data.paths == paths


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("3", Column(index=2)),
        ('"3"', Column(index=2)),
        ("[3]", Column(index=2)),
        ("[3, 4]", (Column(index=2), Column(index=3))),
        ('"[3, 4]"', (Column(index=2), Column(index=3))),
        ("3, 4", (Column(index=2), Column(index=3))),
        ("half_life, tpm", (Column(name="half_life"), Column(name="tpm"))),
        ("[half_life, 4]", (Column(name="half_life"), Column(index=3))),
        ('"half life, in hours"', Column(name="half life, in hours")),
        ('["half life, in hours", tpm]', (Column(name="half life, in hours"), Column(name="tpm"))),
    ],
)
def test_the_labels_are_a_column_or_a_list_of_columns(tmp_path: Path, text: str, columns) -> None:
    assert load_line(tmp_path, f"labelpos: {text}").data.label_column == columns


def test_a_list_of_columns_counts_from_1_and_is_not_empty(tmp_path: Path) -> None:
    for text in ("[3, 0]", "[]"):
        with pytest.raises(ConfigError, match="expected a column number from 1"):
            load_line(tmp_path, f"labelpos: {text}")


def test_a_name_in_a_list_of_columns_means_that_there_is_a_header(tmp_path: Path) -> None:
    assert load_line(tmp_path, "labelpos: [3, tpm]").data.has_header
    assert not load_line(tmp_path, "labelpos: [3, 4]").data.has_header


def test_a_space_can_separate(tmp_path: Path) -> None:
    assert load_line(tmp_path, 'tokensep: " "').data.token_separator == " "


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ("a", (("a",),)),
        ("[1, 2]", (("1", "2"),)),
        ("1,2", (("1", "2"),)),
        ("[[1, 2], [3]]", (("1", "2"), ("3",))),
        ('"[[1, 2], [3]]"', (("1", "2"), ("3",))),
        ("[01, 1e5, no]", (("01", "1e5", "no"),)),
    ],
)
def test_named_splits_are_a_list_or_a_list_of_lists(
    tmp_path: Path, text: str, sets: tuple[tuple[str, ...], ...]
) -> None:
    config = load_line(tmp_path, f"testsplits: {text}\nsplitpos: 1")
    assert config.splits.test_splits == sets


@pytest.mark.parametrize(
    ("written", "value"),
    [("True", True), (True, True), ("auto", "auto"), ("5", 5), (5, 5), ("1", 1), (None, False),
     (False, False), ("0", False)],
)  # fmt: skip
def test_resume_continues_or_trains_longer(written: Any, value: Any) -> None:
    config = load_config(None, "fine-tune", {**LEAST, "resume": written})
    assert config.training.resume == value
    assert type(config.training.resume) is type(value)


@pytest.mark.parametrize(
    ("written", "num_folds", "cross_validate"),
    [
        ("True", None, True),
        ("10", 10, None),
        (10, 10, None),
        ("False", None, None),
        (0, None, None),
    ],
)
def test_crossvalidation_is_a_switch_or_a_number_of_folds(
    written: Any, num_folds: int | None, cross_validate: bool | None
) -> None:
    least = LEAST if cross_validate is None else {**LEAST, "splitpos": 1}
    splits = load_config(None, "fine-tune", {**least, "crossvalidation": written}).splits
    assert (splits.num_folds, splits.cross_validate) == (num_folds, cross_validate)


def test_a_column_given_by_name_means_that_there_is_a_header() -> None:
    config = load_config(None, "fine-tune", {**LEAST, "labelpos": "half_life"})
    assert config.data.label_column == Column(name="half_life")
    assert config.data.has_header


def test_a_column_name_contradicts_a_file_without_header() -> None:
    with pytest.raises(ConfigError, match=r"labelpos.*'half_life'.*stripheader"):
        load_config(None, "fine-tune", {**LEAST, "labelpos": "half_life", "stripheader": "False"})


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_ngpus_reads_text(number: int) -> None:
    config = load_config(None, "fine-tune", {**LEAST, "ngpus": str(number)})
    assert config.resources.num_gpus == number


def test_scaling_none_in_small_letters_means_no_scaling() -> None:
    scaling = [
        load_config(None, "fine-tune", {**LEAST, "scaling": text}).training.scaling
        for text in ("none", "None", "log")
    ]
    assert scaling == ["none", "standard", "log"]


def test_labels_of_classes_are_never_scaled() -> None:
    classes = {**LEAST, "task": "classification"}
    assert load_config(None, "fine-tune", classes).training.scaling == "none"


def test_options_of_a_model_keep_their_types(tmp_path: Path) -> None:
    line = "model: {a: 1, b: '1', c: 1e-3, d: [1, x], e: true, f: null, g: {h: 2}, i: 01, j: None}"
    assert load_line(tmp_path, line).model.options == {
        "a": 1, "b": "1", "c": 1e-3, "d": [1, "x"], "e": True, "f": None, "g": {"h": 2}, "i": "01",
        "j": None,
    }  # fmt: skip


def test_anchors_and_merge_keys_save_typing(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(
        "tokenizing and pre-training data source: &source {filepath: a.tsv, seqpos: 2}\n"
        "fine-tuning data source:\n  <<: *source\n  labelpos: 3\n  filepath: b.tsv\n"
    )
    data = load_config(file, "fine-tune", {"task": "regression"}).data
    assert (data.path, data.sequence_column) == ("b.tsv", Column(index=1))


def test_an_empty_file_leaves_all_to_the_overrides(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing yet\n")
    assert load_config(file, "fine-tune", LEAST) == load_config(None, "fine-tune", LEAST)


def test_words_for_missing_values_are_a_list_in_which_null_is_a_word(tmp_path: Path) -> None:
    config = load_line(tmp_path, "data: {missing_values: [NA, null, -999, .nan, '-', none, '?']}")
    found = ("NA", "null", "-999", ".nan", "-", "none", "?")
    assert config.data.missing_values == found
    assert load_line(tmp_path, "data: {missing_values: []}").data.missing_values == ()
