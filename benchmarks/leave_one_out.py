"""How fast leave-one-out scores are, against one padded pass for every token.

The naive loop runs the same network, with the same weights, over the whole padded block once for
every edit, as the reference does. BERT's rival is the library's own model on edits padded to 512
tokens, with their attention mask, eight at a time: goals are set against its eager attention, and
rows without a goal are against its fused one. Times of one core are those of the processor, so that
other programs do not count. Ours are taken as in a scoring worker, which keeps the memory it frees;
the rivals before that, as in a plain script. Two workers are compared with one by the clock, and
want two free cores. Prints a table and, as its last line, one JSON object. About ten minutes.

    make bench-loo
    make bench-loo ARGS="--only saluki"
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measures import take_measures
from saluki_step import BLOCK_SIZE, PlainSaluki
from torch import nn
from transformers_step import BERT

import biolm_ray
from biolm_ray.config.load import load_config
from biolm_ray.config.schema import InterpretConfig, PreprocessingConfig, TokenizationConfig
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.inference.batched import frame_variants
from biolm_ray.inference.leave_one_out import Scores, make_planner, score_sequence, source_of
from biolm_ray.inference.perturb import build_variants
from biolm_ray.inference.scorer import keep_freed_memory
from biolm_ray.inference.self_check import CheckedStack
from biolm_ray.models.batches import frame
from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.saluki_reference import ReferenceSaluki
from biolm_ray.models.saved import ModelCard, SavedModel
from biolm_ray.models.spec import ModelInputs
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import Encoded, Tokenizer

SALUKI = {1_000: (250, 800), 3_000: (350, 900), 10_000: (300, 600)}
BERT_LENGTHS = {300: (4, 6), 500: (2, 2.5)}
BERT_BLOCK = 512
RIVAL_BATCH = 8
EDITS = ("remove", "mask")
TABLE = (
    *(
        (f"{variant}_{edit}_{length}", f"Saluki, {variant}, {edit}, {length:,} tokens", *goal)
        for variant in ("reference", "default")
        for length, goal in SALUKI.items()
        for edit in EDITS
    ),
    *(
        (f"bert_{edit}_{length}", f"BERT 256x4, {edit}, {length} tokens, eager at 512", *goal)
        for length, goal in BERT_LENGTHS.items()
        for edit in EDITS
    ),
    *(
        (
            f"bert_{edit}_{length}_fused",
            f"BERT 256x4, {edit}, {length} tokens, fused at 512",
            None,
            None,
        )
        for length in BERT_LENGTHS
        for edit in EDITS
    ),
    ("difference_fp32", "largest difference, float32, share of 1e-5 (at most)", 1, 0.1),
    ("difference_fp64", "largest difference, float64, share of 1e-9 (at most)", 1, 0.1),
    ("two_workers", "200 sequences scored, two workers against one", 1.8, 1.95),
    ("two_workers_whole", "all of interpret, which draws and sums up in one process", None, None),
)
NUM_SEQUENCES = 200
NUM_SEEN = 40
NUM_PASSES = 8


def make_model(name: str, options: dict[str, Any], tokenizer: Tokenizer, block: int) -> SavedModel:
    """A model with random weights whose scores are not all alike."""
    spec = find_spec(name)
    inputs = ModelInputs(
        vocabulary_size=len(tokenizer.vocabulary),
        special_ids=tokenizer.special_ids,
        block_size=block,
    )
    torch.manual_seed(0)
    module = spec.build(read_options(spec, options), inputs).eval()
    preprocessing = PreprocessingConfig(block_size=block)
    return SavedModel(
        spec=spec,
        module=module,
        card=ModelCard(
            model=name,
            options=options,
            inputs=inputs,
            task="regression",
            targets=Targets(task="regression", scaler=Scaler(kind="none")),
            preprocessing=preprocessing,
        ),
        tokenizer=tokenizer,
        framing=frame(spec, inputs, preprocessing),
    )


def letters_tokenizer() -> Tokenizer:
    settings = TokenizerSettings(encoding="atomic", token_separator=",")
    return fit(["a,c,g,t"], TokenizationConfig(min_frequency=1), settings)


def words_tokenizer() -> Tokenizer:
    """As many tokens as a BPE vocabulary has."""
    text = ",".join(f"w{number}" for number in range(4_000))
    settings = TokenizerSettings(encoding="atomic", token_separator=",")
    return fit([text], TokenizationConfig(min_frequency=1), settings)


def random_sequence(tokenizer: Tokenizer, length: int) -> Encoded:
    ids = sorted(set(tokenizer.vocabulary.values()) - set(tokenizer.special_ids.values()))
    return Encoded(np.random.default_rng(length).choice(ids, length), None, -1)


def plain_twin(module: nn.Module) -> PlainSaluki:
    """The plain loop with the weights of the reference variant: the same network."""
    assert isinstance(module, ReferenceSaluki)
    plain = PlainSaluki()
    blocks = [module.entry_block, *module.mid_blocks]
    recurrent, dense = module.gru_block, module.dense_block
    parts: dict[nn.Module, nn.Module] = {
        **{plain.convolutions[i]: block.conv for i, block in enumerate(blocks)},
        **{plain.norms[i]: block.layernorm for i, block in enumerate(blocks)},
        plain.gru: recurrent.gru,
        plain.head[0]: recurrent.batch_norm,
        plain.head[2]: dense.l1,
        plain.head[4]: dense.batch_norm,
        plain.head[6]: dense.l2,
    }
    for part, trained in parts.items():
        part.load_state_dict(trained.state_dict())
    return plain.eval()


def fastest(work: Callable[[], object], rounds: int = 3) -> float:
    """CPU seconds of the fastest of some rounds, after one for free."""
    times = []
    for _ in range(rounds + 1):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times[1:])


def seconds_per_token(model: SavedModel, encoded: Encoded, edit: Any, rounds: int = 3) -> float:
    """CPU seconds to a token of all scores of a sequence, checks included."""
    plan = make_planner(InterpretConfig(edit=edit), model.tokenizer)
    stack = CheckedStack(model)
    found: list[Scores] = []
    seconds = fastest(
        lambda: found.append(score_sequence(model, encoded, plan, stack=stack)), rounds
    )
    assert not any(scores.redone for scores in found)
    return seconds / len(found[0].positions)


def saluki() -> dict[str, float]:
    """Both variants against the plain loop; differences from it over edits of every sequence."""
    tokenizer = letters_tokenizer()
    models = {
        variant: make_model("saluki", {"variant": variant}, tokenizer, BLOCK_SIZE)
        for variant in ("reference", "default")
    }
    plain = plain_twin(models["reference"].module)
    sequences = {length: random_sequence(tokenizer, length) for length in SALUKI}
    naive: dict[int, float] = {}
    for length, encoded in sequences.items():
        ids = torch.from_numpy(encoded.token_ids.astype(np.int64))[None]
        with torch.inference_mode():
            naive[length] = fastest(lambda ids=ids: plain(ids, torch.tensor([ids.shape[1]])), 8)
        print(f"padded pass, {length} tokens: {1e3 * naive[length]:.1f} ms", file=sys.stderr)
    keep_freed_memory()
    found: dict[str, float] = {}
    for length, encoded in sequences.items():
        for variant, model in models.items():
            for edit in EDITS:
                seconds = seconds_per_token(model, encoded, edit)
                found[f"{variant}_{edit}_{length}"] = naive[length] / seconds
                print(f"{variant} {edit} {length}: {1 / seconds:.0f} tokens/s", file=sys.stderr)
    return found


def differences() -> dict[str, float]:
    """The largest difference from the plain padded pass, as a share of what is allowed."""
    tokenizer = letters_tokenizer()
    found: dict[str, float] = {}
    for dtype, name, allowed in ((torch.float32, "fp32", 1e-5), (torch.float64, "fp64", 1e-9)):
        model = make_model("saluki", {"variant": "reference"}, tokenizer, BLOCK_SIZE)
        model.module.to(dtype)
        plain = plain_twin(model.module).to(dtype)
        worst = 0.0
        for length in (65, 1_000, 3_000):
            encoded = random_sequence(tokenizer, length)
            for edit in EDITS:
                worst = max(worst, _from_plain(model, plain, encoded, edit))
        print(f"largest difference, {name}: {worst:.1e}", file=sys.stderr)
        found[f"difference_{name}"] = worst / allowed
    return found


def _from_plain(model: SavedModel, plain: PlainSaluki, encoded: Encoded, edit: Any) -> float:
    plan = make_planner(InterpretConfig(edit=edit), model.tokenizer)
    scores = score_sequence(model, encoded, plan)
    edits = plan(source_of(encoded, model))
    rows = np.unique(np.linspace(0, len(edits.positions) - 1, NUM_PASSES).astype(int))
    batch = frame_variants(build_variants(edits, rows), model.framing)
    with torch.inference_mode():
        outputs = [plain(ids[None], torch.tensor([len(ids)])) for ids in batch.token_ids]
    full = torch.cat(outputs).double().numpy()
    return float(np.abs(scores.loo[rows] + scores.original - full).max())


def bert() -> dict[str, float]:
    """BERT against what a plain script does: the library's own model, an edit padded to 512.

    The rival is called with its attention mask in four ways, all printed: with eager or fused
    (sdpa) attention, one edit or eight at a time. Goals are against eager attention in batches of
    eight, the attention that scripts for such models had; of the four it is the slowest. The rows
    without a goal are against the fused one in such batches, which the library takes by default.
    """
    tokenizer = words_tokenizer()
    model = make_model("huggingface", BERT, tokenizer, BERT_BLOCK)
    sequences = {length: random_sequence(tokenizer, length) for length in BERT_LENGTHS}
    rivals = {length: _padded_seconds(model, encoded) for length, encoded in sequences.items()}
    keep_freed_memory()
    found: dict[str, float] = {}
    for length, encoded in sequences.items():
        for edit in EDITS:
            seconds = seconds_per_token(model, encoded, edit, rounds=2)
            found[f"bert_{edit}_{length}"] = rivals[length]["eager", RIVAL_BATCH] / seconds
            found[f"bert_{edit}_{length}_fused"] = rivals[length]["sdpa", RIVAL_BATCH] / seconds
            print(f"bert {edit} {length}: {1e3 * seconds:.1f} ms to a score", file=sys.stderr)
    return found


def _padded_seconds(model: SavedModel, encoded: Encoded) -> dict[tuple[str, int], float]:
    """CPU seconds to a padded sequence, by attention and size of the batch."""
    network: Any = model.module.network
    length, pad_id = len(encoded.token_ids), model.framing.pad_id
    ids = torch.full((RIVAL_BATCH, BERT_BLOCK), pad_id)
    ids[:, :length] = torch.from_numpy(encoded.token_ids.astype(np.int64))
    mask = (ids != pad_id).long()
    found: dict[tuple[str, int], float] = {}
    for attention in ("eager", "sdpa"):
        network.set_attn_implementation(attention)
        for num_rows in (1, RIVAL_BATCH):
            inputs = {"input_ids": ids[:num_rows], "attention_mask": mask[:num_rows]}
            with torch.inference_mode():
                seconds = fastest(lambda inputs=inputs: network(**inputs), rounds=6) / num_rows
            found[attention, num_rows] = seconds
            print(
                f"rival, {length} tokens padded to {BERT_BLOCK}, {attention}, batches of "
                f"{num_rows}: {1e3 * seconds:.1f} ms to a score",
                file=sys.stderr,
            )
    return found


def workers() -> dict[str, float]:
    """`interpret` on 200 new transcripts, with a model that has seen a few others.

    Every run is as on a laptop: it starts a Ray of its own. The fastest of five of each kind, in
    turns, since the speed of a machine may change.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "transcripts.tsv"
        lines = list(_transcripts())
        data.write_text("\n".join(lines[NUM_SEQUENCES:]), encoding="utf-8")
        new = data.with_stem("new")
        new.write_text("\n".join(lines[:NUM_SEQUENCES]), encoding="utf-8")
        settings = {
            "task": "regression",
            "filepath": str(data),
            "outputpath": f"{folder}/out",
            "tokensep": ",",
            "idpos": 1,
            "seqpos": 3,
            "labelpos": 2,
            "blocksize": BLOCK_SIZE,
            "nepochs": 1,
            "ngpus": 0,
            "silent": True,
        }
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1")
        biolm_ray.finetune(load_config(None, "fine-tune", settings))
        settings["filepath"] = str(new)
        runs = [_scoring_seconds(settings, number) for number in (1, 2) * 5]
    one, two = np.min(runs[::2], axis=0), np.min(runs[1::2], axis=0)
    return {"two_workers": one[0] / two[0], "two_workers_whole": one[1] / two[1]}


def _scoring_seconds(settings: dict[str, Any], num_workers: int) -> tuple[float, float]:
    """Seconds of scoring, the start of the workers included, and of the whole command."""
    more = {"handletokens": "remove", "interpret.num_workers": num_workers}
    config = load_config(
        None, "interpret", {**settings, **more, "outputpath": settings["outputpath"]}
    )
    started = time.monotonic()
    result = biolm_ray.interpret(config)
    whole = time.monotonic() - started
    scoring = result.tables[0].seconds
    print(f"{num_workers} workers: {scoring:.1f} s of {whole:.1f} s", file=sys.stderr)
    return scoring, whole


def _transcripts() -> Iterator[str]:
    random = np.random.default_rng(1)
    for row in range(NUM_SEQUENCES + NUM_SEEN):
        letters = random.choice(list("acgt"), random.integers(2_000, 6_000))
        yield f"t{row}\t{random.normal():.3f}\t{','.join(letters)}"


MEASURES = {
    "saluki": saluki,
    "differences": differences,
    "bert": bert,
    "workers": workers,
}


if __name__ == "__main__":
    take_measures(__doc__, MEASURES, TABLE)
