"""What every command makes of inputs of the kinds that people have: exit code and last line.

`kinds_of_input.tsv` holds what is expected. After a change that is meant, run this test with
KINDS_OF_INPUT=write in the environment, which writes it again, and read the difference.
"""

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kinds_of_input import HEADER, HOURS, IDS, KINDS, RNA, Kind, table

from biolm_ray.cli import main
from biolm_ray.inference import prediction

pytestmark = pytest.mark.usefixtures("ray_cluster")

EXPECTED = Path(__file__).with_name("kinds_of_input.tsv")
COLUMNS = ["input", "mode", "exit code", "last line"]
MODEL = {"model.channels": 4, "model.num_layers": 2, "training.num_epochs": 1}
MODES = ("tokenize", "fine-tune", "predict", "interpret")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model that was trained on capital letters of RNA."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "rows.tsv").write_bytes(table(IDS, RNA, HOURS, header=HEADER))
    arguments = command("fine-tune", KINDS["as it should be"], folder / "rows.tsv", folder, folder)
    assert main([word for word in arguments if word != "--getdata"]) == 0
    return folder


def command(mode: str, kind: Kind, file: Path, output: Path, model: Path) -> list[str]:
    """The command line of a mode for a kind of input."""
    flags = {"filepath": str(file), "outputpath": str(output), **kind.reading}
    settings: dict[str, object] = {"data.format": flags.pop("format", None)}
    bare: list[str] = []
    if mode in ("predict", "interpret"):
        flags["pretrainedmodel"] = str(model)
        flags |= {"handletokens": "mask"} if mode == "interpret" else {}
    if mode == "interpret":
        settings["interpret.plots"] = 0
    if mode == "fine-tune":
        assert kind.labels is not None
        flags |= {"task": "regression", **kind.labels}
        settings |= MODEL
        bare = [] if kind.trains else ["--getdata"]
    words = [word for name, value in flags.items() for word in (f"--{name}", *value.split(","))]
    chosen = [f"--set={name}={value}" for name, value in settings.items() if value is not None]
    return [mode, *words, *chosen, *bare]


def work_here(worker, arguments, tasks, done, **_) -> None:
    """Do in this process what workers would do, each of which takes seconds to start."""
    mine = worker(*arguments)
    for task in tasks:
        done(task, mine.work(*task))


def outcomes(folder: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """The rows of the table, as they are today.

    Scoring takes seconds, so that what predict takes is interpreted just once.
    """
    for number, (name, kind) in enumerate(KINDS.items()):
        file = folder / str(number) / kind.file
        file.parent.mkdir()
        file.write_bytes(kind.content)
        codes: dict[str, int] = {}
        for mode in MODES:
            if mode == "fine-tune" and kind.labels is None:
                continue
            if mode == "interpret" and number and not codes["predict"]:
                continue
            capsys.readouterr()
            codes[mode] = main(command(mode, kind, file, file.parent / mode, model))
            lines = capsys.readouterr().err.strip().splitlines()
            yield [name, mode, str(codes[mode]), readable(lines[-1], file.parent, model)]


def readable(line: str, folder: Path, model: Path) -> str:
    """A line without what differs from run to run: folders, numbers measured, times, digests."""
    line = line.replace(f"{folder}/", "").replace(str(model), "MODEL")
    return re.sub(r"\d+\.\d+(e[-+]?\d+)?|\d+ (s|min)\b|[0-9a-f]{32}", "#", line)


def test_every_kind_of_input_ends_as_it_should(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prediction, "share_tasks", work_here)
    found = list(outcomes(tmp_path, model, capsys))
    if os.environ.get("KINDS_OF_INPUT") == "write":
        with EXPECTED.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, dialect="excel-tab", lineterminator="\n").writerows(
                [COLUMNS, *found]
            )
    with EXPECTED.open(newline="", encoding="utf-8") as stream:
        assert [COLUMNS, *found] == list(csv.reader(stream, dialect="excel-tab"))
