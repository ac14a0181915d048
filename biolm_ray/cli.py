"""The command line: flags to a configuration, a mode to its stage, errors to exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from biolm_ray.config.legacy import KEYS
from biolm_ray.config.load import load_written
from biolm_ray.config.meanings import FLAG_MEANINGS, MEANINGS, USED_PARTS
from biolm_ray.config.names import Written, name_override, nearest
from biolm_ray.config.schema import MODES, Mode
from biolm_ray.config.settings import all_settings
from biolm_ray.errors import BiolmError, ConfigError
from biolm_ray.imports import import_for_good
from biolm_ray.logs import escaped
from biolm_ray.masking import masked

PROGRAM = "python -m biolm_ray"
DEMO_DATA = "demo-data"

STAGES: dict[Mode, str] = {
    "tokenize": "tokenize",
    "pre-train": "pretrain",
    "fine-tune": "finetune",
    "predict": "predict",
    "interpret": "interpret",
    "tune": "tune",
}

COMMANDS: dict[str, tuple[str, str]] = {
    "tokenize": ("learn the vocabulary of a data file", "--configfile experiment.yaml"),
    "pre-train": ("train a language model on unlabelled rows", "--configfile experiment.yaml"),
    "fine-tune": (
        "train and cross-validate a model on labelled rows",
        "--configfile experiment.yaml --task regression",
    ),
    "predict": (
        "predict the rows of a file",
        "--filepath new.tsv --seqpos 2 --pretrainedmodel experiment/fine-tune",
    ),
    "interpret": (
        "score each token of the test rows by leaving it out",
        "--configfile experiment.yaml --handletokens remove",
    ),
    "tune": (
        "search for better settings",
        "--configfile experiment.yaml --task regression --set tune.num_samples=20",
    ),
    DEMO_DATA: (
        "write synthetic transcripts to try things out",
        "--output demo.tsv --rows 600 --seed 1",
    ),
}

OWN_FLAGS: dict[str, tuple[str, str]] = {
    "--task": ("task", "regression or classification"),
    "--model": ("model.name", MEANINGS["model.name"]),
    "--plugin": ("model.plugin", MEANINGS["model.plugin"]),
}
"""Flags of today's settings that the reference has no key for: setting and meaning."""


