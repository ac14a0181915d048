"""The incremental path for Saluki, its self-check, and what happens where it is wrong."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.inference import edit_outputs
from biolm_ray.inference.batched import outputs_alone, outputs_of_rows
from biolm_ray.inference.edit_outputs import predict_edits
from biolm_ray.inference.incremental import run_incrementally
from biolm_ray.inference.perturb import (
    Edits,
    Source,
    plan_insertions,
    plan_masks,
    plan_removals,
    plan_substitutions,
)
from biolm_ray.inference.self_check import checked_stack
from biolm_ray.models.batches import Framing
from biolm_ray.models.local_stack import LocalBlock, LocalStack, PooledTail, gru_tail
from biolm_ray.models.saluki import SPEC, SalukiOptions
from biolm_ray.models.spec import ModelInputs
from biolm_ray.tokenization.tokenizer import Encoded

SPECIAL_IDS = {"[UNK]": 0, "[PAD]": 1, "[MASK]": 2}
BLOCK = 53
MASK = 2
VARIANTS = [
    {"variant": variant, "padding": padding}
    for variant in ("default", "reference")
    for padding in ("none", "blocksize")
]
PLANS = {
    "remove": plan_removals,
    "remove 3": lambda source: plan_removals(source, 3),
    "mask": lambda source: plan_masks(source, MASK),
    "mask 2": lambda source: plan_masks(source, MASK, 2),
    "saturation": lambda source: plan_substitutions(
        source, {3: (4, 5), 4: (3,), 5: (4,)}, drop_specifiers=True
    ),
    "insert": lambda source: plan_insertions(source, [3, 5]),
}


def saved(module: nn.Module, spec: Any, *, block: int = BLOCK, specifiers: int = 0) -> Any:
    inputs = ModelInputs(
        vocabulary_size=7, special_ids=SPECIAL_IDS, block_size=block, num_specifiers=specifiers
    )
    targets = Targets(task="regression", scaler=Scaler(kind="none"))
    return SimpleNamespace(
        module=module.double().eval(),
        spec=spec,
        card=SimpleNamespace(inputs=inputs, targets=targets),
        framing=Framing(pad_id=1, block_size=block),
    )


def make_saluki(options: dict[str, Any], *, specifiers: int = 0, columns: int = 7) -> Any:
    torch.manual_seed(1)
    inputs = ModelInputs(
        vocabulary_size=columns,
        special_ids=SPECIAL_IDS,
        block_size=BLOCK,
        num_specifiers=specifiers,
    )
    module = SPEC.build(SalukiOptions(channels=6, num_layers=3, **options), inputs)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.normal_(part.running_mean)  # type: ignore[arg-type]
        if isinstance(part, nn.LayerNorm):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return saved(module, SPEC, specifiers=specifiers)


def make_source(length: int, *, specifiers: int = 0, **crop: Any) -> Source:
    random = np.random.default_rng(length)
    values = random.random((length, specifiers), dtype=np.float32) if specifiers else None
    ids = random.integers(3, 7, length)
    return Source(token_ids=ids, specifiers=values, room=BLOCK, **crop)


def full_passes(model: Any, edits: Edits, rows: Any) -> np.ndarray:
    return outputs_of_rows(model, edits, rows, batch_tokens=2_000, device="cpu")


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(options.values()))
@pytest.mark.parametrize("plan", PLANS, ids=lambda name: name.replace(" ", "-"))
def test_saluki_predicts_every_edit_as_by_full_passes(options: dict[str, Any], plan: str) -> None:
    model = make_saluki(options, specifiers=1)
    stack = SPEC.local_stack(model.module)
    assert stack is not None
    for length in (3, 5, 8, 9, 16, 17, 40, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 9):
        for crop in ({}, {"cut_side": "left"}, {"center": length // 2}):
            edits = PLANS[plan](make_source(length, specifiers=1, **crop))
            rows = edits.distinct[:: max(1, len(edits.distinct) // 8)]
            with torch.inference_mode():
                found = run_incrementally(stack, edits, model.framing, num_outputs=1)
            chosen = np.flatnonzero(found.done & np.isin(edits.distinct, rows))
            full = full_passes(model, edits, edits.distinct[chosen])
            np.testing.assert_allclose(found.outputs[chosen], full, rtol=0, atol=1e-9)
            assert found.done.all() or length > BLOCK - 3 or edits.width == 0


def test_large_vocabularies_are_looked_up() -> None:
    model = make_saluki({}, columns=60)
    stack = SPEC.local_stack(model.module)
    edits = plan_masks(make_source(30), 59)
    assert stack is not None
    with torch.inference_mode():
        found = run_incrementally(stack, edits, model.framing, num_outputs=1)
    full = full_passes(model, edits, edits.distinct)
    np.testing.assert_allclose(found.outputs, full, rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(options.values()))
def test_saluki_passes_its_self_check_for_every_shape_of_edit(options: dict[str, Any]) -> None:
    model = make_saluki(options)
    for shape in ((1, 0), (3, 0), (1, 1), (2, 2), (0, 1), (2, 3)):
        assert checked_stack(model, shape) is not None


def test_edits_of_tokens_that_pooling_drops_score_exactly_0() -> None:
    model = make_saluki({"variant": "reference"})
    edits = plan_masks(make_source(BLOCK), MASK)
    source = edits.source
    original = outputs_alone(model, Encoded(source.token_ids, None, -1), "cpu")
    found = predict_edits(model, edits, original)
    changes = found.outputs - original
    seen = 8 * model.module.num_reduced
    assert seen < BLOCK - 10
    assert (np.abs(changes[: seen + 5]) > 1e-9).mean() > 0.9
    assert (changes[-3:] == 0).all()


def test_edits_that_are_seen_in_part_take_whole_passes() -> None:
    model = make_saluki({})
    edits = plan_masks(make_source(BLOCK + 5), MASK, 3)
    shown = replace(edits, starts=edits.starts + 1)
    source = edits.source
    original = outputs_alone(model, Encoded(source.token_ids[:BLOCK], None, -1), "cpu")
    found = predict_edits(model, shown, original, num_checks=0)
    full = full_passes(model, shown, shown.distinct)
    np.testing.assert_allclose(found.outputs, full, rtol=0, atol=1e-9)


def test_long_recurrences_in_float32_stay_within_a_millionth() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(16, 16, batch_first=True)
    tail = gru_tail(gru, nn.Identity())
    rows = 3 * torch.randn(200, 16)
    with torch.inference_mode():
        states = tail.start(200)[None]
        for inputs in tail.project(rows).split(1):
            states = tail.step(inputs, states)
        wanted = gru.double()(rows.double()[None])[0][:, -1]
    assert (states - wanted).abs().max() < 1e-6


class Convolved(nn.Module):
    """Two channels of a convolution, normed as told, and their mean."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 2)
        self.layer = nn.Conv1d(2, 2, 3, padding=1)
        self.norm = norm or nn.Identity()

    def run(self, rows: Tensor) -> Tensor:
        return self.norm(self.layer(rows.transpose(1, 2))).transpose(1, 2)

    def forward(self, token_ids: Tensor, lengths: Tensor, specifiers: Tensor | None = None):
        present = torch.arange(token_ids.shape[1]) < lengths[:, None]
        rows = self.run(self.embedding(token_ids) * present[..., None]) * present[..., None]
        return rows.sum((1, 2))[:, None] / lengths[:, None]

    def valid(self, rows: Tensor) -> Tensor:
        """The same layers without padding."""
        return self.run(rows)[:, 1:-1]


