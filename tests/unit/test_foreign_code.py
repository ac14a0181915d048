"""Data is never code: nothing runs because a model, a checkpoint or results name it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from cards import older_card

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config, ModelConfig, TrustedCode
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.experiment.setup import choose_model
from biolm_ray.models.card import ModelCard, read_card
from biolm_ray.models.checkpoint_tokenizer import checkpoint_tokenizer
from biolm_ray.models.registry import find_model, find_spec, read_options
from biolm_ray.models.saved import load_model, save_model
from biolm_ray.models.spec import ModelInputs
from biolm_ray.tokenization import document
from biolm_ray.tokenization.settings import SPECIAL_TOKENS, TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer

EXAMPLE = Path(__file__).parents[2] / "examples/mean_pool_plugin.py"
VOCABULARY = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *"ACGT"))}
TOKENIZER = Tokenizer(TokenizerSettings(encoding="atomic"), document.word_model(VOCABULARY))
INPUTS = ModelInputs(vocabulary_size=11, special_ids=TOKENIZER.special_ids, block_size=40)
DATA = {"path": "rows.tsv", "sequence_column": 2, "label_column": 3}


def mark(marker: Path) -> str:
    """Code that leaves a trace."""
    return f"\n__import__('pathlib').Path({str(marker)!r}).touch()\n"


@pytest.fixture
def marker(tmp_path) -> Path:
    """A file that hostile code would write."""
    return tmp_path / "code-has-run"


@pytest.fixture
def plugin(tmp_path, marker) -> Path:
    """The example, which besides says when it is run."""
    path = tmp_path / "code" / "mean_pool.py"
    path.parent.mkdir()
    path.write_text(EXAMPLE.read_text() + mark(marker))
    return path


@pytest.fixture
def model(tmp_path, plugin, marker) -> Path:
    """A folder of a model that came from the plugin."""
    folder = tmp_path / "received" / "model"
    spec = find_spec(None, str(plugin))
    module = spec.build(read_options(spec, {}), INPUTS)
    card = ModelCard(model=spec.name, inputs=INPUTS, task="regression")
    save_model(folder, module, card, TOKENIZER, str(plugin))
    marker.unlink()
    return folder


def test_a_card_keeps_name_and_content_of_its_plugin_but_not_where_it_lay(model, plugin):
    written = json.loads((model / "config.json").read_text())["plugin"]
    assert written["name"] == "mean_pool.py"
    assert len(written["sha256"]) == 64
    assert str(plugin.parent) not in (model / "config.json").read_text()


@pytest.mark.parametrize("as_older_card", [False, True])
def test_a_plugin_named_by_a_model_folder_is_asked_for_and_not_run(
    model, plugin, marker, monkeypatch, as_older_card
):
    changed = plugin.with_name("evil.py")  # a file that no earlier import can stand for
    shutil.copy(plugin, changed)
    older_card(model, plugin=str(changed) if as_older_card else {"name": str(changed)})
    monkeypatch.chdir(changed.parent)
    with pytest.raises(ConfigError, match=r"needs --plugin .*evil\.py.*no code is run"):
        load_model(model)
    config = Config(mode="fine-tune", output_path="out", data=DATA)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"needs --plugin .*evil\.py"):
        choose_model(config, model)
    assert not marker.exists()


def test_a_module_named_by_a_card_is_not_imported(model, tmp_path, marker, monkeypatch):
    (tmp_path / "innocent.py").write_text(mark(marker))
    monkeypatch.syspath_prepend(tmp_path)
    older_card(model, plugin={"name": "innocent"})
    with pytest.raises(ConfigError, match="needs --plugin innocent"):
        load_model(model)
    assert not marker.exists()


def test_with_its_plugin_given_a_model_loads_and_another_content_is_told(model, plugin, caplog):
    trusted = TrustedCode(plugin=str(plugin))
    assert load_model(model, trusted=trusted).spec.name == "mean_pool"
    assert not caplog.messages
    plugin.write_text(plugin.read_text() + "# changed\n")
    load_model(model, trusted=trusted)
    assert "is not the one that" in caplog.text


def test_an_installed_model_of_the_same_name_does_not_stand_in_for_a_plugin(model):
    older_card(model, model="saluki")
    with pytest.raises(ConfigError, match=r"needs --plugin mean_pool\.py \(SHA-256 \w{64}\)"):
        load_model(model)


def test_a_plugin_does_not_stand_in_for_the_installed_model_of_a_folder(
    model, plugin, tmp_path, caplog
):
    spec = find_spec("saluki")
    options = {"channels": 4, "num_layers": 2}
    module = spec.build(read_options(spec, options), INPUTS)
    card = ModelCard(model="saluki", options=options, inputs=INPUTS, task="regression")
    save_model(tmp_path / "installed", module, card, TOKENIZER)
    other = plugin.with_name("other.py")
    other.write_text(plugin.read_text().replace('name="mean_pool"', 'name="saluki"'))
    trusted = TrustedCode(plugin=str(other))
    assert load_model(tmp_path / "installed", trusted=trusted).spec is spec
    assert "is the installed one" in caplog.text


SETTINGS = """\
data: {path: rows.tsv, sequence_column: 2, label_column: 3}
task: regression
outputpath: out
model: {%s}
"""
PLACES = (
    "experiment/fine-tune/config.yaml",
    "experiment/tune/best_config.yaml",
    "experiment/config.yaml",
    "experiment/fine-tune/0/deep/config.yaml",
    "model/run.yaml",
)


@pytest.fixture
def results(tmp_path) -> Path:
    """What somebody may send: an experiment, and a model by itself."""
    for folder in ("experiment/fine-tune/0/deep", "experiment/tune", "model"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("experiment/fine-tune/0", "model"):
        (tmp_path / folder / "model.safetensors").touch()
    return tmp_path


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ("plugin: evil.py", "--plugin evil.py"),
        ("trust_remote_code: true", "--set model.trust_remote_code=true"),
    ],
)
def test_a_configuration_among_results_names_no_code(results, place, settings, remedy):
    (results / place).write_text(SETTINGS % settings)
    with pytest.raises(ConfigError, match=f"line 4, .* folder of results .* give {remedy} on"):
        load_config(results / place, "fine-tune")


@pytest.mark.parametrize("place", PLACES)
def test_it_runs_with_the_code_given_on_the_command_line(results, place):
    (results / place).write_text(SETTINGS % "plugin: evil.py, trust_remote_code: true")
    given = {"model.plugin": "mine.py", "model.trust_remote_code": False}
    config = load_config(results / place, "fine-tune", given)
    assert config.model.trusted == TrustedCode(plugin="mine.py")


def test_a_link_to_a_configuration_among_results_names_no_code(results):
    (results / "experiment/fine-tune/config.yaml").write_text(SETTINGS % "plugin: evil.py")
    (results / "mine.yaml").symlink_to(results / "experiment/fine-tune/config.yaml")
    with pytest.raises(ConfigError, match="no code is run"):
        load_config(results / "mine.yaml", "fine-tune")


def test_a_configuration_of_ones_own_names_its_plugin(tmp_path):
    (tmp_path / "mine.yaml").write_text(SETTINGS % "plugin: mine.py")
    assert load_config(tmp_path / "mine.yaml", "fine-tune").model.plugin == "mine.py"


@pytest.mark.parametrize("name", ["model.plugin", "model.trust_remote_code"])
def test_what_code_runs_cannot_be_searched(tmp_path, name):
    text = SETTINGS % "name: saluki" + f"tune: {{space: {{{name}: [true, false]}}}}\n"
    (tmp_path / "tune.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"{name} decides what code runs"):
        load_config(tmp_path / "tune.yaml", "tune")


CONFIGURATION = """
from transformers import PretrainedConfig
{mark}
class StrangeConfig(PretrainedConfig):
    model_type = "strange"
    def __init__(self, hidden_size=8, vocab_size=11, num_labels=1, **more):
        super().__init__(num_labels=num_labels, **more)
        self.hidden_size, self.vocab_size = hidden_size, vocab_size
