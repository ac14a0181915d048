"""Every section and key of the reference, and of today, lands where it belongs."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from biolm_ray import cli
from biolm_ray.config.legacy import KEYS, SECTIONS
from biolm_ray.config.load import load_config
from biolm_ray.config.names import PARTS
from biolm_ray.config.schema import MODES, Column, Config
from biolm_ray.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"

LEAST: dict[str, Any] = {
    "filepath": "rows.tsv",
    "seqpos": 2,
    "labelpos": 3,
    "task": "regression",
    "pretrainedmodel": "earlier",
}

# key, text as written in YAML, the setting, its value; what else the setting needs
REFERENCE_KEYS: list[tuple[str, str, str, Any, str]] = [
    ("outputpath", "results", "output_path", "results", ""),
    ("filepath", '"a/b.tsv"', "data.path", "a/b.tsv", ""),
    ("stripheader", "True", "data.has_header", True, ""),
    ("columnsep", '"|"', "data.column_separator", "|", ""),
    ("tokensep", '","', "data.token_separator", ",", ""),
    ("specifiersep", '"#"', "data.specifier_separator", "#", ""),
    ("idpos", "4", "data.id_column", Column(index=3), ""),
    ("seqpos", "5", "data.sequence_column", Column(index=4), ""),
    ("labelpos", "6", "data.label_column", Column(index=5), ""),
    ("weightpos", "7", "data.weight_column", Column(index=6), ""),
    ("splitpos", "8", "data.split_column", Column(index=7), ""),
    ("inferenceonsplits", "[test, 01]", "data.splits_to_use", ("test", "01"), ""),
    ("dev", "100", "data.max_rows", 100, ""),
    ("dev", "True", "data.max_rows", 10, ""),
    ("dev", "1", "data.max_rows", 1, ""),
    ("blocksize", "12_288", "preprocessing.block_size", 12288, ""),
    ("lefttailing", "True", "preprocessing.cut_side", "left", ""),
    ("centertoken", "e", "preprocessing.center_token", "e", ""),
    ("nomarkers", "True", "preprocessing.drop_markers", True, ""),
    ("_3utr", "True", "preprocessing.region", "utr3", ""),
    ("non3utr", "True", "preprocessing.region", "outside_utr3", ""),
    ("only512", "True", "preprocessing.drop_longer", True, ""),
    ("encoding", "bpe", "tokenization.encoding", "bpe", ""),
    ("samplesize", "250_000", "tokenization.sample_size", 250_000, ""),
    ("vocabsize", "30_000", "tokenization.vocabulary_size", 30_000, ""),
    ("minfreq", "3", "tokenization.min_frequency", 3, ""),
    ("maxtokenlength", "12", "tokenization.max_token_length", 12, ""),
    ("atomicreplacements", "{gej: j}", "tokenization.replacements", {"gej": "j"}, ""),
    ("crossvalidation", "True", "splits.cross_validate", True, "splitpos: 8"),
    ("crossvalidation", "5", "splits.num_folds", 5, ""),
    ("splitratio", "85,15", "splits.ratio", (85.0, 15.0), ""),
    ("devsplits", "[a, b]", "splits.validation_splits", (("a", "b"),), "splitpos: 8"),
    ("testsplits", "[[1], [2]]", "splits.test_splits", (("1",), ("2",)), "splitpos: 8"),
    ("pretrainedmodel", "old", "model.pretrained", "old", ""),
    ("fromscratch", "True", "model.from_scratch", True, ""),
    ("model_config", "{n_layer: 2}", "model.options", {"n_layer": 2}, ""),
    ("batchsize", "8", "training.batch_size", 8, ""),
    ("gradacc", "4", "training.gradient_accumulation", 4, ""),
    ("nepochs", "10", "training.num_epochs", 10, ""),
    ("patience", "5", "training.patience", 5, ""),
    ("patience", "True", "training.patience", None, ""),
    ("scaling", "minmax", "training.scaling", "minmax", ""),
    ("learningrate", "1e-4", "training.learning_rate", 1e-4, ""),
    ("accelerator", "cpu", "resources.accelerator", "cpu", ""),
    ("weightedregression", "True", "training.weighted", True, "weightpos: 7"),
    ("resume", "True", "training.resume", True, ""),
    ("ngpus", "4", "resources.num_gpus", 4, ""),
    ("handletokens", "mask", "interpret.edit", "mask", ""),
    ("replacementdict", "{a: c}", "interpret.replacements", {"a": ("c",)}, ""),
    ("replacespecifier", "True", "interpret.replace_specifiers", True, ""),
    ("silent", "True", "run.quiet", True, ""),
    ("getdata", "True", "run.prepare_only", True, ""),
    ("forcenewdata", "True", "run.prepare_again", True, ""),
]


def value_of(config: Config, name: str) -> Any:
    value: Any = config
    for step in name.split("."):
        value = getattr(value, step)
    return value


def load_text(folder: Path, text: str, mode: str = "fine-tune", **overrides: Any) -> Config:
    file = folder / "experiment.yaml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, mode, overrides)


def least_without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in LEAST.items() if key not in keys}


def test_the_table_of_this_test_holds_every_key_of_the_reference() -> None:
    assert {row[0] for row in REFERENCE_KEYS} == set(KEYS)


@pytest.mark.parametrize(("key", "text", "name", "value", "needs"), REFERENCE_KEYS)
def test_a_reference_key_lands_at_its_setting(
    tmp_path: Path, key: str, text: str, name: str, value: Any, needs: str
) -> None:
    config = load_text(tmp_path, f"{key}: {text}\n{needs}\n", **least_without(key))
    assert value_of(config, name) == value


@pytest.mark.parametrize(("key", "text", "name", "value", "needs"), REFERENCE_KEYS)
def test_a_reference_key_is_a_flag(
    monkeypatch: pytest.MonkeyPatch, key: str, text: str, name: str, value: Any, needs: str
) -> None:
    stages, configs = ModuleType("biolm_ray.stages"), []
    monkeypatch.setattr(stages, "finetune", configs.append, raising=False)
    monkeypatch.setitem(sys.modules, "biolm_ray.stages", stages)
    monkeypatch.setattr("biolm_ray.preparation.first_look.look_at_paths", lambda config: None)
    given = {**least_without(key), key: text.strip('"')}
    if needs:
        given |= [needs.split(": ")]
    flags = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    assert cli.main(["fine-tune", *flags]) == 0
    assert value_of(configs[0], name) == value


@pytest.mark.parametrize(("key", "text", "name", "value", "needs"), REFERENCE_KEYS)
@pytest.mark.parametrize("section", ["fine-tuning data source", "settings", "looscores"])
def test_reference_sections_hold_any_reference_key_nested_at_will(
    tmp_path: Path, section: str, key: str, text: str, name: str, value: Any, needs: str
) -> None:
    text = f"settings:\n  {section}:\n    {key}: {text}\n    {needs}\n"
    assert value_of(load_text(tmp_path, text, **least_without(key)), name) == value


@pytest.mark.parametrize(
    ("section", "modes"),
    [
        ("tokenizing and pre-training data source", ("tokenize", "pre-train")),
        ("fine-tuning data source", ("fine-tune", "interpret", "tune")),
        ("inference data source", ("predict", "interpret")),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_a_data_source_serves_its_modes_only(
    tmp_path: Path, section: str, modes: tuple[str, ...], mode: str
) -> None:
    text = (
        "data: {path: general.tsv, sequence_column: 1}\n"
        f"{section}: {{filepath: special.tsv, seqpos: 2}}\n"
    )
    rest = {"labelpos": 3, "task": "regression", "pretrainedmodel": "old"}
    if mode == "tune":
        rest["tune.space.batchsize"] = [8, 16]
    config = load_text(tmp_path, text, mode, **rest)
    assert config.data.path == ("special.tsv" if mode in modes else "general.tsv")
    assert config.output_path == config.data.path.removesuffix(".tsv")


def test_every_section_of_the_reference_is_known() -> None:
    assert set(SECTIONS) == {
        "tokenizing and pre-training data source",
        "fine-tuning data source",
        "inference data source",
        "inference model",
        "settings",
        "general",
        "fine-tuning",
        "data pre-processing",
        "environment",
        "looscores",
        "debugging",
        "bpe",
    }


def test_interpreting_a_new_file_ignores_the_fine_tuning_source(tmp_path: Path) -> None:
    text = """
