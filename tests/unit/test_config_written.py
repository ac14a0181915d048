"""A resolved configuration can be run again, and changed setting by setting."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm_ray.config.load import all_settings, load_config, with_settings, write_config
from biolm_ray.config.meanings import MEANINGS, USED_PARTS
from biolm_ray.config.names import PARTS, all_names
from biolm_ray.config.schema import MODES, Column, Config, Range
from biolm_ray.errors import ConfigError

LEAST: dict[str, Any] = {"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"}
UNSET_WORDS = ("", "none", "null", "false")

letters = st.characters(exclude_categories=("Cs",))
texts = st.text(letters, min_size=1, max_size=12).filter(
    lambda text: text.strip().lower() not in UNSET_WORDS
)
names = texts.filter(lambda text: not text.strip().lstrip("+-").isdigit())
separators = texts.filter(lambda text: "\\t" not in text)
columns = st.one_of(st.integers(0, 99).map(lambda index: Column(index=index)),
                    names.map(lambda name: Column(name=name)))  # fmt: skip
numbers = st.integers(1, 10**9)
signs = st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters=":")
# None of them an address, a home folder or what a path cannot hold: those are refused.
paths = st.text(signs, max_size=20).map(lambda text: f"x{text}")
shares = st.floats(1e-12, 1e12)
options = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(letters, max_size=12),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(letters, max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
split_sets = st.tuples(st.tuples(texts, texts), st.tuples(texts))
replacements = st.dictionaries(st.text(letters, max_size=5), st.text(letters, max_size=5))
replacement_lists = st.dictionaries(st.text(letters, max_size=5), st.tuples(texts, texts))

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "output_path": paths,
        "data.path": paths | st.tuples(paths, paths),
        "data.format": st.sampled_from(["auto", "table", "fasta", "parquet", "datasets"]),
        "data.on_bad_rows": st.sampled_from(["stop", "quarantine"]),
        "data.max_rejected_share": st.floats(0, 1),
        "data.prepared_path": paths,
        "data.column_separator": separators,
        "data.token_separator": separators,
        "data.id_column": columns,
        "data.sequence_column": columns,
        "data.label_column": columns | st.tuples(columns, columns),
        "data.weight_column": columns,
        "data.splits_to_use": st.tuples(texts, texts),
        "data.max_rows": numbers,
        "data.max_unknown_share": st.floats(0, 1),
        "preprocessing.block_size": numbers,
        "preprocessing.cut_side": st.sampled_from(["left", "right"]),
        "preprocessing.center_token": texts,
        "preprocessing.region": st.sampled_from(["whole", "utr3", "outside_utr3"]),
        "tokenization.encoding": st.sampled_from(["atomic", "bpe", "3mer"]),
        "tokenization.replacements": replacements,
        "splits.num_folds": st.integers(2, 20),
        "splits.ratio": st.tuples(shares, shares) | st.tuples(shares, shares, shares),
        "model.name": texts,
        "model.pretrained": paths,
        "model.options": st.dictionaries(st.text(letters, max_size=8), options, max_size=4),
        "training.learning_rate": shares,
        "training.weight_decay": shares,
        "training.loss": st.sampled_from(["mse", "huber", "mae"]),
        "training.scaling": st.sampled_from(["none", "log", "minmax", "standard"]),
        "training.resume": st.sampled_from([True, False, "auto", 1, 7]),
        "resources.num_gpus": st.sampled_from([0, 1, 2, 4]),
        "interpret.folds": st.tuples(st.integers(0, 9)),
        "interpret.replacements": replacements | replacement_lists,
        "interpret.region_columns": columns,
        "interpret.kmer": st.integers(0, 12),
        "interpret.motifs": st.dictionaries(texts, st.text("ACGUN", min_size=1), max_size=3),
        "interpret.coordinates": paths,
        "tune.budget_minutes": st.floats(1e-12, 1e7),
        "tune.resume": st.booleans(),
        "run.quiet": st.booleans(),
    },
)


@settings(max_examples=150)
@given(CHANGES, st.sampled_from(MODES))
def test_a_written_configuration_reads_back_equal(changes: dict[str, Any], mode: str) -> None:
    least = {
        "data.path": "rows.tsv",
        "data.sequence_column": 2,
        "data.label_column": 3,
        "task": "regression",
        "output_path": "results",
        "model.pretrained": "old",
        "tune.space": {"training.batch_size": [8, 16], "model.width": ["1", 1, 1e-3]},
    }
    config = load_config(None, mode, {**least, **changes})
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        write_config(config, file)
        again = load_config(file, mode)
    assert again == config
    assert again.model_dump_json() == config.model_dump_json()


def test_a_search_space_reads_back_equal(tmp_path: Path) -> None:
    space = {"nepochs": [1, 2], "training.learning_rate": {"low": 1e-5, "high": 1.0, "log": True}}
    config = load_config(None, "tune", {**LEAST, "tune.space": space})
    write_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml", "tune") == config
    assert config.tune.space == {
        "training.num_epochs": (1, 2),
        "training.learning_rate": Range(low=1e-5, high=1.0, log=True),
    }


def test_named_splits_read_back_equal(tmp_path: Path) -> None:
    config = load_config(
        None,
        "fine-tune",
        {**LEAST, "splitpos": 1, "devsplits": [["01", "no"], ["a,b"]], "testsplits": "[[2],[3]]"},
    )
    write_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml", "fine-tune") == config
    assert config.splits.validation_splits == (("01", "no"), ("a,b",))


def test_a_written_configuration_counts_columns_from_1(tmp_path: Path) -> None:
    write_config(load_config(None, "fine-tune", LEAST), tmp_path / "c.yaml")
    written = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert written["data"]["sequence_column"] == 2
    assert written["mode"] == "fine-tune"
    assert list(written) == list(Config.model_fields)


@pytest.mark.parametrize("mode", MODES)
def test_a_configuration_of_one_mode_can_be_run_with_another(tmp_path: Path, mode: str) -> None:
    extra = {"pretrainedmodel": "old", "tune.space.patience": [1, 2]}
    write_config(load_config(None, "fine-tune", {**LEAST, **extra}), tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml", mode).mode == mode


def test_with_settings_copies_with_changes() -> None:
    config = load_config(None, "fine-tune", {**LEAST, "model.filters": 32, "labelpos": "y"})
    changed = with_settings(
        config,
        {"training.learning_rate": 1e-3, "batchsize": 4, "model.filters": 64, "mode": "predict",
         "model.pretrained": "old", "model.options.depth": 3},
    )  # fmt: skip
    assert config.training.batch_size is None
    assert (changed.training.learning_rate, changed.training.batch_size) == (1e-3, 4)
    assert changed.model.options == {"filters": 64, "depth": 3}
    assert changed.mode == "predict"
    assert changed.data == config.data


def test_with_settings_of_nothing_changes_nothing() -> None:
    settings = {**LEAST, "task": "classification", "tune.space": {"model.a": {"low": 1, "high": 2}}}
    config = load_config(None, "tune", settings)
    assert with_settings(config, {}) == config


def test_with_settings_can_set_back_to_the_default() -> None:
    config = load_config(None, "fine-tune", {**LEAST, "batchsize": 4})
    assert with_settings(config, {"training.batch_size": None}).training.batch_size is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.batch_size": -1}, "settings, training.batch_size: found -1; expected"),
        ({"training.batch_sise": 1}, "did you mean 'training.batch_size'"),
        ({"crossvalidation": 1}, "settings, crossvalidation: 1 fold"),
        ({"training.stop_metric": "f1"}, "settings, training.stop_metric"),
    ],
)
def test_with_settings_checks_what_it_changes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_settings(load_config(None, "fine-tune", LEAST), settings)


def test_all_settings_lists_each_once_with_its_default_and_older_spellings() -> None:
    settings = {name: rest for name, *rest in all_settings()}
    assert list(settings) == all_names()
    assert settings["training.batch_size"] == ["a whole number above 0", None, ("batchsize",)]
    assert settings["data.id_column"][1] == 1
    assert settings["preprocessing.region"] == [
        "one of whole, utr3, outside_utr3",
        "whole",
        ("_3utr", "non3utr"),
    ]
    assert settings["training.seed"] == ["a whole number of at least 0", 0, ()]


def test_each_setting_has_a_meaning_and_each_mode_its_sections() -> None:
    assert list(MEANINGS) == all_names()
    assert set(USED_PARTS) == set(MODES)
    assert {part for parts in USED_PARTS.values() for part in parts} == set(PARTS)