def run() -> None:
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0, or that of the error, or 130 if interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _run_command(arguments)
    except BiolmError as error:
        print(escaped(masked(f"error: {error}"), kept="\n"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            "interrupted; what is finished is kept. Run the same command again to go on: with "
            "--resume when training, as it is for tune and interpret",
            file=sys.stderr,
        )
        return 130
    return 0


def flags() -> list[str]:
    """Every flag of the modes."""
    return sorted(option for action in _parser()._actions for option in action.option_strings)


def _run_command(arguments: list[str]) -> None:
    if arguments[:1] == [DEMO_DATA]:
        _write_demo_data(arguments[1:])
        return
    given, unknown = _parser().parse_known_args(arguments)
    values = vars(given)
    mode = values.pop("mode") or _swallowed_mode(values)
    if "version" in values:
        print(f"biolm_ray {metadata.version('biolm-ray')}")
    elif "help" in values:
        print(_overview() if mode is None else _mode_help(_known_mode(mode)))
    else:
        if unknown:
            _refuse(unknown[0], flags())
        command = _known_mode(mode)
        file = values.pop("configfile", None)
        config = load_written(file, command, _overrides(values))
        getattr(import_for_good("biolm_ray.stages"), STAGES[command])(config)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours; nothing is abbreviated."""

    def __init__(self) -> None:
        super().__init__(
            prog=PROGRAM, add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS
        )
        self.add_argument("-h", "--help", action="store_true")

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"command line: {message.removeprefix('argument ')}")


def _parser() -> _Parser:
    parser = _Parser()
    parser.add_argument("mode", nargs="?", default=None)
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--configfile", "--config")
    parser.add_argument("--set", action="append", metavar="SECTION.KEY=VALUE")
    for flag in OWN_FLAGS:
        parser.add_argument(flag, dest=flag)
    for key, old in KEYS.items():
        options: dict[str, Any] = {}
        if old.alone:
            options = {"nargs": "?", "const": True}
        elif old.many:
            options = {"nargs": "+"}
        parser.add_argument(f"--{key}", dest=f"--{key}", **options)
    return parser


def _overrides(values: dict[str, Any]) -> list[Written]:
    """Name the settings given as flags; `values` holds the flags that were given."""
    assignments = values.pop("set", [])
    written = []
    for flag, value in values.items():
        name = OWN_FLAGS[flag][0] if flag in OWN_FLAGS else flag.removeprefix("--")
        text = ",".join(value) if isinstance(value, list) else value
        written.append(name_override(name, text, "command line", flag))
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(
                f"command line, --set: found '{assignment}'; expected section.key=value"
            )
        name = name.strip()
        written.append(name_override(name, value, "command line", f"--set {name}"))
    return written


def _swallowed_mode(values: dict[str, Any]) -> str | None:
    """Free a mode behind a flag that needs no value or takes many, as in `--silent fine-tune`."""
    for key, old in KEYS.items():
        given = values.get(f"--{key}")
        if old.many and isinstance(given, list) and len(given) > 1 and given[-1] in MODES:
            return given.pop()
        if old.alone and values.get(f"--{key}") in MODES:
            mode = values[f"--{key}"]
            values[f"--{key}"] = True
            return mode
    return None


def _known_mode(mode: str | None) -> Mode:
    if mode is None:
        raise ConfigError(
            f"command line: no mode given; write one of {', '.join(COMMANDS)} first, as in "
            f"'{PROGRAM} fine-tune {COMMANDS['fine-tune'][1]}', or see {PROGRAM} --help"
        )
    for known in MODES:
        if mode == known:
            return known
    raise ConfigError(f"command line: '{mode}' is not a mode; {nearest(mode, COMMANDS)}")


def _refuse(argument: str, valid: list[str]) -> NoReturn:
    flag = argument.partition("=")[0]
    if not flag.startswith("-"):
        raise ConfigError(f"command line: nothing is expected where '{argument}' stands")
    raise ConfigError(f"command line: {flag} is not a flag; {nearest(flag, valid)}")


def _write_demo_data(arguments: list[str]) -> None:
    parser = _Parser()
    parser.add_argument("--output", default="demo.tsv")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    given, unknown = parser.parse_known_args(arguments)
    if "help" in given:
        print(_example(DEMO_DATA))
        return
    if unknown:
        _refuse(unknown[0], ["--output", "--rows", "--seed"])
    if given.rows < 1 or given.seed < 0:
        raise ConfigError("command line: --rows must be above 0, and --seed not below 0")
    from biolm_ray.demo.data import write_demo_data

    write_demo_data(Path(given.output), given.rows, given.seed)
    print(f"wrote {given.rows} rows to {given.output}; the truth behind them lies beside it")


def _example(command: str) -> str:
    summary, example = COMMANDS[command]
    return f"  {command:<10} {summary}\n             {PROGRAM} {command} {example}"


def _overview() -> str:
    """The text of --help: every mode with an example, every flag with its meaning."""
    lines = [f"usage: {PROGRAM} MODE [--configfile FILE] [--flag value ...]", "", "modes:"]
    lines += [_example(command) for command in COMMANDS]
    lines += [
        "",
        f"The settings of a mode: {PROGRAM} MODE --help",
        "",
        "flags (they win over the file):",
        _line("--configfile FILE", "YAML file with the settings; also --config"),
        _line("--set KEY=VALUE", "any setting, as training.seed=7; may be repeated"),
    ]
    lines += [_line(flag, meaning) for flag, (_, meaning) in OWN_FLAGS.items()]
    lines += [
        _line(f"--{key}", FLAG_MEANINGS.get(key, MEANINGS[old.names[0]]))
        for key, old in KEYS.items()
    ]
    lines += [_line("--version", "print the version"), _line("-h, --help", "print this text")]
    return "\n".join(lines)


def _mode_help(mode: Mode) -> str:
    """The text of MODE --help: the settings the mode uses, with types and defaults."""
    lines = [_example(mode).strip(), "", "settings, with their defaults in []:"]
    parts = ("", *USED_PARTS[mode])
    own = {name: flag for flag, (name, _) in OWN_FLAGS.items()}
    for name, allowed, default, older in all_settings():
        if name.rpartition(".")[0] not in parts or name == "mode":
            continue
        flag = " ".join([own[name]] if name in own else [f"--{key}" for key in older])
        value = "unset" if default in (None, {}) else str(default).replace("\t", "\\t")
        lines.append(f"  {name} [{value}] {flag}".rstrip())
        lines.append(f"      {MEANINGS[name]} ({allowed})")
    lines += ["", "A setting without a flag of its own: --set section.key=value"]
    return "\n".join(lines)


def _line(flag: str, meaning: str) -> str:
    return f"  {flag:<22} {meaning}"
