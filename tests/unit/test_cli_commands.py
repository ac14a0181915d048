"""The command line: flags, modes, help and exit codes."""

import signal
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from ray.exceptions import RayTaskError

from biolm_ray import cli
from biolm_ray.config.schema import MODES, Column, Config
from biolm_ray.errors import BiolmError, DataError, ResourceError, TrainingError, attach
from biolm_ray.preparation import first_look
from biolm_ray.signals import Stopped

FLAGS = [
    "--_3utr", "--accelerator", "--atomicreplacements", "--batchsize", "--blocksize",
    "--centertoken", "--columnsep", "--config", "--configfile", "--crossvalidation", "--debug",
    "--dev", "--devsplits", "--encoding", "--filepath", "--forcenewdata", "--fromscratch",
    "--getdata", "--gradacc", "--handletokens", "--help", "--idpos", "--inferenceonsplits",
    "--labelpos", "--learningrate", "--lefttailing", "--maxtokenlength", "--minfreq", "--model",
    "--model_config", "--nepochs", "--ngpus", "--nomarkers", "--non3utr", "--only512",
    "--outputpath", "--patience",
    "--plugin", "--pretrainedmodel", "--replacementdict", "--replacespecifier", "--resume",
    "--samplesize", "--scaling", "--seqpos", "--set", "--silent", "--specifiersep", "--splitpos",
    "--splitratio", "--stripheader", "--task", "--testsplits", "--tokensep", "--version",
    "--vocabsize", "--weightedregression", "--weightpos", "-h",
]  # fmt: skip

LEAST = [
    "--filepath", "rows.tsv", "--seqpos", "2", "--labelpos", "3", "--task", "regression",
    "--pretrainedmodel", "old", "--set", "tune.space.patience=[1, 2]",
]  # fmt: skip


