import re
import signal
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from biolm_ray.errors import ConfigError, TrainingError, attach
from biolm_ray.models import registry
from biolm_ray.models.plugins import import_plugin, plugin_named
from biolm_ray.models.registry import default_model, find_spec, model_names, read_options
from biolm_ray.models.saluki import SalukiOptions
from biolm_ray.signals import Stopped

PLUGIN = """
from biolm_ray.config.schema import Section
from biolm_ray.models.spec import ModelSpec, Recipe


class Options(Section):
    width: int = 3


def make(name, **more):
    given = dict(
        name=name,
        summary="A test.",
        options=Options,
        build=lambda options, inputs: None,
        recipe=lambda options: Recipe(learning_rate=1.0),
    )
    return ModelSpec(**given | more)

"""


@pytest.fixture
def plugin(tmp_path):
    def write(ending):
        path = tmp_path / "plugin.py"
        path.write_text(PLUGIN + ending)
        return str(path)

    return write


def test_atomic_sequences_go_to_saluki_and_all_others_to_xlnet():
    assert [default_model(name) for name in ("atomic", "bpe", "3mer")] == [
        "saluki",
        "xlnet",
        "xlnet",
    ]


def test_built_in_models_come_through_the_entry_points():
    assert {"saluki", "xlnet", "huggingface"} <= set(model_names())
    for name in ("saluki", "xlnet", "huggingface"):
        assert find_spec(name).name == name


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(
        ConfigError, match=r"'salucki' is unknown \(known: .*saluki.*\); did you mean 'saluki'\?"
    ):
        find_spec("salucki")


def test_a_plugin_file_adds_its_models(plugin):
    path = plugin("SPEC = make('one')\nOTHER = make('two')\n")
    assert find_spec("one", path).name == "one"
    assert find_spec("two", path).name == "two"
    assert find_spec("saluki", path).name == "saluki"


def test_a_plugin_is_imported_once(plugin):
    path = plugin("SPEC = make('one')\n")
    assert find_spec("one", path) is find_spec("one", path)


def test_a_changed_plugin_is_read_again(plugin):
    before = find_spec(None, plugin("SPEC = make('one')\n"))
    after = find_spec(None, plugin("SPEC = make('renamed')\n"))
    assert (before.name, after.name) == ("one", "renamed")


def test_the_only_model_of_a_plugin_needs_no_name(plugin):
    assert find_spec(None, plugin("SPEC = make('one')\n")).name == "one"
    with pytest.raises(ConfigError, match=r"defines 2 models \(one, two\)"):
        find_spec(None, plugin("SPEC = make('one')\nOTHER = make('two')\n"))


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("", "defines no model"),
        ("import no_such_package_at_all\n", "no_such_package_at_all"),
        ("def broken(:\n", "cannot be imported"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_refused(plugin, ending, message):
    with pytest.raises(ConfigError, match=message):
        find_spec("one", plugin(ending))


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("x = 1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", r"it calls sys.exit\(3\), which a plugin must not"),
        ("def f(): f()\nf()\n", "RecursionError"),
        ("raise BaseExceptionGroup('x', [ValueError('y')])\n", "ExceptionGroup"),
        ("class E(BaseException): pass\nraise E('x')\n", "cannot be imported: E: x"),
        ("raise GeneratorExit()\n", "cannot be imported: GeneratorExit"),
        ("raise KeyboardInterrupt\n", "it raises KeyboardInterrupt, which a plugin must not"),
        ("SPEC = make('one', colour=3)\n", "unexpected keyword argument 'colour'"),
        ("SPEC = make(3)\n", "name is 3; it should be a word"),
        ("SPEC = make('one', options=dict)\n", "it should be a class made from Section"),
        ("SPEC = make('one', build=None)\n", "build is None; it should be a function"),
    ],
)
def test_whatever_a_plugin_does_is_told_as_its_failure(plugin, ending, message):
    path = plugin(ending)
    with pytest.raises(ConfigError, match=message) as caught:
        find_spec("one", path)
    assert str(caught.value).startswith(f"plugin {path}")
    if "cannot be imported" in str(caught.value):
        assert re.match(rf"plugin {path}, line \d+: ", str(caught.value))


def test_an_error_in_a_plugin_names_it_and_its_line_also_from_another_process(plugin):
    path = plugin("def fail():\n    raise ValueError('no such layer')\nSPEC = make('one')\n")
    fail = vars(import_plugin(path))["fail"]
    line = Path(path).read_text().splitlines().index("    raise ValueError('no such layer')") + 1
    told = rf"plugin {path}, line {line}: ValueError: no such layer"
    with pytest.raises(TrainingError, match=told), plugin_named(path, TrainingError):
        fail()
    remote = ValueError("no such layer")
    attach(remote, remote_traceback=f'  File "{path}", line {line}, in fail\nValueError: no such')
    with pytest.raises(ConfigError, match=told), plugin_named(path):
        raise remote
    with pytest.raises(ValueError, match="ours"), plugin_named(path):
        raise ValueError("ours")
    with pytest.raises(MemoryError), plugin_named(path):
        raise attach_line(MemoryError(), path)


@pytest.mark.parametrize("raised", ["GeneratorExit()", "BaseException('x')", "KeyboardInterrupt"])
def test_whatever_a_plugin_raises_in_its_model_names_it(plugin, raised):
    path = plugin(f"def fail():\n    raise {raised}\n")
    fail = vars(import_plugin(path))["fail"]
    with pytest.raises(TrainingError, match=rf"plugin {path}, line \d+: "):  # noqa: SIM117
        with plugin_named(path, TrainingError):
            fail()


@pytest.mark.parametrize("stop", [Stopped(signal.SIGTERM), KeyboardInterrupt()])
def test_a_run_that_is_stopped_while_a_plugin_works_is_stopped(plugin, stop):
    path = plugin("def call(told):\n    told()\n")
    call = vars(import_plugin(path))["call"]

    def told():
        raise stop

    with pytest.raises(type(stop)) as caught, plugin_named(path):
        call(told)
    assert caught.value is stop


def attach_line(error: BaseException, path: str) -> BaseException:
    attach(error, remote_traceback=f'  File "{path}", line 1, in fail')
    return error


def test_an_installed_model_that_cannot_be_imported_is_named(monkeypatch):
    entry = EntryPoint(name="broken", value="no_such_package_at_all:SPEC", group=registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(ConfigError, match="model broken of the installed package no_such_package"):
        find_spec("broken")


def test_a_plugin_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="no such file"):
        find_spec("one", "nowhere.py")
    with pytest.raises(ConfigError, match="cannot be imported"):
        find_spec("one", "no_such_module_at_all")


def test_options_are_checked_and_filled_in():
    options = read_options(find_spec("saluki"), {"channels": 16})
    assert options == SalukiOptions(channels=16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chanels": 8}, r"no option 'chanels' \(its options: .*\); did you mean 'channels'\?"),
        ({"channels": -8}, "option 'channels' of model saluki: found -8"),
        ({"kernel": 4}, "found 4; kernel must be odd"),
        ({"variant": "old"}, "'default' or 'reference'"),
    ],
)
def test_a_wrong_option_names_key_value_and_remedy(options, message):
    with pytest.raises(ConfigError, match=message):
        read_options(find_spec("saluki"), options)
