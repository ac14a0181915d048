import json
import pickle
import resource
import shutil

import numpy as np
import pytest
import torch
from cards import older_card
from safetensors.torch import load_file, save_file
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from biolm_ray.config.schema import PreprocessingConfig
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.models.card import ModelCard, read_card
from biolm_ray.models.legacy import read_scaler
from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.saved import is_model_folder, load_model, save_model
from biolm_ray.models.spec import ModelInputs
from biolm_ray.models.stored_weights import load_weights
from biolm_ray.tokenization import document
from biolm_ray.tokenization.settings import SPECIAL_TOKENS, TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer

VOCABULARY = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *"ACGT"))}
TOKENIZER = Tokenizer(TokenizerSettings(encoding="atomic"), document.word_model(VOCABULARY))
INPUTS = ModelInputs(vocabulary_size=11, special_ids=TOKENIZER.special_ids, block_size=40)
TARGETS = Targets(task="regression", scaler=Scaler(kind="standard", center=2.0, spread=3.0))
TINY = {
    "saluki": {"channels": 4, "num_layers": 2},
    "xlnet": {"d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 8},
    "huggingface": {
        "architecture": "bert",
        "config": {
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 8,
        },
    },
}
TOKEN_IDS, LENGTHS = torch.tensor([[2, 7, 8, 9, 10, 7, 3]]), torch.tensor([7])


def _card(name, **changes):
    return ModelCard(
        model=name,
        options=TINY[name],
        inputs=INPUTS,
        preprocessing=PreprocessingConfig(block_size=40, cut_side="left"),
        **{"task": "regression", "targets": TARGETS, "fold": 3} | changes,
    )


def _save(folder, name="saluki", **changes):
    torch.manual_seed(0)
    spec = find_spec(name)
    module = spec.build(read_options(spec, TINY[name]), INPUTS).eval()
    save_model(folder, module, _card(name, **changes), TOKENIZER)
    return module


@pytest.mark.parametrize("name", list(TINY))
def test_a_saved_model_predicts_the_same_and_keeps_its_card(tmp_path, name):
    module = _save(tmp_path / "model", name)
    loaded = load_model(tmp_path / "model")
    assert torch.equal(loaded.module(TOKEN_IDS, LENGTHS), module(TOKEN_IDS, LENGTHS))
    assert not loaded.module.training
    assert loaded.card.targets == TARGETS
    assert (loaded.card.fold, loaded.framing.cut_side, loaded.framing.block_size) == (3, "left", 40)
    assert loaded.tokenizer.vocabulary == VOCABULARY
    assert loaded.card == read_card(tmp_path / "model")


def test_other_preprocessing_can_be_asked_for(tmp_path):
    _save(tmp_path)
    loaded = load_model(tmp_path, preprocessing=PreprocessingConfig(block_size=30))
    assert (loaded.framing.block_size, loaded.card.inputs.block_size) == (30, 30)
    assert loaded.framing.cut_side == "right"


def test_a_language_model_is_saved_for_fine_tuning_and_refused_for_prediction(tmp_path):
    spec = find_spec("xlnet")
    assert spec.pretraining is not None
    options = read_options(spec, TINY["xlnet"])
    module = spec.pretraining.build(options, INPUTS)
    save_model(tmp_path, module, _card("xlnet", task=None), TOKENIZER)
    with pytest.raises(ConfigError, match="fine-tune it first"):
        load_model(tmp_path)
    fresh = spec.load_pretrained(spec.build(options, INPUTS), load_weights(tmp_path))
    assert len(fresh) == 4


def test_matching_weights_of_saluki_are_taken_over(tmp_path):
    module = _save(tmp_path)
    spec = find_spec("saluki")
    two_outputs = INPUTS.model_copy(update={"num_outputs": 2})
    other = spec.build(read_options(spec, TINY["saluki"]), two_outputs)
    assert spec.load_pretrained(other, load_weights(tmp_path)) == ["head.4.weight", "head.4.bias"]
    expected = module.state_dict()["gru.weight_ih_l0"]
    assert torch.equal(other.state_dict()["gru.weight_ih_l0"], expected)


def test_a_folder_is_a_model_once_weights_and_card_are_there(tmp_path):
    assert not is_model_folder(tmp_path)
    _save(tmp_path)
    assert is_model_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    assert not is_model_folder(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "config.json: the file is missing"),
        ("config.json", b"{", "not readable as JSON"),
        ("config.json", b'{"inputs": {}}', "config.json: damaged \\('model' is missing"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("model.safetensors", b"half", "model.safetensors: damaged"),
        ("tokenizer.json", None, "tokenizer.json is missing"),
        ("tokenizer.json", b"{", "tokenizer.json: not readable as JSON"),
    ],
)
def test_a_missing_or_damaged_file_is_named(tmp_path, file, content, message):
    _save(tmp_path)
    older_card(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_model(tmp_path)


def test_weights_that_do_not_fit_the_card_are_refused(tmp_path):
    _save(tmp_path / "a")
    _save(tmp_path / "b", "xlnet")
    shutil.copy(older_card(tmp_path / "a") / "config.json", tmp_path / "b")
    with pytest.raises(DataError, match=r"the weights do not fit config.json: 'columns|entry"):
        load_model(tmp_path / "b")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_their_name(tmp_path, value):
    _save(tmp_path)
    older_card(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = sorted(weights)[-1]
    weights[name].view(-1)[-1] = value
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=f"the weights '{name}' hold numbers that are not finite"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "content", [bytes(5000), b"", b"PK", b"\x80\x02}q\x00.", b"\x80\x02cx\ny\n."]
)
def test_no_advice_to_run_what_a_file_of_weights_holds_is_passed_on(tmp_path, content):
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"pytorch_model\.bin: damaged, or holds more") as caught:
        load_weights(tmp_path)
    assert "weights_only" not in str(caught.value)


