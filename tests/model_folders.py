"""Small model folders of every kind that we read, and what predicts with each."""

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from cards import older_card
from damaged import (
    Damage,
    changed,
    file_damages,
    json_damages,
    old_weights_damages,
    vocabulary_damages,
    weights_damages,
)
from sklearn.preprocessing import StandardScaler

from biolm_ray.config.schema import Config, PreprocessingConfig
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.experiment.setup import choose_model, known_tokenizer
from biolm_ray.models.batches import collate, crop
from biolm_ray.models.card import ModelCard
from biolm_ray.models.registry import find_model, find_spec, read_options
from biolm_ray.models.saved import load_model, save_model
from biolm_ray.models.spec import ModelInputs
from biolm_ray.tokenization import document
from biolm_ray.tokenization.settings import SPECIAL_TOKENS, TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.training.evaluate import to_predictions
from biolm_ray.training.fold import build_model, model_inputs

VOCABULARY = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *"ACGTN"))}
SETTINGS = TokenizerSettings(encoding="atomic", center_token="N")
TOKENIZER = Tokenizer(SETTINGS, document.word_model(VOCABULARY))
PREPROCESSING = PreprocessingConfig(block_size=40, cut_side="left", center_token="N")
TEXTS = ["ACGTNACGTTTACG", "GGGT", "ACGTACGTACNGTTTTTGACGAAACGTACGTACNGTTTTTGACGAAACGT"]
ONE = Targets(task="regression", scaler=Scaler(kind="standard", center=2.0, spread=3.0))
TWO = Targets(
    task="regression",
    scaler=(Scaler(kind="log", center=0.5, spread=0.25), Scaler(kind="none")),
    names=("half_life", "other"),
)
CLASSES = Targets(task="classification", classes=("cyt", "mem", "nuc"))
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


def own_model(folder: Path, name: str = "saluki", targets: Targets | None = ONE) -> Path:
    """Write a model folder of today; without targets, one of a language model."""
    torch.manual_seed(0)
    spec, num_outputs = find_spec(name), 1 if targets is None else targets.num_outputs
    inputs = ModelInputs(
        vocabulary_size=len(VOCABULARY),
        special_ids=TOKENIZER.special_ids,
        num_outputs=num_outputs,
        block_size=PREPROCESSING.block_size,
    )
    build = spec.build
    if targets is None:
        assert spec.pretraining is not None
        build = spec.pretraining.build
    card = ModelCard(
        model=name,
        options=TINY[name],
        inputs=inputs,
        task=None if targets is None else targets.task,
        targets=targets or Targets(task="regression", scaler=Scaler(kind="none")),
        preprocessing=PREPROCESSING,
        fold=None if targets is None else 3,
    )
    module = build(read_options(spec, TINY[name]), inputs)
    save_model(folder, module, card, TOKENIZER)
    return folder


def older_model(folder: Path) -> Path:
    """Write a model folder as it was before cards had a version."""
    return older_card(own_model(folder))


def reference_saluki(folder: Path) -> Path:
    """Write a folder as the reference system does."""
    torch.manual_seed(0)
    spec = find_spec("saluki")
    options = {"variant": "reference", "padding": "blocksize", **TINY["saluki"]}
    inputs = ModelInputs(
        vocabulary_size=len(VOCABULARY), special_ids=TOKENIZER.special_ids, block_size=40
    )
    module = spec.build(read_options(spec, options), inputs)
    folder.mkdir(parents=True)
    weights = {f"model.{name}": value for name, value in module.state_dict().items()}
    torch.save(weights, folder / "pytorch_model.bin")
    config = {"model_type": "bert", "input_size": len(VOCABULARY), "id2label": {"0": "LABEL_0"}}
    (folder / "config.json").write_text(json.dumps(config))
    TOKENIZER.save(folder)
    (folder / "tokenization.json").unlink()
    scaler = StandardScaler().fit(np.array([[1.0], [4.0], [10.0]]))
    (folder / "scaler.pkl").write_bytes(pickle.dumps(scaler))
    return folder


