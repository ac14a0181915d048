"""Trials of the environment: places that cannot be used, a Ray that cannot start, odd files."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trials.command import Running, ending
from trials.trial import Seen, Trial
from trials.whole import EXPERIMENT, Whole, predicting

KIND = "environment"
MODES: dict[str, tuple[str, ...]] = {
    "tokenize": ("tokenize", "--configfile", "run.yaml", "--outputpath", "out"),
    "fine-tune": ("fine-tune", "--configfile", "run.yaml", "--outputpath", "out"),
    "predict": predicting("out"),
    "interpret": (
        "interpret", "--configfile", "run.yaml", "--pretrainedmodel", EXPERIMENT,
        "--outputpath", "out", "--handletokens", "remove", "--dev", "2",
    ),
    "pre-train": (
        "pre-train", "--configfile", "run.yaml", "--outputpath", "out",
        "--set", "model.name=xlnet", "--set", "model.d_model=16",
    ),
    "tune": (
        "tune", "--configfile", "run.yaml", "--outputpath", "out", "--set", "tune.num_samples=1",
    ),
}  # fmt: skip

PLUGINS = {
    "a syntax error": "def spec(:\n",
    "an import that is not there": "import no_such_library\n",
    "an error at import": "raise RuntimeError('as it happens')\n",
    "sys.exit at import": "import sys\nsys.exit(3)\n",
    "an interrupt at import": "raise KeyboardInterrupt\n",
    "no model in it": "x = 1\n",
    "endless recursion": "def f():\n    f()\nf()\n",
    "a model that is none": "from biolm_ray.models.spec import ModelSpec\nSPEC = ModelSpec()\n",
    "text in UTF-16": "\ufeffx = 1",
    "a class in place of an error": "class Odd(BaseException): pass\nraise Odd\n",
}


@dataclass(frozen=True)
class Surroundings:
    """What is unusual around a command.

    Attributes:
        prepare: Changes the folder it runs in.
        environment: Changes of variables; `{place}` stands for the folder.
        arguments: Further ones, which win.
        shell: See `Running`.
        modes: That it is tried with.
        joins: Whether the command joins the cluster of the trials, rather than start a Ray.
    """

    prepare: Callable[[Path], object] = lambda place: None
    environment: Mapping[str, str | None] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    shell: str | None = None
    modes: tuple[str, ...] = tuple(MODES)
    joins: bool = True


def _output(path: str, prepare: Callable[[Path], object] = lambda place: None) -> Surroundings:
    return Surroundings(prepare, arguments=("--outputpath", path))


def _data(path: str, prepare: Callable[[Path], object] = lambda place: None) -> Surroundings:
    return Surroundings(
        prepare, arguments=("--filepath", path), modes=("tokenize", "fine-tune", "predict")
    )


def _address(address: str) -> Surroundings:
    return Surroundings(
        environment={"RAY_ADDRESS": address}, modes=("fine-tune", "predict"), joins=False
    )


def _start(**options: object) -> Surroundings:
    """A Ray of its own that has difficulties to start."""
    return Surroundings(modes=("fine-tune", "predict"), joins=False, **options)  # type: ignore


def _shell(line: str, *, joins: bool = True) -> Surroundings:
    return Surroundings(shell=line, joins=joins)


def _plugin(text: str) -> Surroundings:
    return Surroundings(
        lambda place: (place / "odd.py").write_text(text, encoding="utf-8"),
        arguments=("--plugin", "odd.py", "--model", "odd"),
        modes=("fine-tune", "predict"),
    )


def _fifo(place: Path) -> None:
    import os

    os.mkfifo(place / "pipe")


SURROUNDINGS: dict[str, Surroundings] = {
    "output is a file": _output("demo.tsv"),
    "output below a file": _output("demo.tsv/out"),
    "output with a long name": _output("x" * 300),
    "output with a long path": _output("/".join(["y" * 200] * 25)),
    "output is a dangling link": _output("link", lambda p: (p / "link").symlink_to("nowhere/x")),
    "output is a link to itself": _output("link", lambda p: (p / "link").symlink_to("link")),
    "output of nobody": _output("~no_such_user/out"),
    "output is empty": _output(""),
    "output with a line end": _output("a\nb"),
    "output in a bucket": _output("s3://bucket/out"),
    "output at an address": _output("https://example.org/out"),
    "output is a fifo": _output("pipe", _fifo),
    "output is a device": _output("/dev/null"),
    "output below /proc": _output("/proc/out"),
    "output below /sys": _output("/sys/out"),
    "output on a full disk": _output("/dev/full/out"),
    "output inside the experiment": _output(f"{EXPERIMENT}/fine-tune"),
    "output with a manifest of others": _output(
        "other", lambda p: ((p / "other").mkdir(), (p / "other/manifest.json").write_text("[1]"))
    ),
    "data missing": _data("no_such.tsv"),
    "data is a folder": _data("prepared"),
    "data is empty": _data("empty.tsv", lambda p: (p / "empty.tsv").touch()),
    "data is a fifo": _data("pipe", _fifo),
    "data from standard input": _data("-"),
    "data is /dev/stdin": _data("/dev/stdin"),
    "data is /dev/null": _data("/dev/null"),
    "data is /dev/zero": _data("/dev/zero"),
    "data is /dev/urandom": _data("/dev/urandom"),
    "data is a link to itself": _data("link", lambda p: (p / "link").symlink_to("link")),
    "data in a bucket that is not there": _data("s3://no-such-bucket-of-trials/x.tsv"),
    "data is a program": _data("/bin/ls"),
    "data has a long name": _data("z" * 300),
    "a column that is not there": Surroundings(arguments=("--seqpos", "sequense")),
    "a column beyond the last": Surroundings(arguments=("--seqpos", "99")),
    "a model that is not there": Surroundings(
        arguments=("--pretrainedmodel", "no_such"), modes=("predict", "interpret", "fine-tune")
    ),
    "a model that is a file": Surroundings(
        arguments=("--pretrainedmodel", "demo.tsv"), modes=("predict", "interpret", "fine-tune")
    ),
    "a model in an empty folder": Surroundings(
        lambda p: (p / "nothing").mkdir(),
        arguments=("--pretrainedmodel", "nothing"),
        modes=("predict", "interpret", "fine-tune"),
    ),
    "a configuration that is not there": Surroundings(arguments=("--configfile", "no.yaml")),
    "a configuration that is a folder": Surroundings(arguments=("--configfile", "prepared")),
    "a configuration of bytes": Surroundings(
        lambda p: (p / "odd.yaml").write_bytes(bytes(range(256))),
        arguments=("--configfile", "odd.yaml"),
    ),
    "a configuration from /dev/zero": Surroundings(arguments=("--configfile", "/dev/zero")),
    "nobody at the address": _address("127.0.0.1:1"),
    "an address without an answer": _address("192.0.2.1:6379"),
    "an address of a dashboard": _address("http://127.0.0.1:8265"),
    "an address of Ray Client": _address("ray://127.0.0.1:10001"),
    "an address of no form": _address(":::"),
    "an address without a port": _address("localhost"),
    "a name that nobody has": _address("no-such-host.invalid:6379"),
    "no cluster to be found": _address("auto"),
    "a long temporary folder": _start(
        prepare=lambda p: (p / ("t" * 120)).mkdir(),
        environment={"TMPDIR": "{place}/" + "t" * 120, "RAY_TMPDIR": "{place}/" + "t" * 120},
    ),
    "no temporary folder": _start(
        environment={"TMPDIR": "{place}/none", "RAY_TMPDIR": "/proc/none"}
    ),
    "no home": _start(environment={"HOME": None}),
    "a home that is not there": _start(environment={"HOME": "/proc/none"}),
    "a home that is a file": _start(environment={"HOME": "{place}/demo.tsv"}),
    "few open files": _shell('ulimit -n 40; exec "$@"', joins=False),
    "little memory": _shell('ulimit -v 1500000; exec "$@"', joins=False),
    "small files only": _shell('ulimit -f 8; exec "$@"'),
    "no standard error": _shell('exec "$@" 2>&-'),
    "no standard output": _shell('exec "$@" >&-'),
    "no standard input": _shell('exec "$@" <&-'),
    "a full standard output": _shell('exec "$@" >/dev/full'),
    "a reader that has gone": _shell('"$@" 2>&1 | true; exit ${PIPESTATUS[0]}'),
    "the help, cut short": Surroundings(shell='"$@" --help | head -1', modes=("predict", "tune")),
    "MLflow that does not answer": Surroundings(
        arguments=("--set", "run.mlflow=http://127.0.0.1:1"), modes=("fine-tune", "tune")
    ),
    "a locale without UTF-8": _start(environment={"LC_ALL": "C", "PYTHONUTF8": "0"}),
    **{f"a plugin with {name}": _plugin(text) for name, text in PLUGINS.items()},
}


def environment_trials(whole: Whole, number: int, draw: random.Random) -> Iterator[Trial]:
    """Draw so many trials; every kind comes before any comes twice."""
    each = {name: list(found.modes) for name, found in SURROUNDINGS.items()}
    for modes in each.values():
        draw.shuffle(modes)
    names = draw.sample(list(each), len(each))
    in_turn = (
        (name, each[name][turn])
        for turn in itertools.count()
        for name in names
        if turn < len(each[name])
    )
    most = sum(map(len, each.values()))
    for name, mode in itertools.islice(in_turn, min(number, most)):
        yield Trial(KIND, f"{name} | {mode}", _surrounded(SURROUNDINGS[name], mode))


def _surrounded(around: Surroundings, mode: str) -> Callable[[Whole, Path], Seen]:
    def run(whole: Whole, place: Path) -> Seen:
        whole.copy(place)
        around.prepare(place)
        changes: dict[str, str | None] = dict(whole.joined) if around.joins else {}
        for name, value in around.environment.items():
            changes[name] = None if value is None else value.replace("{place}", str(place))
        running = Running(place, (*MODES[mode], *around.arguments), changes, around.shell)
        ended = running.end()
        return ending(ended), ended.output

    return run
