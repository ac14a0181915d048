"""The configurations that users start from: all load, and the real data they name fits them."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

import biolm_ray
from biolm_ray import load_config
from biolm_ray.cli import main
from biolm_ray.demo.data import write_demo_data

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
REAL = [path for path in CONFIGS if "../shared/" in path.read_text()]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_loads(path: Path):
    config = load_config(path, "fine-tune", {"task": _task(path)})
    assert config.output_path


def _task(path: Path) -> str:
    return yaml.safe_load(path.read_text()).get("task", "regression")


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_data_is_read_as_its_configuration_says(path, shared, tmp_path, monkeypatch):
    monkeypatch.chdir(shared.parent / "main" if (shared.parent / "main").is_dir() else ROOT)
    changes = {"task": _task(path), "outputpath": tmp_path, "dev": 300, "getdata": True}
    result = biolm_ray.finetune(load_config(path, "fine-tune", changes))
    assert biolm_ray.stages.PreparedData.open(result.prepared).num_rows == 300


@pytest.mark.usefixtures("ray_cluster")
def test_the_file_in_the_style_of_the_reference_runs_through_its_modes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_demo_data(Path("demo.tsv"), num_rows=30)
    path = str(ROOT / "configs" / "reference_style.yaml")
    small = ["--nepochs", "1", "--batchsize", "8", "--set", "model.channels=4"]
    task = ["--task", "regression"]
    assert main(["tokenize", "--configfile", path]) == 0
    assert main(["fine-tune", "--configfile", path, *task, *small]) == 0
    assert main(["interpret", "--configfile", path, "--set", "interpret.folds=[0]"]) == 0
    new = ["--filepath", "demo.tsv", "--pretrainedmodel", "demo_experiment"]
    assert main(["predict", "--configfile", path, *new]) == 0
    assert Path("demo_experiment/fine-tune/0/loo_scores_remove.csv").exists()
    assert Path("demo_experiment/predict/test_predictions.csv").exists()


def readme_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.usefixtures("ray_cluster")
def test_the_commands_of_the_readme_run_on_its_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_demo_data(Path("half_lives.tsv"), num_rows=30)
    (experiment,) = [block for block in readme_blocks("yaml") if "outputpath" in block]
    Path("experiment.yaml").write_text(experiment)
    rows = Path("half_lives.tsv").read_text().splitlines()[1:4]
    fields = [row.split("\t") for row in rows]
    Path("new.tsv").write_text("".join(f"{f[0]}\t{f[3]}\n" for f in fields))
    (commands,) = [
        block
        for block in readme_blocks("bash")
        if "python -m biolm_ray fine" in block and "ray job" not in block
    ]
    small = ["--set", "model.channels=4", "--set", "model.num_layers=3"]
    fast = ["--set", "splits.num_folds=3", "--nepochs", "1", "--batchsize", "8"]
    ran = []
    for line in commands.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        if words[:3] == ["python", "-m", "biolm_ray"]:
            more = [*small, *fast] if words[3] == "fine-tune" else []
            assert main([*words[3:], *more]) == 0, line
            ran.append(words[3])
    assert ran == ["fine-tune", "interpret", "predict"]
