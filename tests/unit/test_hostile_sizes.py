"""What is received is bounded before memory or time is taken for it."""

import json
import resource
import zipfile

import pytest
import torch
from cards import older_card

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config, PreprocessingConfig
from biolm_ray.config.source import MOST_BYTES, MOST_DEPTH, MOST_VALUES, parse_yaml, read_yaml
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.experiment.setup import choose_model
from biolm_ray.models import legacy
from biolm_ray.models.card import ModelCard
from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.saved import load_model, save_model
from biolm_ray.models.spec import ModelInputs
from biolm_ray.models.stored_weights import load_weights
from biolm_ray.tokenization import document, tokenizer
from biolm_ray.tokenization.settings import SPECIAL_TOKENS, TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer

VOCABULARY = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *"ACGT"))}
TOKENIZER = Tokenizer(TokenizerSettings(encoding="atomic"), document.word_model(VOCABULARY))
INPUTS = ModelInputs(vocabulary_size=11, special_ids=TOKENIZER.special_ids, block_size=40)
TARGETS = Targets(task="regression", scaler=Scaler(kind="none"))
BERT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
TINY = {
    "saluki": {"channels": 4, "num_layers": 2},
    "xlnet": {"d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 8},
    "huggingface": {"architecture": "bert", "config": BERT},
}


def alias_bomb(levels: int = 9) -> str:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    for level in range(levels):
        name, below = chr(ord("b") + level), chr(ord("a") + level)
        lines.append(f"{name}: &{name} [{','.join([f'*{below}'] * 10)}]")
    return "\n".join(lines)


def merge_bomb(levels: int = 40) -> str:
    lines = ["k0: &k0 {x: 1}"]
    for level in range(levels):
        lines.append(f"k{level + 1}: &k{level + 1} {{a: *k{level}, b: *k{level}}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (alias_bomb(), r"line 5: more than 50,000 values, those that aliases repeat included"),
        (merge_bomb(), r"line \d+: more than 50,000 values"),
        ("a: [" + "x," * (MOST_VALUES + 1) + "]", "more than 50,000 values"),
        ("a: " + "[" * 50_000, "line 1: values within values beyond 50 levels"),
        ("- " * 50_000, "beyond 50 levels"),
    ],
)
def test_yaml_that_grows_without_bounds_is_refused_before_anything_is_made(text, message):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "evil.yaml")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # of 1 KB


def test_aliases_of_a_usual_measure_and_nesting_up_to_the_limit_are_read():
    assert parse_yaml("a: &a [x, y]\nb: [*a, *a]", "x") == {"a": ["x", "y"], "b": [["x", "y"]] * 2}
    depth = MOST_DEPTH - 1
    assert parse_yaml("[" * depth + "]" * depth, "x") is not None


def test_a_configuration_of_any_size_is_not_read_to_its_end(tmp_path):
    (tmp_path / "large.yaml").write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(ConfigError, match="is larger than 1 MB"):
        read_yaml(tmp_path / "large.yaml")
    with pytest.raises(ConfigError, match="is larger than 1 MB"):
        load_config("/dev/zero", "fine-tune")


def save(folder, name, **changes):
    spec = find_spec(name)
    module = spec.build(read_options(spec, TINY[name]), INPUTS)
    card = ModelCard(
        model=name,
        options=TINY[name],
        inputs=INPUTS,
        task="regression",
        targets=TARGETS,
        preprocessing=PreprocessingConfig(block_size=40),
    )
    save_model(folder, module, card, TOKENIZER)
    older_card(folder, **changes)


