import pytest

from biolm_ray.errors import ConfigError
from biolm_ray.models.registry import default_model, find_spec, model_names, read_options
from biolm_ray.models.saluki import SalukiOptions

PLUGIN = """
from biolm_ray.config.schema import Section
from biolm_ray.models.spec import ModelSpec, Recipe


class Options(Section):
    width: int = 3


def make(name):
    return ModelSpec(
        name=name,
        summary="A test.",
        options=Options,
        build=lambda options, inputs: None,
        recipe=lambda options: Recipe(learning_rate=1.0),
    )

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