fine-tuning data source: {filepath: old.tsv, seqpos: 2, splitpos: 1, pretrainedmodel: start}
inference data source: {filepath: new.tsv, seqpos: 3}
inference model: {pretrainedmodel: done/fine-tune}
"""
    config = load_text(tmp_path, text, "interpret")
    assert config.data.path == "new.tsv"
    assert config.data.split_column is None
    assert config.model.pretrained == "done/fine-tune"


def test_interpreting_test_rows_does_not_take_the_weights_fine_tuning_began_with(
    tmp_path: Path,
) -> None:
    text = """
fine-tuning data source: {filepath: old.tsv, seqpos: 2, splitpos: 1, pretrainedmodel: start}
inference data source: {filepath: None, seqpos: 9}
"""
    config = load_text(tmp_path, text, "interpret")
    assert config.data.path == "old.tsv"
    assert config.data.sequence_column == Column(index=1)
    assert config.model.pretrained is None
    tuned = load_text(tmp_path, text, labelpos=3, task="regression")
    assert tuned.model.pretrained == "start"


def test_keys_in_foreign_sections_must_be_known_too(tmp_path: Path) -> None:
    text = "inference data source:\n  filpath: new.tsv\n"
    with pytest.raises(ConfigError, match=r"line 2: 'filpath' .* 'filepath'"):
        load_text(tmp_path, text, **LEAST)


def test_sections_and_keys_of_today_load(tmp_path: Path) -> None:
    text = """