@pytest.mark.parametrize("name", list(TINY))
def test_every_model_can_be_built_without_memory(name):
    spec = find_spec(name)
    with torch.device("meta"):
        module = spec.build(read_options(spec, TINY[name]), INPUTS)
    assert "meta" in {weight.device.type for weight in module.parameters()}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("saluki", {"options__channels": 10**9}),
        ("saluki", {"inputs__vocabulary_size": 10**12}),
        ("saluki", {"inputs__num_outputs": 10**12}),
        ("saluki", {"inputs__num_specifiers": 10**12}),
        ("saluki", {"inputs__vocabulary_size": -1}),
        ("xlnet", {"options__d_model": 10**7}),
        ("xlnet", {"options__n_layer": 10**9}),
        ("huggingface", {"options__config__num_hidden_layers": 10**9}),
        ("huggingface", {"options__config__max_position_embeddings": 10**12}),
        ("huggingface", {"options__config__hidden_size": 10**7}),
    ],
)
def test_a_card_that_asks_for_more_than_its_weights_takes_no_memory(tmp_path, name, changes):
    save(tmp_path, name, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"config.json: (it asks|'.*shape)|json: damaged \('inputs"):
        load_model(tmp_path)
    config = Config(mode="fine-tune", output_path="o", data={"path": "x"})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"do not fit config.json|json: damaged \('inputs"):
        choose_model(config, tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


@pytest.mark.parametrize("block_size", [10**12, 2**31, 0, -1])
def test_a_block_size_that_no_length_can_reach_is_refused(tmp_path, block_size):
    save(tmp_path, "saluki", inputs__block_size=block_size)
    with pytest.raises(
        DataError, match=rf"config.json: damaged \('inputs.block_size' is {block_size}, not"
    ):
        load_model(tmp_path)


def test_layers_beyond_what_any_sequence_can_be_halved_are_refused(tmp_path):
    save(tmp_path, "saluki", options__num_layers=10**9)
    with pytest.raises(
        DataError, match=r"json: damaged .*num_layers.*found 1000000000.*less than or equal to 32"
    ):
        load_model(tmp_path)


def test_a_slightly_wrong_size_is_named_with_both_shapes(tmp_path):
    save(tmp_path, "saluki", options__kernel=7)
    with pytest.raises(
        DataError, match=r"has the shape \[5, 4, 4\], the card asks for \[7, 4, 4\]"
    ):
        load_model(tmp_path)


def _replace_weights(folder, stored) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(stored, folder / "pytorch_model.bin")


def test_a_tensor_that_repeats_one_number_is_refused(tmp_path):
    save(tmp_path, "saluki")
    _replace_weights(tmp_path, {"x": torch.zeros(1).expand(10**6, 10**6)})
    with pytest.raises(DataError, match=r"'x' is said to be of the shape \[1000000, 1000000\]"):
        load_weights(tmp_path)


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    save(tmp_path, "saluki")
    _replace_weights(tmp_path, {"x": torch.zeros(10**6)})
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match="it unpacks to 4"):
        load_weights(tmp_path)


def test_json_of_a_model_folder_is_bounded_in_size_and_depth(tmp_path, monkeypatch):
    save(tmp_path, "saluki")
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        load_model(tmp_path)
    monkeypatch.setattr(legacy, "MOST_CARD_BYTES", 1 << 20)
    (tmp_path / "config.json").write_text(" " * (1 << 20) + "{}")
    with pytest.raises(DataError, match=r"config.json: is larger than 1 MB"):
        load_model(tmp_path)
    monkeypatch.setattr(tokenizer, "MOST_BYTES", 1 << 20)
    (tmp_path / "tokenizer.json").write_text(" " * (1 << 20) + "{}")
    with pytest.raises(DataError, match=r"tokenizer.json: is larger than 1 MB"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("token_id", [10**12, -1, "0", 1.5, True])
def test_a_vocabulary_gives_no_id_that_a_table_cannot_hold(tmp_path, token_id):
    save(tmp_path, "saluki")
    path = tmp_path / "tokenizer.json"
    written = json.loads(path.read_text())
    written["model"]["vocab"]["A"] = token_id
    path.write_text(json.dumps(written))
    with pytest.raises(DataError, match=r"a vocabulary of 11 tokens cannot have the id"):
        Tokenizer.load(tmp_path)
