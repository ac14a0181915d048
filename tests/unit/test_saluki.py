import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biolm_ray.errors import ConfigError
from biolm_ray.models.saluki import SPEC, Saluki, SalukiOptions, one_hot_columns
from biolm_ray.models.saluki_reference import shortest_block
from biolm_ray.models.spec import Batch, ModelInputs
from biolm_ray.models.strip import RowConvolution, lay_end_to_end
from biolm_ray.training.normalization import refit_batch_statistics

SPECIALS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "[BOS]": 5, "[EOS]": 6}


def _inputs(vocabulary_size=11, num_specifiers=0, block_size=512, num_outputs=1):
    return ModelInputs(
        vocabulary_size=vocabulary_size,
        special_ids=SPECIALS,
        num_specifiers=num_specifiers,
        num_outputs=num_outputs,
        block_size=block_size,
    )


def _batch(lengths, inputs):
    generator = torch.Generator().manual_seed(1)
    shape = (len(lengths), max(lengths))
    token_ids = torch.randint(0, inputs.vocabulary_size, shape, generator=generator)
    specifiers = torch.randn(*shape, inputs.num_specifiers, generator=generator)
    return token_ids, torch.tensor(lengths), specifiers if inputs.num_specifiers else None


def _plain_saluki(module, token_ids, specifiers, num_padded=0):
    """The definition for one sequence, written with the library's layers and no strip.

    So many zero rows follow the sequence where the recurrence reads padding.
    """
    stored = module.state_dict()
    width = module.num_columns
    rows = torch.eye(width + 1, width, dtype=torch.float64)[module.columns[token_ids]]
    if specifiers is not None:
        rows = torch.cat([rows, specifiers.double()], dim=1)

    def convolved(rows, name):
        weight = stored[f"{name}.weight"].permute(2, 1, 0)
        bias = stored[f"{name}.bias"]
        image = F.conv1d(rows.T[None], weight, bias, padding=weight.shape[2] // 2)[0].T
        norm = stored[f"{name}.norm.weight"], stored[f"{name}.norm.bias"]
        return F.layer_norm(image, image.shape[1:], *norm)

    rows = F.relu(convolved(rows, "entry"))
    for layer in range(len(module.tower)):
        padded = F.pad(rows, (0, 0, 0, len(rows) % 2))
        normed = convolved(padded, f"tower.{layer}")
        rows = F.relu(F.max_pool1d(normed.T[None], 2)[0].T)
    states, _ = module.gru(F.pad(rows, (0, 0, 0, num_padded)).flip(0)[None])
    return module.head(states[:, -1])[0]


def _plain_reference(module, token_ids, lengths, specifiers):
    """The reference as it is defined: every row of the whole block, for every sequence."""
    width, block = module.num_columns, module.block_size
    dtype = module.dense_block.l2.weight.dtype
    rows = torch.eye(width + 1, width, dtype=dtype)[module.columns[token_ids]]
    if specifiers is not None:
        rows = torch.cat([rows, specifiers.to(dtype)], dim=2)
    present = torch.arange(rows.shape[1]) < lengths[:, None]
    rows = F.pad(rows * present[..., None], (0, 0, 0, block - rows.shape[1])).transpose(1, 2)
    rows = F.relu(module.entry_block(rows))
    for layer in module.mid_blocks:
        rows = F.relu(F.max_pool1d(module.dropout(layer(rows)), 2))
    rows = rows.transpose(1, 2)
    if module.reads_padding:
        states = module.gru_block.gru(rows.flip(1))[0][:, -1]
    else:
        last = ((lengths - 1) // 2 ** len(module.mid_blocks)).clamp(max=rows.shape[1] - 1)
        own = [row[: end + 1].flip(0)[None] for row, end in zip(rows, last.tolist(), strict=True)]
        states = torch.cat([module.gru_block.gru(row)[0][:, -1] for row in own])
    return module.dense_block(F.relu(module.gru_block.batch_norm(states)))


def _reference(block_size=600, **options):
    torch.manual_seed(0)
    inputs = _inputs(block_size=block_size, num_specifiers=1, num_outputs=2)
    sizes = {"variant": "reference", "channels": 6, "num_layers": 4}
    return SPEC.build(SalukiOptions(**sizes, **options), inputs), inputs


def test_special_tokens_have_no_one_hot_column():
    assert one_hot_columns(_inputs()).tolist() == [4] * 7 + [0, 1, 2, 3]


def test_the_convolution_equals_the_library_and_its_gradient_is_right():
    torch.manual_seed(0)
    rows = torch.randn(9, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    expected = F.conv1d(rows.T[None], weight.permute(2, 1, 0), bias, padding=2)[0].T
    torch.testing.assert_close(RowConvolution.apply(rows, weight, bias), expected)
    assert torch.autograd.gradcheck(RowConvolution.apply, (rows, weight, bias))


def test_sequences_lie_end_to_end_with_gaps_between():
    columns = torch.tensor([[1, 1, 1], [2, 9, 9]])
    none = torch.zeros(2, dtype=torch.long)
    strip = lay_end_to_end(columns, torch.tensor([3, 1]), None, none, stride=4, gap=4, outside=7)
    assert strip.columns.tolist() == [1, 1, 1, 7, 7, 7, 7, 7, 2, 7, 7, 7, 7, 7, 7, 7]
    assert strip.inside.nonzero()[:, 0].tolist() == [0, 1, 2, 8]
    assert strip.starts.tolist() == [0, 8]


@pytest.mark.parametrize("padding", ["none", "blocksize"])
@pytest.mark.parametrize("vocabulary_size", [11, 60])
@pytest.mark.parametrize("num_specifiers", [0, 2])
def test_the_strip_gives_what_each_sequence_gives_alone_by_definition(
    vocabulary_size, num_specifiers, padding
):
    torch.manual_seed(0)
    inputs = _inputs(vocabulary_size, num_specifiers, num_outputs=2, block_size=67)
    options = SalukiOptions(channels=6, num_layers=3, padding=padding)
    module = Saluki(options, inputs).double().eval()
    lengths = [1, 2, 7, 8, 9, 40, 63, 64, 65]
    token_ids, sizes, specifiers = _batch(lengths, inputs)
    outputs = module(token_ids, sizes, specifiers)
    for row, length in enumerate(lengths):
        own = None if specifiers is None else specifiers[row, :length]
        # 9 reduced rows of 8 tokens hold the block, the last one only in part.
        num_padded = 9 - (length + 7) // 8 if padding == "blocksize" else 0
        expected = _plain_saluki(module, token_ids[row, :length], own, num_padded)
        torch.testing.assert_close(outputs[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_neighbours_never_meet_whatever_the_kernel(kernel):
    torch.manual_seed(0)
    inputs = _inputs()
    options = SalukiOptions(channels=4, num_layers=2, kernel=kernel)
    module = Saluki(options, inputs).double().eval()
    token_ids, lengths, _ = _batch([8, 12, 3], inputs)
    together = module(token_ids, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = module(token_ids[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(together[row], alone[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", ["none", "blocksize"])
@pytest.mark.parametrize("variant", ["default", "reference"])
def test_every_parameter_gets_a_gradient(variant, padding):
    torch.manual_seed(0)
    inputs = _inputs(num_specifiers=1, block_size=40)
    options = SalukiOptions(variant=variant, padding=padding, channels=8, num_layers=2)
    module = SPEC.build(options, inputs)
    module(*_batch([30, 17, 5], inputs)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_specifiers_change_the_result():
    torch.manual_seed(0)
    inputs = _inputs(num_specifiers=1)
    module = Saluki(SalukiOptions(channels=8, num_layers=2), inputs).eval()
    token_ids, lengths, specifiers = _batch([20], inputs)
    assert specifiers is not None
    assert not torch.equal(
        module(token_ids, lengths, specifiers), module(token_ids, lengths, 2 * specifiers)
    )


def test_it_learns_a_motif_count_within_seconds():
    torch.manual_seed(0)
    inputs = _inputs()
    generator = torch.Generator().manual_seed(2)
    token_ids = torch.randint(7, 11, (96, 60), generator=generator)
    labels = ((token_ids[:, 1:] == 8) & (token_ids[:, :-1] == 7)).sum(1).float()
    labels = (labels - labels.mean()) / labels.std()
    module = Saluki(SalukiOptions(channels=24, num_layers=3, dropout=0.0), inputs)
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    lengths = torch.full((32,), 60)
    for _ in range(20):
        for rows in torch.randperm(96, generator=generator).split(32):
            loss = F.mse_loss(module(token_ids[rows], lengths)[:, 0], labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert loss.item() < 0.3


def test_shortest_block_is_the_fewest_rows_that_leave_one():
    def rows_left(rows, num_layers, kernel):
        rows -= kernel - 1
        for _ in range(num_layers):
            rows = (rows - kernel + 1) // 2
        return rows

    for num_layers, kernel in ((6, 5), (2, 3), (0, 5)):
        shortest = shortest_block(num_layers, kernel)
        assert rows_left(shortest, num_layers, kernel) == 1
        assert rows_left(shortest - 1, num_layers, kernel) < 1


def test_the_reference_refuses_blocks_shorter_than_its_convolutions():
    options = SalukiOptions(variant="reference")
    assert SPEC.min_length(options) == 320
    with pytest.raises(ConfigError, match="blocksize 319 is too short"):
        SPEC.build(options, _inputs(block_size=319))


@pytest.mark.parametrize("variant", ["default", "reference"])
def test_padding_is_read_by_the_reference_and_by_no_other_unless_told(variant):
    found = [
        SalukiOptions(variant=variant, padding=padding).reads_padding
        for padding in (None, "none", "blocksize")
    ]
    assert found == [variant == "reference", False, True]


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("padding", ["none", "blocksize"])
@pytest.mark.parametrize("block_size", [92, 96, 333])
def test_the_reference_gives_what_the_whole_block_gives(block_size, padding, dtype, close):
    module, inputs = _reference(block_size, padding=padding)
    module = module.to(dtype).eval()
    draw = torch.Generator().manual_seed(block_size)
    for num_rows in (1, 2, 7, 7):
        lengths = torch.randint(1, block_size + 1, (num_rows,), generator=draw).tolist()
        batch = _batch(lengths, inputs)
        torch.testing.assert_close(
            module(*batch), _plain_reference(module, *batch), rtol=0, atol=close
        )


def test_the_reference_takes_a_batch_that_is_filled_up_to_the_block():
    module, inputs = _reference()
    token_ids, lengths, _ = _batch([40], inputs)
    whole = F.pad(token_ids, (0, 560), value=1)
    specifiers = torch.randn(1, 600, 1)
    torch.testing.assert_close(
        module.eval()(whole, lengths, specifiers),
        module(token_ids, lengths, specifiers[:, :40]),
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize("padding", ["none", "blocksize"])
def test_without_dropout_the_gradient_of_the_reference_is_that_of_the_whole_block(padding):
    module, inputs = _reference(padding=padding, dropout=0.0)
    batch = _batch([300, 17, 64, 5], inputs)
    gradients = []
    for forward in (module.double(), lambda *batch: _plain_reference(module, *batch)):
        module.zero_grad()
        forward(*batch).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in module.parameters()])
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)


def test_with_dropout_the_reference_trains_on_the_whole_block():
    module, inputs = _reference()
    batch = _batch([300, 17], inputs)
    outputs = []
    for forward in (module, lambda *batch: _plain_reference(module, *batch)):
        torch.manual_seed(3)
        outputs.append(forward(*batch))
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", ["default", "reference"])
def test_padding_is_read_once_and_not_by_every_sequence(variant):
    inputs = _inputs(block_size=600)
    options = SalukiOptions(variant=variant, padding="blocksize", channels=4, num_layers=4)
    module = SPEC.build(options, inputs).eval()
    shapes = []
    gru = next(part for part in module.modules() if isinstance(part, nn.GRU))
    gru.register_forward_hook(lambda *call: shapes.append(tuple(call[1][0].shape[:2])))
    module(*_batch([40, 90, 17], inputs))
    # 16 tokens to a row: 3, 6 and 2 of the block's 38 rows; valid convolutions lose 5 of them.
    assert shapes == [(1, {"default": 36, "reference": 31}[variant]), (3, 6)]


def test_the_block_size_counts_only_where_padding_is_read():
    for padding in ("none", "blocksize"):
        outputs = []
        for block_size in (400, 800):
            torch.manual_seed(0)
            inputs = _inputs(block_size=block_size)
            module = SPEC.build(SalukiOptions(padding=padding, channels=8), inputs).eval()
            outputs.append(module(*_batch([90, 30], inputs)))
        assert torch.equal(*outputs) == (padding == "none")


@pytest.mark.parametrize("padding", ["none", "blocksize"])
@pytest.mark.parametrize("variant", ["default", "reference"])
def test_a_step_in_half_precision_is_close_to_one_in_single(variant, padding):
    inputs = _inputs(num_specifiers=1, block_size=600)
    sizes = {"channels": 16, "num_layers": 2, "dropout": 0.0, "shift": 0}
    options = SalukiOptions(variant=variant, padding=padding, **sizes)
    torch.manual_seed(0)
    module = SPEC.build(options, inputs)
    batch = _batch([600, 90, 333, 17, 250, 480], inputs)
    wanted = torch.linspace(-1, 1, 6)[:, None]
    losses, gradients = [], []
    for half in (False, True):
        module.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            outputs = module(*batch)
            loss = F.mse_loss(outputs.float(), wanted)
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters()]))
    assert losses[1] == pytest.approx(losses[0], abs=0.05)
    assert gradients[1].isfinite().all()
    assert not torch.equal(*gradients)
    assert F.cosine_similarity(*gradients, dim=0) > 0.95


def test_recipes_differ_by_variant():
    default = SPEC.recipe(SalukiOptions())
    reference = SPEC.recipe(SalukiOptions(variant="reference"))
    assert (default.schedule, default.batch_size, default.stop_metric) == ("cosine", 32, "pearson")
    assert (reference.schedule, reference.batch_size, reference.gradient_clip) == (
        "constant",
        16,
        0.4,
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("variant", ["default", "reference"])
def test_a_gpu_gives_the_result_of_the_cpu(variant):
    torch.manual_seed(0)
    inputs = _inputs(num_specifiers=2)
    module = SPEC.build(SalukiOptions(variant=variant, channels=8), inputs).double().eval()
    token_ids, lengths, specifiers = _batch([1, 70, 300], inputs)
    assert isinstance(module, nn.Module)
    assert specifiers is not None
    expected = module(token_ids, lengths, specifiers)
    found = module.cuda()(token_ids.cuda(), lengths.cuda(), specifiers.cuda())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-9)


def test_training_shifts_sequences_and_evaluation_does_not():
    model = SPEC.build(SalukiOptions(channels=8, dropout=0.0), _inputs())
    batch = torch.randint(7, 11, (4, 90)), torch.full((4,), 90)
    states = []
    model.gru.register_forward_hook(lambda *call: states.append(call[2][0].shape[1]))
    model.train()
    trained = [model(*batch) for _ in range(3)]
    model.eval()
    evaluated = [model(*batch) for _ in range(2)]
    assert not torch.equal(trained[0], trained[1])
    assert torch.equal(*evaluated)
    assert max(states[:3]) == 3
    assert states[3:] == [2, 2]


def test_a_shifted_sequence_keeps_all_its_rows():
    model = SPEC.build(SalukiOptions(channels=8, num_layers=2, shift=0), _inputs()).eval()
    tokens, lengths = torch.randint(7, 11, (1, 13)), torch.tensor([13])
    for shift in range(4):
        model._draw_shifts = lambda lengths, shift=shift: torch.full_like(lengths, shift)
        changed = tokens.clone()
        changed[0, 0] = 7 + (tokens[0, 0] - 6) % 4
        assert not torch.equal(model(tokens, lengths), model(changed, lengths))


def test_the_sequences_of_a_batch_are_shifted_together():
    model = SPEC.build(SalukiOptions(num_layers=3, channels=8), _inputs()).train()
    drawn = torch.stack([model._draw_shifts(torch.tensor([9, 50, 3])) for _ in range(200)])
    assert (drawn == drawn[:, :1]).all()
    assert drawn[:, 0].unique().tolist() == list(range(8))


def test_evaluation_finds_the_mean_that_training_has_reached():
    torch.manual_seed(0)
    token_ids, lengths = torch.randint(7, 11, (24, 80)), torch.full((24,), 80)
    model = SPEC.build(SalukiOptions(channels=16, num_layers=4, dropout=0.0), _inputs())
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(40):
        loss = F.mse_loss(model(token_ids, lengths), torch.full((24, 1), 3.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    refit_batch_statistics(model, [Batch(token_ids=token_ids, lengths=lengths)], "cpu")
    with torch.no_grad():
        trained = torch.stack([model.train()(token_ids, lengths).mean() for _ in range(20)])
        evaluated = model.eval()(token_ids, lengths).mean()
    assert trained.mean() > 2
    assert evaluated == pytest.approx(trained.mean().item(), abs=0.3)