class Stages(ModuleType):
    """Stands for biolm_ray.stages; keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__("biolm_ray.stages")
        self.calls: list[tuple[str, Config]] = []
        self.error: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def stage(config: Config) -> None:
            self.calls.append((name, config))
            if self.error is not None:
                raise self.error

        return stage


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    fake = Stages()
    monkeypatch.setitem(sys.modules, "biolm_ray.stages", fake)
    monkeypatch.setattr(first_look, "look_at_paths", lambda config: None)  # there are no files
    return fake


def config_of(stages: Stages, *arguments: str) -> Config:
    assert cli.main(["fine-tune", *LEAST, *arguments]) == 0
    return stages.calls[-1][1]


def test_the_flags_are_frozen() -> None:
    assert cli.flags() == FLAGS


@pytest.mark.parametrize(
    ("mode", "stage"), list(zip(MODES, ["tokenize", "pretrain", "finetune", "predict", "interpret",
                                        "tune"], strict=True))
)  # fmt: skip
def test_each_mode_runs_its_stage(stages: Stages, mode: str, stage: str) -> None:
    assert cli.main([mode, *LEAST]) == 0
    [(called, config)] = stages.calls
    assert (called, config.mode) == (stage, mode)


@pytest.mark.parametrize(
    ("arguments", "section", "key", "value"),
    [
        (["--stripheader"], "data", "has_header", True),
        (["--stripheader", "False"], "data", "has_header", False),
        (["--columnsep", ","], "data", "column_separator", ","),
        (["--columnsep", "\\t"], "data", "column_separator", "\t"),
        (["--columnsep", "|"], "data", "column_separator", "|"),
        (["--resume"], "training", "resume", True),
        (["--resume", "5"], "training", "resume", 5),
        (["--resume", "auto"], "training", "resume", "auto"),
        (["--dev"], "data", "max_rows", 10),
        (["--dev", "200"], "data", "max_rows", 200),
        (["--patience"], "training", "patience", None),
        (["--patience", "7"], "training", "patience", 7),
        (["--learningrate", "1e-4"], "training", "learning_rate", 1e-4),
        (["--accelerator", "cpu"], "resources", "accelerator", "cpu"),
        (["--accelerator", "cuda"], "resources", "accelerator", "auto"),
        (["--splitratio", "85,15"], "splits", "ratio", (85, 15)),
        (["--splitratio", "85", "15"], "splits", "ratio", (85, 15)),
        (["--splitratio=85/15"], "splits", "ratio", (85, 15)),
        (["--splitpos", "1", "--testsplits", "[[1], [2]]"], "splits", "test_splits",
         (("1",), ("2",))),
        (["--labelpos", "4"], "data", "label_column", Column(index=3)),
        (["--labelpos", "3", "y"], "data", "label_column", (Column(index=2), Column(name="y"))),
        (["--labelpos", "3,5"], "data", "label_column", (Column(index=2), Column(index=4))),
        (["--inferenceonsplits", "a", "b"], "data", "splits_to_use", ("a", "b")),
        (["--crossvalidation", "5"], "splits", "num_folds", 5),
        (["--splitpos", "1", "--crossvalidation"], "splits", "cross_validate", True),
        (["--lefttailing"], "preprocessing", "cut_side", "left"),
        (["--_3utr"], "preprocessing", "region", "utr3"),
        (["--vocabsize", "20_000"], "tokenization", "vocabulary_size", 20_000),
        (["--atomicreplacements", "{'gej': 'j'}"], "tokenization", "replacements", {"gej": "j"}),
        (["--model", "xlnet"], "model", "name", "xlnet"),
        (["--plugin", "mine.py"], "model", "plugin", "mine.py"),
        (["--model_config", '{"n_layer": 2}'], "model", "options", {"n_layer": 2}),
        (["--set", "model.rate=1e-3"], "model", "options", {"rate": 1e-3}),
        (["--set", "training.learning_rate=1e-3"], "training", "learning_rate", 1e-3),
        (["--set", "batchsize=8"], "training", "batch_size", 8),
        (["--set", "data.token_separator=="], "data", "token_separator", "="),
        (["--batchsize", "8", "--batchsize", "16"], "training", "batch_size", 16),
    ],
)  # fmt: skip
def test_a_flag_reaches_its_setting(
    stages: Stages, arguments: list[str], section: str, key: str, value: Any
) -> None:
    assert getattr(getattr(config_of(stages, *arguments), section), key) == value


@pytest.mark.parametrize("flag", ["--configfile", "--config"])
def test_flags_win_over_the_file(stages: Stages, tmp_path: Path, flag: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("training: {general: {batchsize: 8, nepochs: 9}}\n")
    training = config_of(stages, flag, str(file), "--batchsize", "32").training
    assert (training.batch_size, training.num_epochs) == (32, 9)


def test_a_lone_patience_takes_the_place_of_the_one_in_the_file(
    stages: Stages, tmp_path: Path
) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("patience: 9\n")
    assert config_of(stages, "--config", str(file), "--patience").training.patience is None


def test_the_mode_may_follow_a_flag_without_a_value(stages: Stages) -> None:
    assert cli.main(["--silent", "fine-tune", *LEAST]) == 0
    assert stages.calls[0][1].run.quiet


def test_the_mode_may_follow_a_flag_of_many_values(stages: Stages) -> None:
    assert cli.main([*LEAST, "--labelpos", "3", "4", "fine-tune"]) == 0
    [(called, config)] = stages.calls
    assert (called, len(config.data.label_columns)) == ("finetune", 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fine-tune", "--batchsze", "8"],
         "command line: --batchsze is not a flag; did you mean '--batchsize'?"),
        (["fine-tune", "--batchsiz=8"],
         "command line: --batchsiz is not a flag; did you mean '--batchsize'?"),
        (["finetune"], "command line: 'finetune' is not a mode; did you mean 'fine-tune'?"),
        ([], "command line: no mode given; write one of tokenize, "),
        (["fine-tune", "x.yaml"], "command line: nothing is expected where 'x.yaml' stands"),
        (["fine-tune", "--batchsize"], "command line: --batchsize: expected one argument"),
        (["fine-tune", "--set", "seed"], "command line, --set: found 'seed'; expected section"),
        (["fine-tune", "--set", "trainig.seed=1"],
         "command line, --set trainig.seed: 'trainig' is not a section; did you mean 'training'?"),
        (["fine-tune", *LEAST, "--batchsize", "x"],
         "command line, --batchsize: found 'x'; expected a whole number above 0"),
        (["fine-tune", *LEAST, "--task", "regresion"],
         "command line, --task: found 'regresion'; expected one of regression, classification; "
         "did you mean 'regression'?"),
        (["fine-tune", "--configfile", "none.yaml"],
         "none.yaml: there is no such configuration file"),
        (["fine-tune"], "configuration: fine-tune needs a data file"),
        (["demo-data", "--row", "5"], "command line: --row is not a flag; did you mean '--rows'?"),
        (["demo-data", "--rows", "many"], "command line: --rows: invalid int value: 'many'"),
        (["demo-data", "--rows", "0"], "command line: --rows must be above 0"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_ends_with_2_and_one_message(
    stages: Stages, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert not stages.calls


@pytest.mark.parametrize(
    ("error", "code"), [(DataError, 3), (ResourceError, 4), (TrainingError, 5), (BiolmError, 1)]
)
def test_an_error_of_a_stage_sets_the_exit_code(
    stages: Stages, capsys: pytest.CaptureFixture[str], error: type[BiolmError], code: int
) -> None:
    stages.error = error("what is wrong")
    assert cli.main(["fine-tune", *LEAST]) == code
    assert capsys.readouterr().err == "error: what is wrong\n"


@pytest.mark.parametrize(
    ("mode", "has_begun", "said"),
    [
        ("fine-tune", True, "what is finished is kept; to go on: python -m biolm_ray fine-tune"),
        ("pre-train", False, "nothing was changed; run the same command again"),
        ("predict", False, "nothing was changed; run the same command again"),
        ("tokenize", False, "nothing was changed; run the same command again"),
        ("predict", True, "its results had just been written, and are whole"),
        ("interpret", False, "the same command goes on: python -m biolm_ray interpret --filepath"),
        ("tune", True, "the same command goes on: python -m biolm_ray tune --filepath"),
    ],
)
def test_a_stopped_command_says_how_to_go_on(
    stages: Stages, capsys: pytest.CaptureFixture[str], mode: str, has_begun: bool, said: str
) -> None:
    stages.error = Stopped(signal.SIGTERM)
    attach(stages.error, has_begun=has_begun)
    assert cli.main([mode, *LEAST]) == 143
    text = capsys.readouterr().err
    assert text.startswith("interrupted by SIGTERM; ")
    assert said in text
    assert text.endswith(" --resume\n") == (mode == "fine-tune")


def test_a_training_that_was_resumed_goes_on_with_the_same_command(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.error = KeyboardInterrupt()
    attach(stages.error, has_begun=True)
    assert cli.main(["fine-tune", *LEAST, "--resume", "auto"]) == 130
    text = capsys.readouterr().err
    assert text.startswith("interrupted by Ctrl-C; ")
    assert text.endswith("--resume auto\n")


def test_no_memory_before_a_run_has_its_folder_is_told_with_its_remedy(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.error = MemoryError()
    assert cli.main(["fine-tune", *LEAST]) == 4
    text = capsys.readouterr().err
    assert text.startswith("error: what this command does cannot be finished: no memory is left")
    assert "ulimit -v" in text


@pytest.mark.parametrize(("error", "shown"), [(MemoryError(), False), (KeyError("place"), True)])
def test_libraries_that_have_no_memory_to_end_with_print_no_traceback(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, shown: bool
) -> None:
    printed: list[Any] = []
    monkeypatch.setattr(sys, "__unraisablehook__", printed.append)
    unraisable = cast(Any, SimpleNamespace(exc_value=error))
    cli._show_unless_told(unraisable)
    assert printed == ([unraisable] if shown else [])


def test_a_command_stopped_between_two_results_says_where_the_earlier_ones_are(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.error = Stopped(signal.SIGTERM)
    attach(stages.error, has_begun=False, replaced=Path("out/replaced/predict-1"))
    assert cli.main(["predict", *LEAST]) == 143
    text = capsys.readouterr().err
    assert text.endswith(
        "; earlier results are in out/replaced/predict-1; run the same command again\n"
    )


@pytest.mark.parametrize("error", [RuntimeError("a defect"), SystemExit("a defect")])
def test_a_defect_is_told_in_a_sentence_and_shown_when_asked_for(
    stages: Stages, capsys: pytest.CaptureFixture[str], tmp_path: Path, error: BaseException
) -> None:
    stages.error = error
    assert cli.main(["fine-tune", *LEAST]) == 1
    told = (
        f"error: unexpected {type(error).__name__}: a defect\n"
        "this is a defect of the program or of a plugin; "
    )
    assert capsys.readouterr().err == f"{told}--debug shows where\n"

    attach(error, run_log=tmp_path / "run.log")
    assert cli.main(["fine-tune", *LEAST, "--debug"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith(f"{told}please report it with {tmp_path}/run.log\n")


def test_the_error_of_a_worker_ends_as_if_it_were_raised_here(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.error = RayTaskError("f", "where", DataError("rows.tsv: empty")).as_instanceof_cause()
    assert cli.main(["predict", *LEAST]) == 3
    assert capsys.readouterr().err == "error: rows.tsv: empty\n"


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_a_program_without_its_streams_ends_with_its_exit_code(tmp_path: Path, closed: str) -> None:
    file = tmp_path / "none.yaml"
    command = f"{sys.executable} -m biolm_ray tokenize --configfile {file} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_help_shows_every_mode_with_an_example_and_every_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in (*MODES, "demo-data"):
        assert f"python -m biolm_ray {command} --" in text
    for flag in FLAGS:
        assert flag in text


@pytest.mark.parametrize("mode", MODES)
def test_help_of_a_mode_shows_its_settings_with_defaults(
    capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    assert cli.main([mode, "--help"]) == 0
    text = capsys.readouterr().out
    assert "data.path [unset] --filepath" in text
    assert ("training.gradient_accumulation [1] --gradacc" in text) == (
        mode in ("pre-train", "fine-tune", "predict", "tune")
    )
    assert ("interpret.edit [remove] --handletokens" in text) == (mode == "interpret")


def test_the_examples_of_the_help_are_valid(stages: Stages, tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("data: {path: a.tsv, sequence_column: 2, label_column: 3}\n"
                    "tune: {space: {patience: [1, 2]}}\n")  # fmt: skip
    for command, (_, example) in cli.COMMANDS.items():
        if command != "demo-data":
            arguments = example.replace("experiment.yaml", str(file)).split()
            assert cli.main([command, *arguments]) == 0
    assert len(stages.calls) == len(MODES)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("biolm_ray ")


def test_help_needs_no_heavy_library() -> None:
    program = (
        "import sys; from biolm_ray.cli import main; main(['--help']); "
        "heavy = {'torch', 'ray', 'transformers', 'pandas', 'pyarrow', 'sklearn', 'numpy'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_help_takes_less_than_half_a_second_of_computing() -> None:
    seconds = []
    for _ in range(3):
        before = getrusage(RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "biolm_ray", "--help"],
            check=True,
            capture_output=True,
            timeout=100,
        )
        after = getrusage(RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5  # not by the clock, which other programs on the machine delay


def test_demo_data_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "demo.tsv"
    assert cli.main(["demo-data", "--output", str(file), "--rows", "5", "--seed", "2"]) == 0
    assert f"wrote 5 rows to {file}" in capsys.readouterr().out
    assert len(file.read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["fine-tune", "x.yaml"], "'x.yaml' stands; did you mean --configfile x.yaml?"),
        (["tokenize", "rows.tsv.gz"], "; did you mean --filepath rows.tsv.gz?"),
        (["predict", "s3://bucket/rows"], "; did you mean --filepath s3://bucket/rows?"),
        (["x.YML"], "'x.YML' is not a mode; did you mean fine-tune --configfile x.YML?"),
        (["Fine-Tune"], "'Fine-Tune' is not a mode; did you mean 'fine-tune'?"),
        (["fine-tune", "--FilePath", "x"], "--FilePath is not a flag; did you mean '--filepath'?"),
    ],
)
def test_what_stands_in_the_wrong_place_is_told_with_the_right_flag(arguments, hint, capsys):
    assert cli.main(arguments) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["fine-tune", "--help"], ["--version"]])
def test_a_reader_that_stops_reading_ends_the_program_without_a_word(arguments) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "biolm_ray", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        program.stdout.close()  # before anything is printed
        assert program.stderr is not None
        assert program.stderr.read() == b""
        assert program.wait() == 128 + signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_behind_the_output_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "biolm_ray", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == "error: the output cannot be written: No space left on device\n"
    assert done.returncode == 4
