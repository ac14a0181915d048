"""Small JSON files: read as what they must be, or refused in one sentence."""

import json
import os
from typing import ClassVar

import pytest
from pydantic import Field

from biolm_ray.errors import DataError
from biolm_ray.records import Record, RecordFile, SealedFile, find_record, read_record, write_record


class Part(Record):
    name: str
    sizes: tuple[int, ...] = ()


class Example(RecordFile):
    LATEST_VERSION: ClassVar[int] = 2
    MOST_BYTES: ClassVar[int] = 2000

    parts: tuple[Part, ...]
    share: float = 0.5
    ready: bool = True


WHOLE = {"parts": [{"name": "a", "sizes": [1, 2]}], "format_version": 1}
REMEDY = "prepare the data again"


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "example.json"
    write_record(path, Example(parts=(Part(name="a", sizes=(1, 2)),)))
    assert json.loads(path.read_text())["format_version"] == 2
    found = read_record(path, Example, REMEDY)
    assert found.parts == (Part(name="a", sizes=(1, 2)),)


def test_a_file_without_a_version_is_of_the_first(tmp_path):
    path = tmp_path / "example.json"
    path.write_text(json.dumps({"parts": []}))
    assert read_record(path, Example, REMEDY).format_version == 1


def test_where_there_is_none_it_is_missing(tmp_path):
    path = tmp_path / "example.json"
    assert find_record(path, Example, REMEDY) is None
    with pytest.raises(DataError, match=r"example\.json is missing; prepare the data again"):
        read_record(path, Example, REMEDY)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not readable as JSON"),
        (json.dumps(WHOLE).encode()[:20], "not readable as JSON"),
        (b"\x00\xff\xfe", "not readable as JSON"),
        (json.dumps(WHOLE).encode("utf-16"), "not readable as JSON"),
        (b"[" * 1900, "nested too deeply"),
        (b"{" + b'"parts": {' * 150 + b"}" * 151, "'parts': "),
        (b" " * 2001, "is larger than 2,000 bytes"),
        (b'{"parts": ' + b"9" * 1900 + b"}", "'parts': "),
        (b"[]", "it holds no table of values"),
        (b"null", "it holds no table of values"),
        (b'{"parts": [], "parts": []}', "'parts' stands there twice"),
        (b'{"parts": [], "share": "0.5"}', "'share': "),
        (b'{"parts": [], "ready": 1}', "'ready': "),
        (b'{"parts": [{"name": "a", "sizes": [1.0]}]}', "'parts.0.sizes.0': "),
        (b'{"parts": [{"name": "a", "sizes": [true]}]}', "'parts.0.sizes.0': "),
        (b'{"parts": [{"name": null}]}', "'parts.0.name': "),
        (b"""{"parts": [{"name": "\\ud800"}]}""", "damaged"),
        (b'{"parts": [], "more": 1}', "'more': "),
        (b"{}", "'parts': Field required"),
        (b'{"parts": [], "format_version": 0}', "'format_version' is 0"),
        (b'{"parts": [], "format_version": "1"}', "'format_version' is '1'"),
        (b'{"parts": [], "format_version": true}', "'format_version' is True"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_damaged_is_refused_with_its_place_and_a_remedy(tmp_path, content, problem):
    path = tmp_path / "example.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_record(path, Example, REMEDY)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(f"; {REMEDY}")
    assert problem in message
    assert len(message) < 400


def test_of_a_later_version_it_is_said_and_nothing_else_is_read(tmp_path):
    path = tmp_path / "example.json"
    path.write_text(json.dumps({"format_version": 3, "unknown": 1}))
    with pytest.raises(
        DataError, match=r"later version of biolm_ray \(format 3.*up to 2\); update"
    ):
        read_record(path, Example, REMEDY)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(DataError, match=f"{name}: is no file; {REMEDY}"):
            read_record(tmp_path / name, Example, REMEDY)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(DataError, match="cannot be read"):
        read_record(loop, Example, REMEDY)


class Sealed(SealedFile):
    share: float
    names: dict[str, int] = Field(default_factory=dict)


def test_a_sealed_file_shows_what_has_changed_in_it(tmp_path):
    path = tmp_path / "sealed.json"
    write_record(path, Sealed(share=0.1, names={"b": 1, "a": 2}))
    written = json.loads(path.read_text())
    assert read_record(path, Sealed, REMEDY).share == 0.1
    without = {key: value for key, value in written.items() if key != "seal"}
    for changed in (
        written | {"share": 0.2},
        written | {"names": {}},
        {key: value for key, value in written.items() if key != "names"},
        written | {"seal": "0" * 64},
        without,
        written | {"format_version": 1},
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(DataError, match="something in it has changed since it was written"):
            read_record(path, Sealed, REMEDY)
    path.write_text(json.dumps(dict(reversed(written.items()))))
    assert read_record(path, Sealed, REMEDY).names == {"a": 2, "b": 1}


def test_a_file_from_before_seals_has_none(tmp_path):
    path = tmp_path / "sealed.json"
    path.write_text(json.dumps({"share": 0.1}))
    assert read_record(path, Sealed, REMEDY).seal is None