def reference_xlnet(folder: Path) -> Path:
    """Write a folder of a classifier as the reference system does, with two added tokens."""
    torch.manual_seed(0)
    spec = find_spec("xlnet")
    added = [
        {"id": len(VOCABULARY) + index, "content": content, "special": True}
        for index, content in enumerate(("<eop>", "<eod>"))
    ]
    inputs = ModelInputs(
        vocabulary_size=len(VOCABULARY) + len(added),
        special_ids=TOKENIZER.special_ids,
        num_outputs=2,
        block_size=40,
    )
    module: Any = spec.build(read_options(spec, TINY["xlnet"]), inputs)
    module.network.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(module.network.state_dict(), folder / "pytorch_model.bin")
    TOKENIZER.save(folder)
    (folder / "tokenization.json").unlink()
    written = json.loads((folder / "tokenizer.json").read_text())
    written["added_tokens"] += added
    (folder / "tokenizer.json").write_text(json.dumps(written))
    return folder


def checkpoint(folder: Path) -> Path:
    """Write a plain Hugging Face checkpoint with a tokenizer."""
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(0)
    spec = find_spec("huggingface")
    inputs = ModelInputs(
        vocabulary_size=len(VOCABULARY), special_ids=TOKENIZER.special_ids, block_size=40
    )
    module: Any = spec.build(read_options(spec, TINY["huggingface"]), inputs)
    module.network.save_pretrained(folder)
    TOKENIZER.save(folder)
    (folder / "tokenization.json").unlink()
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "PAD", "CLS", "SEP", "MASK")}
    wrapped = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names)
    wrapped.save_pretrained(folder)
    return folder


def predictions(folder: Path) -> Any:
    """Predict some texts, as the command does."""
    model = load_model(folder, preprocessing=None)
    return _predicted(model)


def predictions_of_reference(folder: Path) -> Any:
    """Predict some texts; how they are read and cut comes from the configuration."""
    return _predicted(load_model(folder, preprocessing=PREPROCESSING, settings=SETTINGS))


def _predicted(model: Any) -> Any:
    rows = [crop(encoded, model.framing) for encoded in model.tokenizer.encode(TEXTS)]
    batch = collate(rows, model.framing)
    with torch.inference_mode():
        outputs = model.module(batch.token_ids, batch.lengths, batch.specifiers).numpy()
    targets = model.card.targets
    return {
        "values": to_predictions(outputs, targets),
        "classes": list(targets.classes or ()),
        "suffixes": list(targets.suffixes),
        "tokens": [model.tokenizer.tokens(token_ids) for token_ids, _ in rows],
    }


def started_from(folder: Path) -> Any:
    """What a fine-tuning begins with that is given a pre-trained model."""
    config = Config.model_validate(
        {
            "mode": "fine-tune",
            "output_path": str(folder / "output"),
            "data": {"path": "x"},
            "model": {"pretrained": str(folder)},
            "preprocessing": {"block_size": 40},
            "task": "regression",
        }
    )
    config = choose_model(config, folder)
    tokenizer = known_tokenizer(config, folder)
    assert tokenizer is not None
    spec, options = find_model(config.model)
    settings: Any = SimpleNamespace(seed=1, fold=0)
    module = build_model(spec, options, model_inputs(config, tokenizer, 0), settings, folder)
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    ids = [encoded.token_ids for encoded in tokenizer.encode(TEXTS)]
    return {"state": state, "ids": ids}


@dataclass(frozen=True)
class Kind:
    """A kind of model folder.

    Attributes:
        write: Makes one.
        use: What one is used for.
    """

    write: Callable[[Path], Path]
    use: Callable[[Path], Any]


