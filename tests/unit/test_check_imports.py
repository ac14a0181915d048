from pathlib import Path

import pytest
from check_imports import find_breaches, main


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that keeps every rule; tests add modules that break one."""
    folder = tmp_path / "biolm_ray"
    write(folder, "__init__.py", "def __getattr__(name):\n    from biolm_ray import stages\n")
    write(folder, "errors.py", "class BiolmError(Exception): ...\n")
    write(folder, "config/__init__.py", "")
    write(folder, "config/schema.py", "from biolm_ray.errors import BiolmError\n")
    write(folder, "models/__init__.py", "")
    write(folder, "models/spec.py", "import torch\nfrom biolm_ray.config.schema import Section\n")
    write(folder, "experiment/__init__.py", "")
    write(folder, "experiment/runtime.py", "import ray\nray.init()\n")
    write(folder, "stages.py", "from biolm_ray.experiment import runtime\n")
    write(folder, "cli.py", "def main():\n    from biolm_ray import stages\n")
    return folder


def write(package: Path, name: str, text: str) -> None:
    path = package / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def breaches(package: Path) -> list[str]:
    return [str(breach).removeprefix(f"{package}/") for breach in find_breaches(package)]


def test_a_package_in_order_has_no_breach(package: Path) -> None:
    assert breaches(package) == []


@pytest.mark.parametrize(
    "statement",
    [
        "from biolm_ray.stages import tune",
        "from biolm_ray import stages",
        "import biolm_ray.stages",
        "from .. import stages",
        "from ..stages import tune",
    ],
)
def test_an_import_to_the_right_is_found_however_it_is_written(
    package: Path, statement: str
) -> None:
    write(package, "models/late.py", f"\ndef build():\n    {statement}\n")
    assert breaches(package) == [
        "models/late.py:3: models imports stages, which stands after it",
    ]


def test_a_relative_import_within_a_package_is_in_order(package: Path) -> None:
    write(package, "models/other.py", "from . import spec\nfrom .spec import ModelSpec\n")
    assert breaches(package) == []


def test_a_name_outside_the_order_is_found(package: Path) -> None:
    write(package, "helpers.py", "")
    assert breaches(package) == ["helpers.py:1: 'helpers' has no place in the order"]


@pytest.mark.parametrize("statement", ["import torch.nn", "from ray import train", "import pandas"])
def test_a_heavy_library_in_the_configuration_is_found(package: Path, statement: str) -> None:
    write(package, "config/load.py", f"{statement}\n")
    [breach] = breaches(package)
    assert breach.startswith("config/load.py:1: loads a heavy library when imported")


def test_a_heavy_library_is_found_behind_other_modules(package: Path) -> None:
    write(package, "cli.py", "from biolm_ray.models.spec import ModelSpec\n")
    assert breaches(package) == [
        "cli.py:1: loads a heavy library when imported: biolm_ray.models.spec -> torch"
    ]


def test_a_heavy_library_inside_a_function_or_for_types_only_is_no_breach(package: Path) -> None:
    write(package, "cli.py", "if TYPE_CHECKING:\n    import ray\ndef main():\n    import torch\n")
    assert breaches(package) == []


@pytest.mark.parametrize("text", ["import ray\nray.init()\n", "\nfrom ray import init\n"])
def test_starting_ray_elsewhere_is_found(package: Path, text: str) -> None:
    write(package, "experiment/search.py", text)
    assert breaches(package) == ["experiment/search.py:2: only experiment.runtime starts Ray"]


def test_the_exit_code_tells_whether_there_is_a_breach(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(package)]) == 0
    write(package, "helpers.py", "")
    assert main([str(package)]) == 1
    assert "helpers.py:1" in capsys.readouterr().out
