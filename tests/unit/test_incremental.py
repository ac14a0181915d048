"""The incremental path for Saluki, and what happens where a description is wrong."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from described import BLOCK, VARIANTS, Convolved, describe, make_saluki, saved, spec_of
from torch import nn

from biolm_ray.inference.batched import outputs_of_rows, plain_outputs
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
from biolm_ray.inference.self_check import CheckedStack
from biolm_ray.models.local_stack import PooledTail, gru_tail
from biolm_ray.models.saluki import SPEC
from biolm_ray.tokenization.tokenizer import Encoded

MASK = 2
PLANS = {
    "remove": plan_removals,
    "remove 3": lambda source: plan_removals(source, 3),
    "mask": lambda source: plan_masks(source, MASK),
    "mask 2": lambda source: plan_masks(source, MASK, 2),
    "saturation": lambda source: plan_substitutions(
        source, {3: (4, 5), 4: (3,), 5: (4,)}, undecorate=True
    ),
    "insert": lambda source: plan_insertions(source, [3, 5]),
}


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
        for crop in ({}, {"cut_side": "left"}, {"is_center": np.arange(7) == 4}):
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


def test_edits_of_tokens_that_pooling_drops_score_exactly_0() -> None:
    model = make_saluki({"variant": "reference"})
    edits = plan_masks(make_source(BLOCK), MASK)
    source = edits.source
    original = plain_outputs(model, [Encoded(source.token_ids, None, -1)], "cpu")[0]
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
    original = plain_outputs(model, [Encoded(source.token_ids[:BLOCK], None, -1)], "cpu")[0]
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


def test_where_a_spot_check_fails_the_sequence_is_redone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved(Convolved(), spec_of(describe))
    stack = describe(model.module)
    off = replace(
        stack, tail=PooledTail(kind="mean", head=lambda means: 1e-4 + means.sum(1, keepdim=True))
    )
    edits = plan_removals(make_source(20))
    original = plain_outputs(model, [Encoded(edits.source.token_ids, None, -1)], "cpu")[0]
    assert not predict_edits(model, edits, original).redone
    monkeypatch.setattr(CheckedStack, "for_edits", lambda self, shape: off)
    found = predict_edits(model, edits, original)
    assert found.redone
    full = full_passes(model, edits, edits.distinct)
    np.testing.assert_allclose(found.outputs, full, rtol=0, atol=1e-12)
