from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from biolm_ray.inference.self_check import find_problem
from biolm_ray.models.batches import Framing
from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.spec import ModelInputs

PLUGIN = Path(__file__).parents[2] / "examples/mean_pool_plugin.py"
SPECIALS = {"[UNK]": 0, "[PAD]": 1}


def test_the_example_is_short():
    assert len(PLUGIN.read_text().splitlines()) < 100


def test_the_example_learns_how_often_a_motif_occurs():
    torch.manual_seed(0)
    spec = find_spec("mean_pool", str(PLUGIN))
    inputs = ModelInputs(vocabulary_size=6, special_ids=SPECIALS, block_size=60)
    options = read_options(spec, {"width": 16})
    module = spec.build(options, inputs)
    token_ids = torch.randint(2, 6, (128, 60))
    labels = ((token_ids[:, 1:] == 3) & (token_ids[:, :-1] == 2)).sum(1).float()
    labels = (labels - labels.mean()) / labels.std()
    lengths = torch.full((32,), 60)
    optimizer = torch.optim.AdamW(module.parameters(), spec.recipe(options).learning_rate)
    for _ in range(80):
        for rows in torch.randperm(128).split(32):
            loss = F.mse_loss(module(token_ids[rows], lengths)[:, 0], labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert loss.item() < 0.3


def test_the_example_describes_itself_rightly():
    spec = find_spec("mean_pool", str(PLUGIN))
    inputs = ModelInputs(
        vocabulary_size=6, special_ids=SPECIALS, block_size=60, num_specifiers=2, num_outputs=2
    )
    for kernel in (1, 3, 5):
        module = spec.build(read_options(spec, {"kernel": kernel}), inputs).eval()
        model = SimpleNamespace(
            spec=spec,
            module=module,
            card=SimpleNamespace(inputs=inputs),
            framing=Framing(pad_id=1, block_size=60),
        )
        for shape in ((1, 0), (1, 1), (0, 1), (3, 0)):
            assert find_problem(model, shape) is None  # type: ignore[arg-type]
