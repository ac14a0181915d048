"""What a look at files can find is told before Ray starts, and before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from biolm_ray import cli, stages
from biolm_ray.config.load import load_config
from biolm_ray.errors import BiolmError, ConfigError, DataError
from biolm_ray.experiment import runtime
from biolm_ray.preparation.first_look import look_at_paths

ROWS = "id\tsequence\tvalue\n" + "".join(f"g{row}\tacguacgu\t{row}\n" for row in range(9))
GIVEN = {"idpos": "id", "seqpos": "sequence", "labelpos": "value", "blocksize": 64}
RUN = {
    "fine-tune": stages.finetune,
    "pre-train": stages.pretrain,
    "predict": stages.predict,
    "interpret": stages.interpret,
    "tokenize": stages.tokenize,
    "tune": stages.tune,
}


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    def init(**_):
        raise AssertionError("Ray has been started")

    monkeypatch.setattr(runtime.ray, "init", init)
    monkeypatch.setattr(runtime.ray, "is_initialized", lambda: False)


@pytest.fixture
def data(tmp_path) -> Path:
    path = tmp_path / "rows.tsv"
    path.write_text(ROWS)
    return path


def told(mode: str, data: Path, kind: type[BiolmError], **settings) -> str:
    given = {**GIVEN, "filepath": str(data), "outputpath": str(data.parent / "out"), **settings}
    if mode in ("fine-tune", "tune"):
        given.setdefault("task", "regression")
    if mode == "tune":
        given["tune.space"] = {"batchsize": [2, 4]}
    with pytest.raises(kind) as caught:
        RUN[mode](load_config(None, mode, given))
    return str(caught.value)


@pytest.mark.parametrize("mode", RUN)
def test_missing_files_and_columns_are_told_before_ray_starts(mode, data):
    assert "rows.tvs does not exist; did you mean 'rows.tsv'?" in told(
        mode, data, DataError, filepath=str(data.with_suffix(".tvs"))
    )
    assert "did you mean 'sequence'?" in told(mode, data, BiolmError, seqpos="sequnce")
    data.write_bytes(b"PK\x03\x04xl/")
    assert "Excel workbook" in told(mode, data, DataError)


@pytest.mark.parametrize("mode", ["fine-tune", "pre-train", "predict", "interpret", "tune"])
def test_a_model_that_is_not_there_is_told_before_ray_starts(mode, data):
    missing, empty = data.parent / "missing", data.parent / "empty"
    assert f"pretrainedmodel {missing} does not exist" in told(
        mode, data, ConfigError, pretrainedmodel=str(missing)
    )
    assert f"pretrainedmodel {data} is no folder" in told(
        mode, data, ConfigError, pretrainedmodel=str(data)
    )
    empty.mkdir()
    assert str(empty) in told(mode, data, ConfigError, pretrainedmodel=str(empty))


def test_an_unknown_model_or_plugin_or_option_is_told_before_ray_starts(data):
    assert "did you mean 'saluki'?" in told(
        "fine-tune", data, ConfigError, **{"model.name": "salukki"}
    )
    assert "mine.py: there is no such file" in told(
        "fine-tune", data, ConfigError, **{"model.plugin": "mine.py"}
    )
    assert "has no option 'chanels'" in told("fine-tune", data, ConfigError, **{"model.chanels": 4})


def test_the_command_line_tells_a_mistyped_name_without_torch_and_leaves_nothing(data):
    program = (
        "import sys\n"
        "from biolm_ray.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "assert not {'torch', 'ray'} & set(sys.modules)\n"
        "sys.exit(code)\n"
    )
    arguments = ["predict", "--filepath", f"{data}x", "--seqpos", "2", "--outputpath", "out"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=data.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr == f"error: {data}x does not exist; did you mean 'rows.tsv'?\n"
    assert [path.name for path in data.parent.iterdir()] == ["rows.tsv"]


@pytest.mark.parametrize(
    ("content", "settings", "wanted"),
    [
        (
            ROWS.replace("\t7\n", "\tNA\n"),
            {},
            r"rows.tsv, line 9: label 'NA' in column 3 ('value')",
        ),
        (ROWS.replace("\t7\n", "\t7,1\n"), {}, "is it a decimal comma?"),
        (ROWS, {"labelpos": "sequence"}, "line 2: label 'acguacgu' in column 2 ('sequence')"),
        (
            ">a OS=Homo\nACGU\n>b OS=Mus\nACGU\n",
            {"labelpos": "organism"},
            "its attributes are OS (1 more row has the same problem)",
        ),
        (">a value=1\nACGU>b value=2\nACGU\n", {}, "inside its sequence, on line 2"),
    ],
)
def test_first_rows_that_cannot_be_used_are_told_before_ray_starts(content, settings, wanted, data):
    data.write_text(content)
    if content.startswith(">"):
        data = data.rename(data.with_suffix(".fa"))
        settings = {"idpos": None, "seqpos": None, **settings}
    assert wanted in told("fine-tune", data, DataError, **settings)


def test_too_many_bad_rows_of_a_small_file_are_told_before_ray_starts(data):
    data.write_text(ROWS.replace("\t7\n", "\tNA\n"))
    settings = {"data.on_bad_rows": "quarantine"}
    assert "set data.max_rejected_share: 0.12" in told("fine-tune", data, DataError, **settings)


def test_results_beside_the_data_and_a_limit_of_rows_are_said(data):
    data.write_text(ROWS.replace("\t7\n", "\tNA\n"))
    settings = {"outputpath": None, "data.max_rows": 9}
    assert "'NA'" in told("fine-tune", data, DataError, **settings)
    (log,) = (data.parent / "rows").rglob("run.log")
    said = log.read_text()
    assert f"results go beside the data, to {data.parent / 'rows'}; another folder" in said
    assert "only the first 9 rows will be read (data.max_rows, also set by dev)" in said
    assert "'NA'" in told("fine-tune", data, DataError)
    (log,) = (data.parent / "out").rglob("run.log")
    assert "beside the data" not in log.read_text()


@pytest.mark.parametrize("mode", ["predict", "interpret"])
def test_a_folder_without_models_below_one_that_has_them_is_told_before_torch_is_imported(
    mode, data
):
    logs = data.parent / "old" / "fine-tune" / "logs"
    (logs.parent / "0").mkdir(parents=True)
    logs.mkdir()
    (logs.parent / "0" / "config.json").write_text("{}")
    settings = {**GIVEN, "filepath": str(data), "outputpath": str(data.parent / "out")}
    config = load_config(None, mode, {**settings, "pretrainedmodel": str(logs)})
    with pytest.raises(ConfigError, match=rf"in {logs}: did you mean {logs.parent}\?"):
        look_at_paths(config)
    config = load_config(None, mode, {**settings, "pretrainedmodel": str(logs.parent)})
    look_at_paths(config)


FASTQ = "@r1\nACGU\n+\nIIII\n"


def test_what_a_file_is_comes_before_the_columns_that_are_not_set(tmp_path, capsys):
    path = tmp_path / "reads.fq"
    path.write_text(FASTQ)
    given = ["fine-tune", "--filepath", str(path), "--task", "regression"]
    assert cli.main(given) == 3
    assert "is FASTQ, reads with qualities" in capsys.readouterr().err
    path.write_text(ROWS)
    assert cli.main(given) == 2
    assert "needs the column of the labels" in capsys.readouterr().err


def test_settings_are_advised_as_flags_where_there_is_no_file(data, capsys):
    data.write_text(f"A title\n{ROWS}")
    flags = ["--idpos", "id", "--seqpos", "sequence", "--labelpos", "value", "--task", "regression"]
    assert cli.main(["fine-tune", "--filepath", str(data), *flags]) == 3
    assert "give --set data.skip_lines=1" in capsys.readouterr().err
    file = data.with_suffix(".yaml")
    file.write_text(f"filepath: {data}\n")
    assert cli.main(["fine-tune", "--configfile", str(file), *flags]) == 3
    assert "set data.skip_lines: 1" in capsys.readouterr().err