def test_a_weights_file_that_holds_code_is_refused(tmp_path):
    _save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"weights": TARGETS}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="damaged, or holds more than weights"):
        load_weights(tmp_path)


EOP = {"id": 11, "content": "<eop>", "special": True}
EOD = {"id": 12, "content": "<eod>", "special": True}


def _old_xlnet(folder, *added, build=None):
    """A model folder as the reference writes it: tokens added to the tokenizer have embeddings."""
    spec = find_spec("xlnet")
    inputs = INPUTS.model_copy(update={"vocabulary_size": 11 + len(added)})
    module = (build or spec.build)(read_options(spec, TINY["xlnet"]), inputs).eval()
    module.network.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(module.network.state_dict(), folder / "pytorch_model.bin")
    TOKENIZER.save(folder)
    (folder / "tokenization.json").unlink()
    written = json.loads((folder / "tokenizer.json").read_text())
    written["added_tokens"] += added
    (folder / "tokenizer.json").write_text(json.dumps(written))
    return module


@pytest.mark.parametrize("added", [(), (EOP, EOD)], ids=["no token added", "two tokens added"])
def test_an_old_xlnet_folder_is_recognised(tmp_path, added):
    module = _old_xlnet(tmp_path, *added)
    loaded = load_model(tmp_path, preprocessing=PreprocessingConfig(block_size=40))
    assert (loaded.card.model, loaded.card.options["d_inner"]) == ("xlnet", 8)
    assert torch.equal(loaded.module(TOKEN_IDS, LENGTHS), module(TOKEN_IDS, LENGTHS))


def test_an_old_xlnet_folder_is_saved_anew_and_trained_further_with_the_added_tokens(tmp_path):
    module = _old_xlnet(tmp_path / "old", EOP, EOD)
    old = load_model(tmp_path / "old", preprocessing=PreprocessingConfig(block_size=40))
    save_model(tmp_path / "new", old.module, old.card, old.tokenizer)
    new = load_model(tmp_path / "new")
    assert torch.equal(new.module(TOKEN_IDS, LENGTHS), module(TOKEN_IDS, LENGTHS))
    assert old.spec.load_pretrained(new.module, load_weights(tmp_path / "old")) == []


def test_no_text_becomes_a_token_that_was_added_later(tmp_path):
    _old_xlnet(tmp_path, EOP, EOD)
    settings = TokenizerSettings(encoding="atomic", token_separator=",")
    tokenizer = Tokenizer.load(tmp_path, settings)
    assert len(tokenizer.vocabulary) == 13
    assert tokenizer.encode(["A,<eop>,C"])[0].token_ids.tolist() == [7, 0, 8]


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ({"id": 11, "content": "gej", "special": False}, "'gej' was added to the vocabulary after"),
        ({"id": 14, "content": "<eop>", "special": True}, "the id 14, where 11 comes next"),
    ],
)
def test_added_tokens_that_would_give_wrong_ids_are_refused(tmp_path, token, message):
    _old_xlnet(tmp_path, token)
    with pytest.raises(DataError, match=message):
        load_model(tmp_path, preprocessing=PreprocessingConfig(block_size=40))


def test_an_old_pretrained_xlnet_is_known_and_gives_its_encoder(tmp_path):
    spec = find_spec("xlnet")
    assert spec.pretraining is not None
    _old_xlnet(tmp_path, EOP, EOD, build=spec.pretraining.build)
    card = read_card(tmp_path)
    assert card is not None
    assert (card.model, card.task, card.inputs.vocabulary_size) == ("xlnet", None, 13)
    module = spec.build(read_options(spec, card.options), card.inputs)
    fresh = spec.load_pretrained(module, load_weights(tmp_path))
    assert {name.split(".")[0] for name in fresh} == {"sequence_summary", "logits_proj"}
    (tmp_path / "tokenizer.json").unlink()
    assert read_card(tmp_path) is None


