import os
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import biolm_ray
from biolm_ray.cli import COMMANDS
from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Column

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CHANGELOG.md", "cluster.yaml", "docs/data.md", "docs/running.md")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def pins() -> dict[str, list[Requirement]]:
    """The lines of constraints.txt, by package."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def test_the_makefile_has_the_targets_that_users_and_ci_call() -> None:
    assert {"setup", "demo", "test", "check", "clean"} <= targets()


def test_ci_runs_check_and_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().endswith("make check test\n")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_only_make_targets_that_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    assert set(re.findall(r"(?:`|^|and )make ([a-z-]+)", text, re.MULTILINE)) <= targets()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_only_commands_that_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    named = re.findall(
        r"(?:python -m biolm_ray|(?:^|`)biolm-ray) ([a-z][a-z-]*)", text, re.MULTILINE
    )
    assert set(named) <= set(COMMANDS)


def test_the_configurations_of_the_data_document_load(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    file = tmp_path / "experiment.yaml"
    file.write_text("\n".join(blocks))
    config = load_config(file, "fine-tune", {"task": "regression"})
    assert config.data.label_column == Column(name="half_life_min")
    assert config.data.on_bad_rows == "quarantine"
    assert config.data.max_rejected_share == 0.01


def test_every_pin_is_exact() -> None:
    for package in pins().values():
        for pin in package:
            assert re.fullmatch(r"==[^,*+]+", str(pin.specifier)), pin


def test_every_pin_applies_to_one_version_of_python_or_to_all() -> None:
    for version in ("3.10", "3.11", "3.12", "3.13"):
        for name, package in pins().items():
            applying = [
                pin
                for pin in package
                if pin.marker is None or pin.marker.evaluate({"python_version": version})
            ]
            assert len(applying) <= 1, f"{name} for Python {version}"


def test_every_dependency_is_pinned_within_its_range() -> None:
    for line in metadata.requires("biolm-ray") or []:
        dependency = Requirement(line)
        if dependency.name == "biolm-ray":
            continue
        for pin in pins()[canonicalize_name(dependency.name)]:
            [exact] = pin.specifier
            assert dependency.specifier.contains(exact.version), f"{pin} for {dependency}"


def test_the_package_and_its_metadata_have_one_version() -> None:
    assert metadata.version("biolm-ray") == biolm_ray.__version__


def test_the_changelog_has_a_place_for_changed_numbers() -> None:
    assert "### Numerics" in (ROOT / "CHANGELOG.md").read_text()


def test_no_file_names_a_package_index() -> None:
    for name in ("Makefile", "constraints.txt", "pyproject.toml", "cluster.yaml", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"index-url|find-links|--index|simple/", text), name