"""
MODELING = """
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from .configuration_strange import StrangeConfig
{mark}
class Strange(PreTrainedModel):
    config_class = StrangeConfig
    base_model_prefix = "strange"
    def __init__(self, config):
        super().__init__(config)
        self.strange = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.head = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()
    def get_input_embeddings(self):
        return self.strange
    def forward(self, input_ids, attention_mask=None):
        return SequenceClassifierOutput(logits=self.head(self.strange(input_ids).mean(1)))
"""


@pytest.fixture
def checkpoint(tmp_path, marker, monkeypatch) -> Path:
    """A checkpoint whose configuration, model and tokenizer are Python files that lie with it."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    # What runs the code when a question is asked and `yes` is piped in.
    monkeypatch.setattr("builtins.input", lambda *_: "yes")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    named = {
        "AutoConfig": "configuration_strange.StrangeConfig",
        "AutoModelForSequenceClassification": "modeling_strange.Strange",
        "AutoTokenizer": ["tokenization_strange.Strange", None],
    }
    config = {"model_type": "strange", "auto_map": named, "architectures": ["Strange"]}
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 8, "vocab_size": 11}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": named}))
    (folder / "configuration_strange.py").write_text(CONFIGURATION.format(mark=mark(marker)))
    (folder / "modeling_strange.py").write_text(MODELING.format(mark=mark(marker)))
    (folder / "tokenization_strange.py").write_text(mark(marker))
    return folder


