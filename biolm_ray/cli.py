"""The command line: flags to a configuration, a mode to its stage, errors to exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NoReturn

from biolm_ray.config.legacy import KEYS
from biolm_ray.config.load import load_written
from biolm_ray.config.meanings import FLAG_MEANINGS, MEANINGS, USED_PARTS
from biolm_ray.config.names import Written, name_override, nearest
from biolm_ray.config.paths import CONFIG_ENDINGS, DATA_ENDINGS, is_uri, without_compression_ending
from biolm_ray.config.remedies import as_flags, flags_in_messages
from biolm_ray.config.schema import MODES, Mode
from biolm_ray.config.settings import all_settings
from biolm_ray.errors import (
    BiolmError,
    ConfigError,
    ResourceError,
    details,
    is_unexpected,
    sentence,
    unwrapped,
)
from biolm_ray.imports import import_for_good
from biolm_ray.logs import say
from biolm_ray.shortages import MEMORY, shortage_as_error
from biolm_ray.signals import exit_code, handle_signals, name_of

PROGRAM = "python -m biolm_ray"
DEMO_DATA = "demo-data"
DEBUG = "--debug"
CONFIG_FLAGS = ("--configfile", "--config")
TRAINS = ("pre-train", "fine-tune")
"""Modes that `--resume` continues."""
GOES_ON = ("interpret", "tune")
"""Modes that continue by themselves."""

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
    """Be the program: with a stream for every message, and ending in order when told to."""
    _open_missing_streams()
    handle_signals()
    code = main()
    sys.unraisablehook = _show_unless_told
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, that of the error, or 128 + that of the signal."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    shows_traceback = DEBUG in arguments
    arguments = [argument for argument in arguments if argument != DEBUG]
    try:
        # A run speaks for its folder; the libraries are imported before there is any.
        with shortage_as_error("what this command does"):
            text = _run_command(arguments)
        return 0 if text is None else _print(text)
    except KeyboardInterrupt as stop:
        say(describe_stop(stop, arguments))
        return exit_code(stop)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - told, and written to run.log
        if shows_traceback:
            say(details(error))
        say(describe_failure(error, has_file=_names_file(arguments)))
        cause = unwrapped(error)
        return cause.exit_code if isinstance(cause, BiolmError) else 1


def describe_failure(error: BaseException, *, has_file: bool = True) -> str:
    """Say an error in a sentence, and of a defect where its details are.

    Args:
        error: What ended the command.
        has_file: Whether there is a file whose settings can be changed; else flags are advised.
    """
    cause = unwrapped(error)
    said = sentence(cause)
    text = f"error: {said if has_file else as_flags(said)}"
    if not is_unexpected(cause):
        return text
    log = getattr(error, "run_log", None)
    where = f"please report it with {log}" if log else f"{DEBUG} shows where"
    return f"{text}\nthis is a defect of the program or of a plugin; {where}"


def _names_file(arguments: Sequence[str]) -> bool:
    return any(argument.partition("=")[0] in CONFIG_FLAGS for argument in arguments)


def describe_stop(stop: KeyboardInterrupt, arguments: Sequence[str]) -> str:
    """Say what stopped a command, and the command that goes on."""
    mode = next((argument for argument in arguments if argument in MODES), None)
    command = shlex.join([*PROGRAM.split(), *arguments])
    has_begun = getattr(stop, "has_begun", False)
    if mode in GOES_ON or (mode in TRAINS and has_begun and "--resume" in command):
        how = f"what is finished is kept; the same command goes on: {command}"
    elif mode in TRAINS and has_begun:
        how = f"what is finished is kept; to go on: {command} --resume"
    elif has_begun:  # other modes have begun with their results once these are written
        how = "its results had just been written, and are whole"
    elif replaced := getattr(stop, "replaced", None):
        how = f"earlier results are in {replaced}; run the same command again"
    else:
        how = "nothing was changed; run the same command again"
    return f"interrupted by {name_of(stop)}; {how}"


def _show_unless_told(unraisable: sys.UnraisableHookArgs) -> None:
    """Show what goes wrong in libraries at the very end; not that no memory is left, once more."""
    error = unraisable.exc_value
    if error is None or not MEMORY.shows_in(error):
        sys.__unraisablehook__(unraisable)


def _open_missing_streams() -> None:
    """Open in the place of closed streams what takes everything in.

    Otherwise the next file that is opened would get the number of the stream, and its messages.
    """
    for name, way in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(way))  # noqa: SIM115 - as long as the process


def flags() -> list[str]:
    """Every flag of the modes."""
    known = [option for action in _parser()._actions for option in action.option_strings]
    return sorted([*known, DEBUG])


def _print(text: str) -> int:
    """Print what was asked for, and give the exit code.

    A reader that has read enough, such as head, ends the program as it would end any other.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # What could not be written would be tried again at the end, with a message of Python's.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        raise ResourceError(f"the output cannot be written: {error.strerror}") from error
    return 0