def test_a_plain_checkpoint_has_no_card_but_gives_its_encoder(tmp_path):
    spec = find_spec("huggingface")
    options = read_options(spec, TINY["huggingface"])
    module = spec.build(options, INPUTS)
    module.network.save_pretrained(tmp_path)
    assert is_model_folder(tmp_path)
    assert read_card(tmp_path) is None
    assert spec.load_pretrained(spec.build(options, INPUTS), load_weights(tmp_path)) == []


def _write_scaler(folder, scaler):
    (folder / "scaler.pkl").write_bytes(pickle.dumps(scaler))


def test_scalers_of_scikit_learn_are_read_without_it(tmp_path):
    labels = np.array([[1.0], [4.0], [10.0]])
    for stored in (StandardScaler(), MinMaxScaler()):
        _write_scaler(tmp_path, stored.fit(labels))
        ours = read_scaler(tmp_path)
        np.testing.assert_allclose(ours.scale(labels), stored.transform(labels))
        np.testing.assert_allclose(ours.unscale(ours.scale(labels)), labels)


def test_a_model_without_a_scaler_predicts_labels_as_they_are(tmp_path):
    assert read_scaler(tmp_path) == Scaler(kind="none")


def test_every_way_in_which_numpy_pickles_numbers_is_read(tmp_path):
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        for kind in ("<f8", ">f8", "<f4"):
            scaler = StandardScaler().fit(np.array([[1.0], [4.0]]))
            scaler.mean_ = scaler.mean_.astype(kind)
            scaler.scale_ = np.float64(1.5)
            (tmp_path / "scaler.pkl").write_bytes(pickle.dumps(scaler, protocol))
            assert read_scaler(tmp_path) == Scaler(kind="standard", center=2.5, spread=1.5)


class _Calls:
    """Pickles as a call of something with some arguments, and perhaps a state."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


_NESTED = [0.0] * 10
for _ in range(9):
    _NESTED = [_NESTED] * 10
_LISTED = np.empty(1, dtype=object)
_LISTED[0] = _NESTED
_SCALER = StandardScaler().fit([[1.0], [2.0]])
_HOSTILE = {
    # A billion numbers, from lists within lists.
    "nested": vars(_SCALER) | {"mean_": _NESTED},
    # A type of numbers whose flags hide that it holds addresses of objects.
    "flags": vars(_SCALER)
    | {"mean_": _Calls(np.dtype, ("O8", False, True), (3, "|", None, None, None, 8, 8, 0))},
    "objects": vars(_SCALER) | {"mean_": _LISTED},
    "large": vars(_SCALER)
    | {"mean_": _Calls(np.ndarray([0]).__reduce__()[0], (np.ndarray, (10**12,), b"d"))},
}


@pytest.mark.parametrize("name", list(_HOSTILE))
def test_a_scaler_that_would_take_memory_or_forge_objects_is_refused(tmp_path, name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scaler = StandardScaler()
    vars(scaler).update(_HOSTILE[name])
    (tmp_path / "scaler.pkl").write_bytes(pickle.dumps(scaler))
    with pytest.raises(DataError, match=r"scaler.pkl: .*(missing|refused)"):
        read_scaler(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_scaler_file_takes_no_memory_for_what_it_announces(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Puts a number at place 2**31 - 2 of the memory of the reader.
    (tmp_path / "scaler.pkl").write_bytes(b"\x80\x04K\x01r\xfe\xff\xff\x7f.")
    with pytest.raises(DataError, match="holds no label scaler"):
        read_scaler(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    (tmp_path / "scaler.pkl").write_bytes(b"\x80\x04" + bytes(2 << 20))
    with pytest.raises(DataError, match="larger than 1 MB"):
        read_scaler(tmp_path)


class _RunsCode:
    def __reduce__(self):
        return print, ("this must never be printed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(_RunsCode()), "it asks for builtins.print"),
        (pickle.dumps(np.array([1.0])), "holds no label scaler"),
        (pickle.dumps(MinMaxScaler((-1, 1)).fit([[0.0], [1.0]])), r"scales to \(-1, 1\)"),
        (pickle.dumps(StandardScaler().fit([[0.0, 1.0]])), "is 2 numbers, not one finite number"),
        (pickle.dumps(StandardScaler()), "'mean_' of the scaler is"),
        (b"\x80\x04no pickle", "scaler.pkl: refused"),
        (b"", "scaler.pkl: refused"),
    ],
)
def test_anything_else_in_a_scaler_file_is_refused_with_the_reason(
    tmp_path, capsys, content, message
):
    (tmp_path / "scaler.pkl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_scaler(tmp_path)
    assert "never" not in capsys.readouterr().out
