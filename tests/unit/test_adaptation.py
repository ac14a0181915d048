"""Training parts of a model: what is trained when, what stays, and what is left in the end."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from biolm_ray.config.schema import TrainingConfig
from biolm_ray.errors import ConfigError
from biolm_ray.models.batches import Framing, collate
from biolm_ray.models.huggingface import SPEC as HUGGINGFACE
from biolm_ray.models.registry import read_options
from biolm_ray.models.saluki import SPEC as SALUKI
from biolm_ray.models.spec import Batch, ModelInputs, ModelSpec, Recipe
from biolm_ray.models.xlnet import SPEC as XLNET
from biolm_ray.training import adaptation
from biolm_ray.training.accumulation import Loaded
from biolm_ray.training.adaptation import adapt, check_adaptation, thaw
from biolm_ray.training.feeds import IndexedFeed
from biolm_ray.training.loop import Objective, fit
from biolm_ray.training.settings import loop_settings
from biolm_ray.training.workers import Workers

SPECIALS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "[BOS]": 5, "[EOS]": 6}
INPUTS = ModelInputs(vocabulary_size=11, special_ids=SPECIALS, block_size=160)
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
BERT = {"architecture": "bert", "config": SIZES}
SMALL_XLNET = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}
FREEZE = TrainingConfig(freeze="encoder", num_epochs=2, weight_decay=0.1)
GRADUAL = TrainingConfig(freeze="gradual", num_epochs=4, weight_decay=0.1)
LORA = TrainingConfig(lora_rank=2, num_epochs=3, learning_rate=0.01)
State = dict[str, torch.Tensor]
HEAD = {"head.0", "head.1", "head.4"}
LABELS = torch.linspace(-1, 1, 12)[:, None]


class Broken(Exception):
    pass


def build(spec: ModelSpec, options: dict[str, Any], seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return spec.build(read_options(spec, options), INPUTS)


def batch_of(spec: ModelSpec, rows: np.ndarray) -> Batch:
    """Random sequences; row r has 9 + r tokens, always the same ones."""
    framing = Framing(pad_id=1, padding_side=spec.padding_side, block_size=160)
    draws = [np.random.default_rng(row) for row in rows]
    sequences = [draw.integers(7, 11, 9 + row) for row, draw in zip(rows, draws, strict=True)]
    return collate([(tokens, None) for tokens in sequences], framing)


def outputs_of(spec: ModelSpec, module: nn.Module) -> torch.Tensor:
    batch = batch_of(spec, np.arange(3))
    return module.eval()(batch.token_ids, batch.lengths)


def state_of(module: nn.Module) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: State, after: State) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def train(
    folder,
    spec: ModelSpec,
    module: nn.Module,
    training: TrainingConfig,
    after_epoch: Callable[[int], None] = lambda epochs: None,
) -> Callable[[], object]:
    """Train on twelve rows; give the function that finishes the adaptation."""
    epochs = []
    kept = adapt(module, spec, training, seed=3)
    settings = loop_settings(
        training, Recipe(learning_rate=0.01, batch_size=6), fold=0, default_metric="loss"
    )

    def loss(module: nn.Module, loaded: Loaded) -> torch.Tensor:
        outputs = module(loaded.batch.token_ids, loaded.batch.lengths)
        return (outputs - LABELS[loaded.rows]).square().sum()

    def validate(module: nn.Module) -> dict[str, float]:
        epochs.append(None)
        after_epoch(len(epochs))
        return {}

    batches: Any = SimpleNamespace(
        lengths=9 + np.arange(12), load=lambda rows: batch_of(spec, rows)
    )
    feed = IndexedFeed(batches, Workers())
    fit(
        module,
        feed.epochs(np.arange(12), lambda rows: float(len(rows)), settings, by_length=False),
        Objective(loss=loss, validate=validate, prepare=kept.prepare),
        settings,
        Workers(),
        folder=folder,
        board=folder / "tboard",
        report=lambda event: None,
    )
    return kept.finish


def names_of(module: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    return {name for name, own in module.named_parameters() for p in parameters if p is own}


@pytest.mark.parametrize(
    ("spec", "options", "first", "number", "last", "head"),
    [
        (SALUKI, {"num_layers": 3}, "entry.weight", 5, "gru.weight_ih_l0", "head."),
        (
            SALUKI,
            {"variant": "reference", "num_layers": 3},
            "entry_block.conv.weight",
            5,
            "gru_block.batch_norm.weight",
            "dense_block.",
        ),
        (
            XLNET,
            SMALL_XLNET,
            "network.transformer.word_embedding.weight",
            3,
            "network.transformer.layer.1.rel_attn.q",
            ("network.sequence_summary.", "network.logits_proj."),
        ),
        (
            HUGGINGFACE,
            BERT,
            "network.bert.embeddings.word_embeddings.weight",
            3,
            "network.bert.encoder.layer.1.output.dense.weight",
            ("network.bert.pooler.", "network.classifier."),
        ),
        (
            HUGGINGFACE,
            {"architecture": "modernbert", "config": SIZES},
            "network.model.embeddings.tok_embeddings.weight",
            3,
            "network.model.final_norm.weight",
            ("network.head.", "network.classifier."),
        ),
    ],
    ids=["saluki", "reference", "xlnet", "bert", "modernbert"],
)
def test_an_encoder_is_grouped_from_input_to_output(spec, options, first, number, last, head):
    module = build(spec, options)
    groups = spec.encoder_groups(module)
    assert len(groups) == number
    assert first in names_of(module, groups[0])
    assert last in names_of(module, groups[-1])
    encoder = [parameter for group in groups for parameter in group]
    assert len({id(parameter) for parameter in encoder}) == len(encoder)
    rest = {name for name, _ in module.named_parameters()} - names_of(module, encoder)
    assert rest
    assert all(name.startswith(head) for name in rest)


def test_thawing_goes_from_the_head_to_the_input():
    groups = [[nn.Parameter(torch.zeros(1))] for _ in range(3)]

    def trained(num_thawed: int) -> list[bool]:
        thaw(groups, num_thawed)
        return [parameter.requires_grad for [parameter] in groups]

    assert [trained(number) for number in (2, 0, 1, 3, 9)] == [
        [False, True, True],
        [False, False, False],
        [False, False, True],
        [True, True, True],
        [True, True, True],
    ]


def test_a_frozen_encoder_keeps_its_weights_in_spite_of_weight_decay(tmp_path):
    module = build(SALUKI, {"channels": 8, "num_layers": 3})
    before = state_of(module)
    train(tmp_path, SALUKI, module, FREEZE)
    moved = changed(before, module.state_dict())
    assert {"head.1.weight", "head.4.weight", "head.4.bias"} <= moved
    assert all(name.startswith("head.") for name in moved)


def test_gradual_unfreezing_trains_one_group_more_with_every_epoch(tmp_path):
    module = build(SALUKI, {"channels": 8, "num_layers": 3})
    states = [state_of(module)]
    train(tmp_path, SALUKI, module, GRADUAL, lambda _: states.append(state_of(module)))
    moved = [changed(before, after) for before, after in pairwise(states)]
    assert [
        {name.rpartition(".")[0].removesuffix(".norm") for name in names} for names in moved
    ] == [
        HEAD,
        {*HEAD, "gru"},
        {*HEAD, "gru", "tower.2"},
        {*HEAD, "gru", "tower.2", "tower.1"},
    ]


@pytest.mark.parametrize(
    ("spec", "options", "training"),
    [(SALUKI, {"channels": 8, "num_layers": 3}, GRADUAL), (HUGGINGFACE, BERT, LORA)],
    ids=["gradual", "lora"],
)
@pytest.mark.parametrize("epoch", [2, 3])
def test_an_adapted_run_broken_off_and_continued_equals_an_undisturbed_one(
    tmp_path, spec, options, training, epoch
):
    def break_off(epochs: int) -> None:
        if epochs == epoch:
            raise Broken

    calm, continued = build(spec, options), build(spec, options)
    train(tmp_path / "calm", spec, calm, training)()
    with pytest.raises(Broken):
        train(tmp_path / "broken", spec, build(spec, options), training, break_off)
    train(tmp_path / "broken", spec, continued, training)()
    assert not changed(calm.state_dict(), continued.state_dict())


@pytest.mark.parametrize(
    ("spec", "options", "adapted"),
    [
        (HUGGINGFACE, BERT, {"query", "key", "value", "dense"}),
        (XLNET, SMALL_XLNET, {"layer_1", "layer_2"}),
    ],
    ids=["bert", "xlnet"],
)
def test_adapters_are_trained_with_the_head_and_merged_into_ordinary_weights(
    tmp_path, spec, options, adapted
):
    module = build(spec, options)
    before = state_of(module)
    encoder = names_of(module, [p for group in spec.encoder_groups(module) for p in group])
    finish = train(tmp_path, spec, module, LORA)
    unmerged, state = outputs_of(spec, module), module.state_dict()
    plain = {name.replace(".base_layer", ""): value for name, value in state.items()}
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    head = {name for name, _ in build(spec, options).named_parameters()} - encoder
    assert changed(before, plain) == head
    assert {name for name in trained if "lora_" not in name} == head
    finish()
    assert (outputs_of(spec, module) - unmerged).abs().max() < 1e-5
    assert module.state_dict().keys() == before.keys()
    moved = changed(before, module.state_dict()) & encoder
    assert {name.split(".")[-2] for name in moved} == adapted
    assert all(name.endswith("weight") for name in moved)


def test_adapters_leave_the_outputs_as_they_are_before_training():
    module = build(HUGGINGFACE, BERT)
    before = outputs_of(HUGGINGFACE, module)
    adapt(module, HUGGINGFACE, LORA, seed=3)
    assert torch.equal(outputs_of(HUGGINGFACE, module), before)


def test_alpha_scales_what_the_adapters_add(tmp_path):
    outputs = []
    for alpha in (None, 4, 40):
        training = LORA.model_copy(update={"lora_alpha": alpha, "num_epochs": 1})
        module = build(HUGGINGFACE, BERT)
        train(tmp_path / str(alpha), HUGGINGFACE, module, training)
        outputs.append(outputs_of(HUGGINGFACE, module).tolist())
    assert outputs[0] == outputs[1] != outputs[2]


def test_nothing_is_kept_unless_asked_for(tmp_path):
    module = build(HUGGINGFACE, BERT)
    kept = adapt(module, HUGGINGFACE, TrainingConfig(), seed=3)
    kept.prepare(module, 0)
    kept.finish()
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_weights_that_never_train_are_not_thawed():
    module = build(HUGGINGFACE, {"architecture": "roformer", "config": SIZES})
    adapt(module, HUGGINGFACE, GRADUAL, seed=3).prepare(module, 9)
    fixed = [name for name, p in module.named_parameters() if not p.requires_grad]
    assert fixed == ["network.roformer.encoder.embed_positions.weight"]


CHECKPOINT = {"checkpoint": "some/model"}
OWN_VOCABULARY = {"checkpoint": "some/model", "tokenizer": "own"}


@pytest.mark.parametrize(
    ("spec", "options", "training", "has_weights", "message"),
    [
        (
            replace(SALUKI, encoder_groups=None),
            {},
            FREEZE,
            True,
            "training.freeze encoder: model saluki does not tell its encoder from its head",
        ),
        (SALUKI, {}, LORA, True, "training.lora_rank 2: the encoder of model saluki has no layers"),
        (
            SALUKI,
            {},
            GRADUAL,
            False,
            "training.freeze gradual: the encoder, or its embeddings, would keep random",
        ),
        (
            HUGGINGFACE,
            BERT,
            LORA,
            False,
            "training.lora_rank 2: the encoder, or its embeddings, would keep random",
        ),
        (
            HUGGINGFACE,
            OWN_VOCABULARY,
            FREEZE,
            False,
            "the encoder, or its embeddings, would keep random",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(spec, options, training, has_weights, message):
    with pytest.raises(ConfigError, match=message):
        check_adaptation(training, spec, read_options(spec, options), has_weights=has_weights)


@pytest.mark.parametrize(
    ("spec", "options", "training", "has_weights"),
    [
        (replace(SALUKI, encoder_groups=None), {}, TrainingConfig(), False),
        (SALUKI, {}, FREEZE, True),
        (XLNET, {}, LORA, True),
        (HUGGINGFACE, CHECKPOINT, LORA, False),
        (HUGGINGFACE, OWN_VOCABULARY, GRADUAL, True),
    ],
)
def test_what_can_be_kept_is_accepted(spec, options, training, has_weights):
    check_adaptation(training, spec, read_options(spec, options), has_weights=has_weights)


def test_adapters_without_their_package_tell_how_to_get_it(monkeypatch):
    monkeypatch.setattr(adaptation, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'biolm-ray\[lora\]'"):
        check_adaptation(LORA, XLNET, read_options(XLNET, {}), has_weights=True)


def test_an_encoder_without_linear_layers_takes_no_adapters():
    spec = replace(SALUKI, takes_adapters=True)
    with pytest.raises(ConfigError, match="the encoder has no linear layers"):
        adapt(build(SALUKI, {"num_layers": 3}), spec, LORA, seed=3)
