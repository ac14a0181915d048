"""A wrong configuration stops at once and says where, what was found and what would be right."""

from pathlib import Path
from typing import Any

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.errors import ConfigError

LEAST: dict[str, Any] = {"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"}


def message_of(folder: Path, text: str, mode: str = "fine-tune", **overrides: Any) -> str:
    file = folder / "e.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, mode, {**LEAST, **overrides})
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "silent: True\nbatchsze: 8\n",
            "e.yaml, line 2: 'batchsze' is not a setting (found value '8'); "
            "did you mean 'batchsize'?",
        ),
        (
            "training:\n  general:\n    nepoch: 8\n",
            "e.yaml, line 3: 'nepoch' is not a setting (found value '8'); did you mean 'nepochs'?",
        ),
        (
            "training:\n  batch_sise: 8\n",
            "e.yaml, line 2: 'batch_sise' is not a setting (found value '8'); "
            "did you mean 'batch_size'?",
        ),
        (
            "batch_size: 8\n",
            "e.yaml, line 1: 'batch_size' is not a setting (found value '8'); "
            "did you mean 'training.batch_size'?",
        ),
        (
            "training:\n  has_header: true\n",
            "e.yaml, line 2: 'has_header' is not a setting (found value 'true'); "
            "did you mean 'data.has_header', in section 'data'?",
        ),
        (
            "silent: True\ndata.leter_case: upper\n",
            "e.yaml, line 2, data.leter_case: 'leter_case' is not a setting (found value 'upper'); "
            "did you mean 'data.letter_case'?",
        ),
        (
            "silent: True\ntraining.batch_size: eight\n",
            "e.yaml, line 2, training.batch_size: found 'eight'; expected a whole number above 0",
        ),
        (
            "training.batch_size: 8\ntraining:\n  batch_size: 9\n",
            "e.yaml, line 3, batch_size: contradicts training.batch_size (e.yaml, line 1); "
            "keep one",
        ),
        (
            "\ntokenisation:\n  encoding: bpe\n",
            "e.yaml, line 2: 'tokenisation' is neither a section nor a setting; "
            "did you mean 'tokenization'?",
        ),
        (
            "fine-tuning data sources: {filepath: a}\n",
            "e.yaml, line 1: 'fine-tuning data sources' is neither a section nor a setting; "
            "did you mean 'fine-tuning data source'?",
        ),
        (
            "pre-training data source: {filepath: a}\n",
            "e.yaml, line 1: 'pre-training data source' is neither a section nor a setting; "
            "did you mean 'tokenizing and pre-training data source'?",
        ),
        (
            "settings:\n  Data Preprocessing: {centertoken: e}\n",
            "e.yaml, line 2: 'Data Preprocessing' is neither a section nor a setting; "
            "did you mean 'data pre-processing'?",
        ),
        (
            "training:\n  env: {ngpus: 1}\n",
            "e.yaml, line 2: 'env' is neither a section nor a setting; "
            "did you mean 'environment'?",
        ),
        (
            "Looscores:\n",
            "e.yaml, line 1: 'Looscores' is not a setting (found value None); "
            "did you mean 'looscores'?",
        ),
        (
            "fine-tuning data source:\n  LabelPos: 3\n",
            "e.yaml, line 2: 'LabelPos' is not a setting (found value '3'); "
            "did you mean 'labelpos'?",
        ),
        (
            "Num_Epoch: 3\n",
            "e.yaml, line 1: 'Num_Epoch' is not a setting (found value '3'); "
            "did you mean 'training.num_epochs'?",
        ),
        (
            "accelerator: tpu\n",
            "e.yaml, line 1, accelerator: found 'tpu'; expected one of auto, cpu; "
            "did you mean 'cpu'?",
        ),
        (
            "atomicreplacement: {a: b}\n",
            "e.yaml, line 1: 'atomicreplacement' is neither a section nor a setting; "
            "did you mean 'atomicreplacements'?",
        ),
        (
            "training: 5\n",
            "e.yaml, line 1, training: found '5'; expected a section with keys of its own",
        ),
        (
            "batchsize: eight\n",
            "e.yaml, line 1, batchsize: found 'eight'; expected a whole number above 0",
        ),
        (
            "batchsize: [8]\n",
            "e.yaml, line 1, batchsize: found ['8']; expected a whole number above 0",
        ),
        (
            "batchsize: {a: 8}\n",
            "e.yaml, line 1, batchsize: found {'a': '8'}; expected a whole number above 0",
        ),
        (
            "run:\n  mlflow: mlruns\n",
            "e.yaml, line 2, mlflow: found 'mlruns'; expected a tracking URI such as "
            "http://host:5000, sqlite:////path/file.db or file:/path",
        ),
        ("dev: 0\n", "e.yaml, line 1, dev: found 0; expected a whole number above 0"),
        (
            "data:\n  max_unknown_share: 2\n",
            "e.yaml, line 2, max_unknown_share: found 2; expected a number of at least 0 and of "
            "at most 1",
        ),
        (
            "encoding: bep\n",
            "e.yaml, line 1, encoding: found 'bep'; expected atomic, bpe, or k-mers such as 3mer "
            "and 5mer; did you mean 'bpe'?",
        ),
        (
            "scaling: lgo\n",
            "e.yaml, line 1, scaling: found 'lgo'; expected one of none, log, minmax, standard; "
            "did you mean 'log'?",
        ),
        ("silent: maybe\n", "e.yaml, line 1, silent: found 'maybe'; expected true or false"),
        ("lefttailing: 5\n", "e.yaml, line 1, lefttailing: found '5'; expected true or false"),
        (
            "idpos: 0\n",
            "e.yaml, line 1, idpos: found 0; expected a column number from 1, or a name in the "
            "header",
        ),
        (
            "idpos: -1\n",
            "e.yaml, line 1, idpos: found -1; expected a column number from 1, or a name in the "
            "header",
        ),
        ("ngpus: 3\n", "e.yaml, line 1, ngpus: found '3'; expected one of 0, 1, 2, 4"),
        (
            "splitratio: 85\n",
            "e.yaml, line 1, splitratio: found '85'; expected two or three shares such as 85,15 "
            "or 80,10,10",
        ),
        (
            "resume: soon\n",
            "e.yaml, line 1, resume: found 'soon'; expected true, false, auto or a "
            "number of epochs",
        ),
        (
            "crossvalidation: many\n",
            "e.yaml, line 1, crossvalidation: found 'many'; expected true, false or a number of "
            "folds such as 10",
        ),
        (
            "replacementdict: a\n",
            "e.yaml, line 1, replacementdict: found 'a'; expected a dictionary such as {a: b}",
        ),
        (
            "replacementdict: {a: []}\n",
            "e.yaml, line 1, replacementdict: found {'a': ()}; expected a dictionary such as "
            "{a: b} or {a: [b, c]}",
        ),
        (
            "interpret: {folds: [a]}\n",
            "e.yaml, line 1, folds: found ('a',); expected a list of whole numbers",
        ),
        ("mode: finetune\n", "e.yaml, line 1, mode: found 'finetune'; expected one of tokenize, "
         "pre-train, fine-tune, predict, interpret, tune"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_is_named_with_its_place_and_what_would_be_right(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message_of(tmp_path, text) == message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"batchsze": 8},
            "overrides, batchsze: 'batchsze' is not a setting (found value 8); "
            "did you mean 'batchsize'?",
        ),
        (
            {"training.patiense": 8},
            "overrides, training.patiense: 'patiense' is not a setting (found value 8); "
            "did you mean 'training.patience'?",
        ),
        (
            {"has_header": True},
            "overrides, has_header: 'has_header' is not a setting (found value True); "
            "did you mean 'data.has_header'?",
        ),
        (
            {"trainig.patience": 8},
            "overrides, trainig.patience: 'trainig' is not a section; did you mean 'training'?",
        ),
        (
            {"patience": "long"},
            "overrides, patience: found 'long'; expected a whole number above 0",
        ),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    assert message_of(tmp_path, "", **overrides) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patience: 3\nscaling: log\npatience: 4\n",
         "e.yaml, line 3: key 'patience' stands twice here, first in line 1; keep one"),
        ("training: [1\n", "e.yaml, line 2: not valid YAML: expected ',' or ']'"),
        ("a: b: c\n", "e.yaml, line 1: not valid YAML: mapping values are not allowed here"),
        ("- a\n- b\n", "e.yaml, line 1: found ['a', 'b']; expected sections and keys"),
        ("a: 1\n---\nb: 2\n", "e.yaml, line 2: not valid YAML: but found another document"),
        ("scaling: !!python/name:os.system ''\n",
         "e.yaml, line 1: the YAML tag '!!python/name:os.system' is not accepted"),
        ("[a, b]: c\n", "e.yaml, line 1: a key must be a single word or number"),
        ("devsplits: &a [*a]\n", "e.yaml, line 1: this value contains itself"),
        ("silent: @\n", "e.yaml, line 1: not valid YAML: found character '@' that cannot start any "
         "token"),
    ],
)  # fmt: skip
def test_bad_yaml_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert message_of(tmp_path, text).startswith(message)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such configuration file"):
        load_config(tmp_path / "none.yaml", "fine-tune", LEAST)
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path, "fine-tune", LEAST)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_bytes(b"scaling: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(file, "fine-tune", LEAST)


def test_an_unknown_mode_is_named() -> None:
    with pytest.raises(ConfigError, match="'finetune' is not a mode; did you mean 'fine-tune'"):
        load_config(None, "finetune", LEAST)


@pytest.mark.parametrize(
    ("missing", "mode", "hint"),
    [
        ("filepath", "tokenize", "tokenize needs a data file: set filepath in 'tokenizing and"),
        (
            "filepath",
            "predict",
            "predict needs a data file: set filepath in 'inference data source'",
        ),
        ("seqpos", "pre-train", "pre-train needs the column of the sequences"),
        ("labelpos", "fine-tune", "fine-tune needs the column of the labels"),
        ("labelpos", "tune", "tune needs the column of the labels"),
        ("task", "fine-tune", "fine-tune needs a task: --task regression or --task classification"),
        ("task", "tune", "tune needs a task"),
        ("tune.space.patience", "tune", "tune needs at least one setting to vary"),
    ],
)
def test_what_a_mode_cannot_do_without_is_asked_for(missing: str, mode: str, hint: str) -> None:
    settings = {**LEAST, "tune.space.patience": [1, 2]}
    del settings[missing]
    with pytest.raises(ConfigError, match=f"^configuration: {hint}"):
        load_config(None, mode, settings)


@pytest.mark.parametrize("mode", ["predict", "tokenize"])
def test_a_data_source_for_other_modes_is_named_where_settings_are_missing(
    tmp_path: Path, mode: str
) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("fine-tuning data source:\n  filepath: a.tsv\n  seqpos: 2\n")
    with pytest.raises(ConfigError, match=f"; {mode} reads nothing from 'fine-tuning data source'"):
        load_config(file, mode, {})
    with pytest.raises(ConfigError, match=r"or --labelpos$"):
        load_config(file, "fine-tune", {"task": "regression"})


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"crossvalidation": 1}, "1 fold is no cross-validation"),
    ({"splits.method": "repeated hold-out", "crossvalidation": 5}, "repeated hold-out needs"),
    ({"splits.method": "repeated hold-out", "splitratio": "8,2"}, "repeated hold-out needs"),
    ({"splits.cross_validate": True}, "cross-validation needs"),
    ({"splits.cross_validate": False, "crossvalidation": 5}, "contradicts"),
    ({"splitratio": "85,15", "splitpos": 1, "testsplits": "[a]"}, "by shares .* or by names"),
    ({"testsplits": "[a]"}, "need the column of the splits"),
    ({"devsplits": "[a]"}, "need the column of the splits"),
    ({"devsplits": "[[a],[b]]", "testsplits": "[c]", "splitpos": 1}, "each fold needs both"),
    ({"devsplits": "[a]", "testsplits": "[a, b]", "splitpos": 1}, "'a' both validates and tests"),
    ({"testsplits": "[[a],[b]]", "crossvalidation": 3, "splitpos": 1}, "asked for: 3, found: 2 s"),
    (
        {"testsplits": "[[a],[b]]", "splits.cross_validate": False, "splitpos": 1},
        "asked for: 1, found: 2 sets of names",
    ),
    ({"splits.leave_out": "[a]"}, "need the column of the splits"),
    ({"splits.leave_out": "[a]", "testsplits": "[b, a]", "splitpos": 1}, "'a' is named and left"),
    ({"weightedregression": True}, "needs the column of weights"),
    ({"weightedregression": True, "weightpos": 4, "task": "classification"}, "are for regression"),
    ({"training.loss": "mae", "task": "classification"}, "the loss mae is for regression"),
    ({"labelpos": [3, 4], "task": "classification"}, "several classes at once cannot be learnt"),
    ({"training.class_weights": "none"}, "regression has no classes to weigh"),
    ({"training.stop_metric": "auroc"}, "auroc is no metric of regression"),
    ({"training.lora_rank": 4, "training.freeze": "gradual"}, "leave freeze out"),
    ({"training.lora_alpha": 4}, "the strength of adapters needs their lora_rank"),
    ({"training.stop_metric": "f1"}, "f1 is no metric of regression"),
    ({"training.stop_metric": "pearson", "task": "classification"}, "no metric of classification"),
    ({"training.stop_metric": "spearman", "task": "classification"}, "no metric of classification"),
    ({"specifiersep": "#", "encoding": "3mer"}, "need the atomic encoding, found 3mer"),
    ({"specifiersep": "#", "encoding": "5mer"}, "need the atomic encoding, found 5mer"),
    ({"specifiersep": "#", "encoding": "bpe"}, "need the atomic encoding, found bpe"),
    ({"data.remove_gaps": True, "tokensep": ","}, "tokens with a tokensep are kept as they are"),
    ({"specifiersep": ",", "tokensep": ","}, "tokensep and specifiersep must differ"),
    ({"_3utr": True, "non3utr": True}, "contradicts _3utr"),
    ({"batchsize": 8, "training.batch_size": 16}, "contradicts batchsize"),
    ({"tune.space.batchsize": ["8", "x"]}, "batchsize: found 'x'; expected a whole number"),
    ({"tune.space.batchsze": ["8"]}, "did you mean 'batchsize'"),
    ({"tune.space.filepath": ["a"]}, "only settings of .* can be searched"),
    ({"tune.space.patience": {"low": 5, "high": 2}}, "low must be below high"),
    ({"tune.space.nepochs": 5}, "expected for each setting a list of values"),
    ({"tune.space.nepochs": [5], "tune.space.training.num_epochs": [6]}, "searched twice"),
]


