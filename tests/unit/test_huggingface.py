import json
from itertools import product

import numpy as np
import pytest
import torch

from biolm_ray.errors import ConfigError
from biolm_ray.models.batches import Framing, collate
from biolm_ray.models.checkpoint_tokenizer import checkpoint_tokenizer
from biolm_ray.models.corruption import IGNORED, mask_tokens
from biolm_ray.models.huggingface import SPEC, HuggingFaceOptions
from biolm_ray.models.registry import read_options
from biolm_ray.models.spec import ModelInputs
from biolm_ray.tokenization.settings import TokenizerSettings

SPECIALS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "[BOS]": 5, "[EOS]": 6}
INPUTS = ModelInputs(vocabulary_size=11, special_ids=SPECIALS, block_size=24)
FRAMING = Framing(prefix_ids=(2,), suffix_ids=(3,), pad_id=1, block_size=24)
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
ARCHITECTURES = ("bert", "esm", "modernbert", "roformer")
BATCH = collate([(np.array([7, 8, 9, 10] * 5), None), (np.array([8, 9]), None)], FRAMING)
assert SPEC.pretraining is not None
PRETRAINING = SPEC.pretraining


def _options(**settings):
    return read_options(SPEC, {"config": SIZES, **settings})


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny ESM with a masked-LM head and its own amino-acid vocabulary."""
    from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWC", "<mask>"]
    vocabulary_file = tmp_path / "vocab.txt"
    vocabulary_file.write_text("\n".join(tokens))
    folder = tmp_path / "checkpoint"
    EsmTokenizer(str(vocabulary_file)).save_pretrained(folder)
    config = EsmConfig(
        vocab_size=len(tokens),
        pad_token_id=1,
        mask_token_id=len(tokens) - 1,
        position_embedding_type="rotary",
        max_position_embeddings=64,
        **SIZES,
    )
    torch.manual_seed(0)
    EsmForMaskedLM(config).save_pretrained(folder)
    return str(folder)


def _inputs_of(tokenizer):
    return ModelInputs(
        vocabulary_size=len(tokenizer.vocabulary),
        special_ids=tokenizer.special_ids,
        block_size=24,
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_is_built_by_its_sizes_and_rebuilt_from_what_is_saved(architecture):
    torch.manual_seed(0)
    options = _options(architecture=architecture)
    module = SPEC.build(options, INPUTS).eval()
    saved = json.loads(json.dumps(SPEC.saved_options(options, module)))
    again = SPEC.build(read_options(SPEC, saved), INPUTS).eval()
    again.load_state_dict(module.state_dict())
    expected = module(BATCH.token_ids, BATCH.lengths)
    assert expected.shape == (2, 1)
    assert torch.equal(again(BATCH.token_ids, BATCH.lengths), expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fine_tuning_takes_over_the_pre_trained_encoder(architecture):
    options = _options(architecture=architecture)
    language_model = PRETRAINING.build(options, INPUTS)
    loss, count = PRETRAINING.loss(language_model, BATCH, INPUTS, torch.Generator())
    assert abs(loss.item() / count - np.log(11)) < 0.5
    module = SPEC.build(options, INPUTS)
    fresh = SPEC.load_pretrained(module, language_model.state_dict())
    assert 0 < len(fresh) <= 4
    assert all("classifier" in name or "pooler" in name for name in fresh)


def test_masking_hides_15_percent_and_leaves_special_tokens_alone():
    token_ids = torch.randint(7, 11, (100, 200), generator=torch.Generator().manual_seed(1))
    is_special = torch.zeros_like(token_ids, dtype=torch.bool)
    is_special[:, 0] = True
    corrupted, labels = mask_tokens(
        token_ids,
        is_special,
        mask_id=4,
        ordinary_ids=torch.arange(7, 11),
        generator=torch.Generator().manual_seed(0),
    )
    chosen = labels != IGNORED
    assert 0.14 < chosen[:, 1:].float().mean() < 0.16
    assert not chosen[:, 0].any()
    assert torch.equal(corrupted[~chosen], token_ids[~chosen])
    assert torch.equal(labels[chosen], token_ids[chosen])
    assert 0.77 < (corrupted[chosen] == 4).float().mean() < 0.83


def test_masking_chooses_at_least_one_token_of_every_row():
    is_special = torch.tensor([[True, False, True]] * 30)
    token_ids = torch.tensor([[2, 8, 3]] * 30)
    _, labels = mask_tokens(
        token_ids,
        is_special,
        mask_id=4,
        ordinary_ids=torch.arange(7, 11),
        generator=torch.Generator(),
    )
    assert labels.tolist() == [[IGNORED, 8, IGNORED]] * 30


def test_a_checkpoint_gives_its_weights_and_its_vocabulary(checkpoint):
    options = HuggingFaceOptions(checkpoint=checkpoint)
    assert SPEC.tokenizer_folder(options) == checkpoint
    tokenizer = checkpoint_tokenizer(checkpoint, TokenizerSettings(encoding="bpe"))
    assert tokenizer.encoding == "atomic"
    assert tokenizer.special_ids == {
        "[UNK]": 3,
        "[PAD]": 1,
        "[CLS]": 0,
        "[SEP]": 2,
        "[MASK]": 24,
    }
    assert tokenizer.encode(["LAG?"])[0].token_ids.tolist() == [4, 5, 6, 3]
    module = SPEC.build(options, _inputs_of(tokenizer))
    language_model = PRETRAINING.build(options, _inputs_of(tokenizer))
    name = "network.esm.embeddings.word_embeddings.weight"
    assert torch.equal(module.state_dict()[name], language_model.state_dict()[name])


def test_a_checkpoint_is_not_needed_once_the_model_is_saved(checkpoint):
    options = HuggingFaceOptions(checkpoint=checkpoint)
    tokenizer = checkpoint_tokenizer(checkpoint, TokenizerSettings(encoding="atomic"))
    saved = SPEC.saved_options(options, SPEC.build(options, _inputs_of(tokenizer)))
    assert saved["architecture"] == "esm"
    assert "checkpoint" not in saved
    again = SPEC.build(read_options(SPEC, saved), _inputs_of(tokenizer))
    assert isinstance(again, torch.nn.Module)


def test_own_vocabulary_keeps_the_layers_and_learns_the_embeddings_anew(checkpoint):
    from transformers import AutoModelForMaskedLM

    options = HuggingFaceOptions(checkpoint=checkpoint, tokenizer="own")
    assert SPEC.tokenizer_folder(options) is None
    module = SPEC.build(options, INPUTS)
    state = module.state_dict()
    stored = AutoModelForMaskedLM.from_pretrained(checkpoint).state_dict()
    assert state["network.esm.embeddings.word_embeddings.weight"].shape == (11, 16)
    layer = "esm.encoder.layer.1.output.dense.weight"
    assert torch.equal(state[f"network.{layer}"], stored[layer])


def test_ids_of_another_tokenizer_than_the_checkpoint_s_are_refused(checkpoint):
    options = HuggingFaceOptions(checkpoint=checkpoint)
    with pytest.raises(ConfigError, match="mask_token_id is 24 in checkpoint"):
        SPEC.build(options, INPUTS)


def test_sizes_that_contradict_a_checkpoint_are_refused(checkpoint):
    options = HuggingFaceOptions(
        checkpoint=checkpoint, tokenizer="own", config={"intermediate_size": 48}
    )
    with pytest.raises(ConfigError, match="leave the sizes to the checkpoint"):
        SPEC.build(options, INPUTS)


def _kmer_checkpoint(folder, *more):
    """A tokenizer of BERT's kind with all 3-mers, and perhaps shorter words."""
    from transformers import BertTokenizer

    kmers = ["".join(letters) for letters in product("ACGT", repeat=3)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *kmers, *more]
    file = folder / "vocab.txt"
    file.write_text("\n".join(vocabulary))
    BertTokenizer(str(file), do_lower_case=False).save_pretrained(folder)
    return str(folder)