def describe(module: nn.Module, *, kernel: int = 3) -> LocalStack:
    assert isinstance(module, Convolved)
    return LocalStack(
        read=lambda ids, specifiers: module.embedding(ids),
        outside=module.embedding.weight.new_zeros(2),
        blocks=(LocalBlock(run=module.valid, kernel=kernel, left=1, count=lambda n: n),),
        tail=PooledTail(kind="mean", head=lambda means: means.sum(1, keepdim=True)),
    )


def spec_of(stack: Any) -> Any:
    return SimpleNamespace(name="own", local_stack=stack, shortcut=lambda module: None)


def test_a_right_description_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    assert checked_stack(saved(Convolved(), spec_of(describe)), (1, 0)) is not None
    assert not caplog.records


@pytest.mark.parametrize("kernel", [2, 4, 5])
def test_a_wrong_kernel_is_found_and_told(kernel: int, caplog: pytest.LogCaptureFixture) -> None:
    model = saved(Convolved(), spec_of(lambda module: describe(module, kernel=kernel)))
    assert checked_stack(model, (1, 0)) is None
    assert "describes itself wrongly" in caplog.text


def test_a_norm_over_the_whole_length_is_refused() -> None:
    model = saved(Convolved(nn.GroupNorm(1, 2)), spec_of(describe))
    assert checked_stack(model, (1, 1)) is None


def test_a_module_in_training_takes_whole_passes() -> None:
    model = make_saluki({})
    model.module.train()
    assert checked_stack(model, (1, 0)) is None


def test_where_a_spot_check_fails_the_sequence_is_redone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved(Convolved(), spec_of(describe))
    stack = describe(model.module)
    off = replace(
        stack, tail=PooledTail(kind="mean", head=lambda means: 1e-4 + means.sum(1, keepdim=True))
    )
    edits = plan_removals(make_source(20))
    original = outputs_alone(model, Encoded(edits.source.token_ids, None, -1), "cpu")
    assert not predict_edits(model, edits, original).redone
    monkeypatch.setattr(edit_outputs, "checked_stack", lambda model, shape: off)
    found = predict_edits(model, edits, original)
    assert found.redone
    full = full_passes(model, edits, edits.distinct)
    np.testing.assert_allclose(found.outputs, full, rtol=0, atol=1e-12)