@pytest.mark.parametrize(("overrides", "message"), CONTRADICTIONS)
def test_contradictions_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^overrides, .*{message}"):
        load_config(None, "fine-tune", {**LEAST, **overrides})


def test_both_places_of_a_contradiction_are_named(tmp_path: Path) -> None:
    text = "splitratio: 85,15\nfine-tuning data source:\n  splitpos: 1\n  testsplits: [a]\n"
    message = message_of(tmp_path, text)
    assert message.startswith("e.yaml, line 1, splitratio and e.yaml, line 4, testsplits: ")


def test_replacing_without_replacements_is_refused_when_interpreting() -> None:
    settings = {**LEAST, "handletokens": "replace"}
    with pytest.raises(ConfigError, match="handletokens: replacing tokens needs a replacementdict"):
        load_config(None, "interpret", settings)
    assert load_config(None, "fine-tune", settings).interpret.edit == "replace"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"handletokens": "insert", "interpret.window": 3}, "can be removed or masked, found ins"),
        ({"interpret.alphabet": ["a", "c"]}, "for saturation and insert, found remove"),
    ],
)
def test_settings_of_another_edit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, "interpret", {**LEAST, **settings})


def test_settings_that_the_mode_does_not_use_may_contradict() -> None:
    settings = {**LEAST, "weightedregression": True, "crossvalidation": 1}
    assert load_config(None, "tokenize", settings).training.weighted


def test_a_center_token_goes_with_cutting_on_the_left() -> None:
    settings = {**LEAST, "centertoken": "e", "lefttailing": True}
    assert load_config(None, "fine-tune", settings).preprocessing.cut_side == "left"


def test_saying_the_same_twice_is_no_contradiction(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("batchsize: 8\ntraining: {general: {batchsize: 8}}\n")
    assert load_config(file, "fine-tune", LEAST).training.batch_size == 8