KINDS = {
    "one target": Kind(own_model, predictions),
    "two targets": Kind(lambda folder: own_model(folder, targets=TWO), predictions),
    "classes": Kind(lambda folder: own_model(folder, targets=CLASSES), predictions),
    "before versions": Kind(older_model, predictions),
    "bert": Kind(lambda folder: own_model(folder, "huggingface"), predictions),
    "xlnet": Kind(lambda folder: own_model(folder, "xlnet"), predictions),
    "reference saluki": Kind(reference_saluki, predictions_of_reference),
    "reference xlnet": Kind(reference_xlnet, predictions_of_reference),
    "language model": Kind(lambda folder: own_model(folder, "xlnet", None), started_from),
    "checkpoint": Kind(checkpoint, started_from),
}


def damages_of(folder: Path) -> Iterator[Damage]:
    """All that can befall a model folder."""
    for path in sorted(folder.iterdir()):
        for damage in file_damages(path.name):
            # There are models of the reference system without one; a warning tells of it.
            is_known = damage.name == "scaler.pkl: missing"
            yield replace(damage, is_edit=True) if is_known else damage
        if path.suffix == ".json":
            yield from json_damages(path.name, json.loads(path.read_text()))
    if (folder / "model.safetensors").is_file():
        yield from weights_damages(folder / "model.safetensors")
    if (folder / "pytorch_model.bin").is_file():
        weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
        yield from old_weights_damages("pytorch_model.bin", weights)
    yield from vocabulary_damages(
        "tokenizer.json", json.loads((folder / "tokenizer.json").read_text())
    )
    yield from _card_damages(folder)


def _card_damages(folder: Path) -> Iterator[Damage]:
    card = json.loads((folder / "config.json").read_text())
    if "inputs" not in card:
        return

    def damage(what: str, *steps: str, value: Any) -> Damage:
        text = json.dumps(changed(card, steps, value))
        return Damage(
            f"config.json: {what}",
            lambda place: (place / "config.json").write_text(text),
            is_edit=True,
        )

    none, standard = {"kind": "none"}, {"kind": "standard", "center": 1.0, "spread": 2.0}
    for what, scaler in {
        "missing": None,
        "of a list": [none],
        "of one too many": [none, none, none],
        "of no entry": [],
        "spread 0": {**standard, "spread": 0},
        "spread negative": {**standard, "spread": -1.0},
        "spread of a text": {**standard, "spread": "2"},
        "of a kind that is unknown": {"kind": "cube"},
    }.items():
        yield damage(f"scaler {what}", "targets", "scaler", value=scaler)
    for what, classes in {
        "none": [],
        "one": ["a"],
        "twice the same": ["a", "a", "b"],
        "two": ["a", "b"],
        "four": ["a", "b", "c", "d"],
        "with an empty name": ["a", "", "b"],
        "of numbers": [1, 2, 3],
        "missing": None,
    }.items():
        yield damage(f"classes {what}", "targets", "classes", value=classes)
    yield damage("another task", "task", value="classification")
    yield damage("another task of the targets", "targets", "task", value="classification")
    yield damage("names of one more", "targets", "names", value=["a", "b", "c"])
    yield damage("names twice the same", "targets", "names", value=["a", "a"])
    for name in ("../../etc", "a/b", "", "a\nb"):
        yield damage(f"a target called {name!r}", "targets", "names", value=["a", name])
    for special in ({}, {"[PAD]": 1}, {"[PAD]": 5}, {"[PAD]": 2**40}, {"[PAD]": -1}, {"x": 0}):
        yield damage(f"special ids {special}", "inputs", "special_ids", value=special)
    for size in (11, 13, 2**40):
        yield damage(f"vocabulary of {size}", "inputs", "vocabulary_size", value=size)
    for number in (0, 2, 5):
        yield damage(f"{number} outputs", "inputs", "num_outputs", value=number)
        yield damage(f"{number} specifiers", "inputs", "num_specifiers", value=number)
    yield damage("another model", "model", value="xlnet")
    yield damage("an unknown model", "model", value="nothing")
    yield damage("other block sizes", "inputs", "block_size", value=39)
    yield damage("another cut", "preprocessing", "cut_side", value="right")
    yield damage("no centre token", "preprocessing", "center_token", value=None)