def _config_of(checkpoint: Path, **more) -> ModelConfig:
    options = {"checkpoint": str(checkpoint), "tokenizer": "own"}
    return ModelConfig(name="huggingface", options=options, **more)


def test_code_of_a_checkpoint_is_not_run_even_where_yes_is_piped_in(checkpoint, marker):
    spec, options = find_model(_config_of(checkpoint))
    with pytest.raises(ConfigError, match=r"which are not run.*set model.trust_remote_code: true"):
        spec.build(options, INPUTS)
    with pytest.raises(ConfigError, match=r"tokenizer of .* which are not run"):
        checkpoint_tokenizer(str(checkpoint), TokenizerSettings(encoding="atomic"))
    assert not marker.exists()


def test_a_card_cannot_let_code_of_a_checkpoint_run(checkpoint, model, marker):
    options = {"checkpoint": str(checkpoint), "trust_remote_code": True}
    older_card(model, model="huggingface", plugin=None, options=options)
    with pytest.raises(DataError, match="trust_remote_code is no option of a model"):
        load_model(model)
    older_card(model, options={"checkpoint": str(checkpoint)})
    with pytest.raises(ConfigError, match="which are not run"):
        load_model(model)
    assert not marker.exists()


def test_an_attention_from_elsewhere_is_refused(tmp_path):
    config = {"model_type": "bert", "attn_implementation": "somebody/attention"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec, options = find_model(_config_of(tmp_path))
    with pytest.raises(ConfigError, match="attention of somebody/attention, which is code"):
        spec.build(options, INPUTS)


def test_code_of_a_checkpoint_runs_where_the_setting_says_so(checkpoint, tmp_path, marker):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    trust = {"trust_remote_code": True}
    config = AutoConfig.from_pretrained(checkpoint, **trust)
    network = AutoModelForSequenceClassification.from_config(config, **trust)
    network.save_pretrained(tmp_path / "weights")
    shutil.copy(tmp_path / "weights" / "model.safetensors", checkpoint)

    spec, options = find_model(_config_of(checkpoint, trust_remote_code=True))
    torch.manual_seed(0)
    module = spec.build(options, INPUTS).eval()
    assert type(module.network).__name__ == "Strange"
    card = ModelCard(
        model="huggingface", options=options.model_dump(), inputs=INPUTS, task="regression"
    )
    save_model(tmp_path / "tuned", module, card, TOKENIZER)
    saved = read_card(tmp_path / "tuned")
    assert saved is not None
    assert "trust_remote_code" not in saved.options
    loaded = load_model(tmp_path / "tuned", trusted=TrustedCode(remote_code=True))
    token_ids, lengths = torch.tensor([[7, 8, 9]]), torch.tensor([3])
    assert torch.equal(loaded.module(token_ids, lengths), module(token_ids, lengths))
    with pytest.raises(ConfigError, match="which are not run"):
        load_model(tmp_path / "tuned")


def test_trust_where_there_is_nothing_to_trust_is_refused():
    with pytest.raises(ConfigError, match="model saluki reads no checkpoint"):
        find_model(ModelConfig(name="saluki", trust_remote_code=True))