def _run_command(arguments: list[str]) -> str | None:
    """Run a command; gives the text to print of one that is asked for a text."""
    if arguments[:1] == [DEMO_DATA]:
        return _write_demo_data(arguments[1:])
    given, unknown = _parser().parse_known_args(arguments)
    values = vars(given)
    mode = values.pop("mode") or _swallowed_mode(values)
    if "version" in values:
        return f"biolm_ray {metadata.version('biolm-ray')}"
    if "help" in values:
        return _overview() if mode is None else _mode_help(_known_mode(mode))
    if unknown:
        _refuse(unknown[0], flags())
    command = _known_mode(mode)
    file = values.pop("configfile", None)
    # Ray and torch take long to import; a mistyped name is told without them.
    first_look = partial(import_module, "biolm_ray.preparation.first_look")
    try:
        config = load_written(file, command, _overrides(values))
    except ConfigError as error:
        if paths := getattr(error, "data_paths", ()):  # what a file is comes before its columns
            first_look().look_at_kinds(paths, error.__dict__["data_format"])
        raise
    first_look().look_at_paths(config)
    with contextlib.nullcontext() if file else flags_in_messages():
        getattr(import_for_good("biolm_ray.stages"), STAGES[command])(config)
    return None


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
    parser.add_argument(*CONFIG_FLAGS)
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
    hint = _flag_for(mode, "fine-tune ").removeprefix("; ") or nearest(mode, COMMANDS)
    raise ConfigError(f"command line: '{mode}' is not a mode; {hint}")


def _refuse(argument: str, valid: list[str]) -> NoReturn:
    flag = argument.partition("=")[0]
    if not flag.startswith("-"):
        raise ConfigError(
            f"command line: nothing is expected where '{argument}' stands{_flag_for(argument)}"
        )
    raise ConfigError(f"command line: {flag} is not a flag; {nearest(flag, valid)}")


def _flag_for(argument: str, command: str = "") -> str:
    """Return the flag that a file on the command line was probably meant for, as a question."""
    if Path(argument).suffix.lower() in CONFIG_ENDINGS:
        return f"; did you mean {command}--configfile {argument}?"
    looks_like_data = Path(without_compression_ending(argument.lower())).suffix in DATA_ENDINGS
    if looks_like_data or is_uri(argument) or Path(argument).is_file():
        return f"; did you mean {command}--filepath {argument}?"
    return ""


def _write_demo_data(arguments: list[str]) -> str:
    parser = _Parser()
    parser.add_argument("--output", default="demo.tsv")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    given, unknown = parser.parse_known_args(arguments)
    if "help" in given:
        return _example(DEMO_DATA)
    if unknown:
        _refuse(unknown[0], ["--output", "--rows", "--seed"])
    if given.rows < 1 or given.seed < 0:
        raise ConfigError("command line: --rows must be above 0, and --seed not below 0")
    from biolm_ray.demo.data import write_demo_data

    write_demo_data(Path(given.output), given.rows, given.seed)
    return f"wrote {given.rows} rows to {given.output}; the truth behind them lies beside it"


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
    lines += [_line(DEBUG, "show where an error was raised, as run.log does")]
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