mode: fine-tune
task: regression
output_path: results
data:
  path: rows.tsv
  has_header: true
  sequence_column: sequence
  label_column: 3
  allow_duplicate_ids: yes
training: {batch_size: 32, learning_rate: 1e-3, seed: 7, batchsize: 32}
model: {name: saluki, filters: 64, dropout: 3e-1, options: {layers: 2}, model_config: {a: b}}
interpret: {folds: [0, 2]}
tune:
  space:
    training.learning_rate: {low: 1e-5, high: 1e-2, log: true}
    batchsize: [8, 16]
    model.filters: [32, 64]
"""
    config = load_text(tmp_path, text)
    assert config.data.sequence_column == Column(name="sequence")
    assert config.data.label_column == Column(index=2)
    assert config.data.allow_duplicate_ids
    assert config.training.learning_rate == 1e-3
    assert config.model.options == {"filters": 64, "dropout": 0.3, "layers": 2, "a": "b"}
    assert config.interpret.folds == (0, 2)
    space = config.tune.space
    assert list(space) == ["training.learning_rate", "training.batch_size", "model.filters"]
    assert space["training.batch_size"] == (8, 16)
    assert space["training.learning_rate"].low == 1e-5


@pytest.mark.parametrize("part", sorted(PARTS))
def test_every_section_of_today_may_be_empty(tmp_path: Path, part: str) -> None:
    assert load_text(tmp_path, f"{part}:\n", **LEAST) == load_config(None, "fine-tune", LEAST)


def test_overrides_win_over_the_section_of_the_mode_and_that_over_general_ones(
    tmp_path: Path,
) -> None:
    text = """