def test_kmers_that_overlap_are_refused_by_name(tmp_path):
    source = _kmer_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=r"has 3-mers and nothing shorter, as DNABERT's, which"):
        checkpoint_tokenizer(source, TokenizerSettings(encoding="atomic"))


def test_kmers_with_letters_for_what_is_left_over_follow_each_other(tmp_path):
    source = _kmer_checkpoint(tmp_path, *"ACGT")
    tokenizer = checkpoint_tokenizer(source, TokenizerSettings(encoding="atomic"))
    assert tokenizer.encoding == "3mer"
    assert tokenizer.tokens(tokenizer.encode(["ACGTTTA"])[0].token_ids) == ["ACG", "TTT", "A"]


def test_a_byte_level_bpe_tokenizer_is_taken_over(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    trainer = trainers.BpeTrainer(vocab_size=40, special_tokens=[*names.values(), "<mask>"])
    trained.train_from_iterator(["ACGTACGTAC", "ACGACGACG"], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=trained, cls_token="<s>", sep_token="</s>", mask_token="<mask>", **names
    ).save_pretrained(tmp_path)
    tokenizer = checkpoint_tokenizer(str(tmp_path), TokenizerSettings(encoding="atomic"))
    assert tokenizer.encoding == "bpe"
    assert (tokenizer.special_ids["[CLS]"], tokenizer.special_ids["[SEP]"]) == (0, 1)
    expected = trained.encode("ACGTACGA").ids
    assert tokenizer.encode(["ACGTACGA"])[0].token_ids.tolist() == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "nonsense"}, "Unrecognized model identifier: nonsense"),
        ({"architecture": "clip", "config": {}}, "cannot be built with the head"),
        (
            {"architecture": "bert", "config": {**SIZES, "hidden_sizes": 8}},
            "bert has no setting 'hidden_sizes'; did you mean 'hidden_size'",
        ),
        ({"architecture": "bert", "config": {"hidden_size": "x"}}, "'hidden_size'"),
        (
            {"architecture": "bert", "config": {**SIZES, "max_position_embeddings": 20}},
            "blocksize 24 is longer than the 20 positions of bert",
        ),
        (
            {"architecture": "roberta", "config": {**SIZES, "max_position_embeddings": 25}},
            "blocksize 24 is longer than the 23 positions of roberta",
        ),
        ({"checkpoint": "./nowhere/at/all"}, "there is no such folder"),
    ],
)
def test_what_cannot_be_built_is_refused_in_words(settings, message):
    with pytest.raises(ConfigError, match=message):
        SPEC.build(read_options(SPEC, settings), INPUTS)


def test_a_hub_that_cannot_be_reached_is_told_in_a_sentence(monkeypatch):
    from transformers import AutoConfig

    def offline(*args, **settings):
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(AutoConfig, "from_pretrained", offline)
    with pytest.raises(ConfigError, match="checkpoint some/model is neither a folder") as caught:
        SPEC.build(HuggingFaceOptions(checkpoint="some/model"), INPUTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"checkpoint": "a", "architecture": "bert"}])
def test_exactly_one_source_is_needed(options):
    with pytest.raises(ConfigError, match="set either checkpoint or architecture"):
        read_options(SPEC, options)


def test_specifiers_are_refused():
    inputs = INPUTS.model_copy(update={"num_specifiers": 1})
    with pytest.raises(ConfigError, match="takes no specifier values"):
        SPEC.build(_options(architecture="bert"), inputs)