training:
  batchsize: 8
  fine-tuning: {batchsize: 16, gradacc: 4}
"""
    config = load_text(tmp_path, text, **LEAST, batchsize="32")
    assert (config.training.batch_size, config.training.gradient_accumulation) == (32, 4)
    assert load_text(tmp_path, text, **LEAST).training.batch_size == 16
    pretrain = load_text(tmp_path, text, "pre-train", **LEAST)
    assert (pretrain.training.batch_size, pretrain.training.gradient_accumulation) == (8, 1)


def test_an_override_can_unset_what_the_file_sets(tmp_path: Path) -> None:
    text = "centertoken: e\nlefttailing: True\n_3utr: True\ncrossvalidation: 5\n"
    unset = {"centertoken": "None", "lefttailing": False, "crossvalidation": None}
    config = load_text(tmp_path, text, **LEAST, **unset, non3utr=False)
    assert config.preprocessing.center_token is None
    assert config.preprocessing.cut_side == "right"
    assert config.preprocessing.region == "utr3"  # non3utr: False does not touch _3utr
    assert config.splits.num_folds is None


@pytest.mark.parametrize("mode", ["tokenize", "pre-train", "fine-tune", "interpret"])
def test_one_file_in_the_style_of_the_reference_serves_every_mode(mode: str) -> None:
    config = load_config(CONFIGS / "reference_style.yaml", mode, {"task": "regression"})
    assert config.data.path == "demo.tsv"
    assert config.output_path == "demo_experiment"
    assert config.tokenization.vocabulary_size == 20_000
    assert config.training.batch_size == 16
    assert config.preprocessing.block_size == 1024


def test_the_mode_asked_for_wins_over_the_mode_in_the_file(tmp_path: Path) -> None:
    assert load_text(tmp_path, "mode: fine-tune\n", "predict", **LEAST).mode == "predict"


@pytest.mark.parametrize(
    ("path", "folder"),
    [("a/b.tsv", "a/b"), ("b.tsv.gz", "b"), ("x.y/v1.2.csv", "x.y/v1.2"), ("./b.txt", "./b")],
)
def test_results_go_beside_the_data_file_by_default(path: str, folder: str) -> None:
    config = load_config(None, "tokenize", {"filepath": path, "seqpos": 1})
    assert config.output_path == folder


@pytest.mark.parametrize("path", ["rows", "s3://bucket/rows.tsv"])
def test_a_path_that_tells_no_result_folder_needs_outputpath(path: str) -> None:
    with pytest.raises(ConfigError, match="set outputpath"):
        load_config(None, "tokenize", {"filepath": path, "seqpos": 1})
    config = load_config(None, "tokenize", {"filepath": path, "seqpos": 1, "outputpath": "out"})
    assert config.data.path == path


def test_settings_by_their_whole_names_may_stand_at_the_top_of_a_file(tmp_path: Path) -> None:
    text = (
        "data.column_separator: ';'\nmodel.options: {a: 1}\nmodel.channels: 32\n"
        "settings:\n  tune.space.training.batch_size: [4, 8]\n"
    )
    config = load_text(tmp_path, text, **LEAST)
    assert config.data.column_separator == ";"
    assert config.model.options == {"a": 1, "channels": 32}
    assert dict(config.tune.space) == {"training.batch_size": (4, 8)}


@pytest.mark.parametrize("mark", [";", "\\t", " ", "'", ","])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_quotes_that_a_shell_leaves_around_a_separator_are_taken_off(mark: str, quote: str) -> None:
    given = {"columnsep": f"{quote}{mark}{quote}"}
    separator = load_config(None, "fine-tune", {**LEAST, **given}).data.column_separator
    assert separator == ("\t" if mark == "\\t" else mark)


def test_quotes_are_taken_off_the_decimal_sign() -> None:
    config = load_config(None, "fine-tune", {**LEAST, "data.decimal": "','"})
    assert config.data.decimal == ","
