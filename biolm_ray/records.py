"""The small JSON files that runs leave: read as what they must be, typed, bounded, of a version.

They lie in folders that are copied, edited and sent around, so nothing is taken from them before
all of it is what it should be.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from biolm_ray.errors import DataError
from biolm_ray.files import parse_json, read_bounded, write_json

VERSION_KEY = "format_version"


class Record(BaseModel):
    """A part of such a file: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RecordFile(Record):
    """A whole file. Fields whose default fits are not missed in files of earlier versions.

    Where a field was called otherwise or had another form in an earlier version, `as_today`
    translates it, so that the rest of the code knows today's form only.

    Attributes:
        format_version: Of the file's form; what has none is of version 1.
        LATEST_VERSION: The one that is written, and the last that is understood.
        MOST_BYTES: No such file is larger.
    """

    LATEST_VERSION: ClassVar[int] = 1
    MOST_BYTES: ClassVar[int] = 16 << 20

    format_version: int = 1

    @classmethod
    def as_today(cls, values: Any) -> Any:
        """Translate what was read of an earlier version, which may be anything.

        This is no validator of pydantic: behind one, lists would not be taken for tuples.
        """
        return values


class SealedFile(RecordFile):
    """A file that only the program changes: a value that is lost or altered shows.

    Attributes:
        seal: A hash of all else that is in the file; those of the first version have none.
    """

    LATEST_VERSION: ClassVar[int] = 2

    seal: str | None = None


class LaterVersion(DataError):
    """A file was written by a later version of the program, and is not damaged."""


AnyFile = TypeVar("AnyFile", bound=RecordFile)


def read_record(path: Path, kind: type[AnyFile], remedy: str) -> AnyFile:
    """Read a file of a kind.

    Args:
        path: Of the file.
        kind: What it must hold.
        remedy: What to do where it is damaged or missing, as the end of a sentence.

    Raises:
        DataError: It is missing, damaged, or of a later version.
    """
    found = find_record(path, kind, remedy)
    if found is None:
        raise DataError(f"{path} is missing; {remedy}")
    return found


def find_record(path: Path, kind: type[AnyFile], remedy: str) -> AnyFile | None:
    """Read a file of a kind; None where there is none.

    Raises:
        DataError: It is damaged, or of a later version.
    """
    try:
        content = read_bounded(path, kind.MOST_BYTES)
    except FileNotFoundError:
        return None
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from None
    return parse_record(content, str(path), kind, remedy)


def parse_record(content: bytes, origin: str, kind: type[AnyFile], remedy: str) -> AnyFile:
    """Read the content of a file of a kind, wherever it lies.

    Args:
        content: Of the file.
        origin: Where it lies, for messages.
        kind: What it must hold.
        remedy: What to do where it is damaged, as the end of a sentence.

    Raises:
        DataError: It is damaged, or of a later version.
    """
    try:
        values = parse_json(content, origin, kind.MOST_BYTES)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from None
    return as_record(values, origin, kind, remedy)


def as_record(values: Any, origin: str, kind: type[AnyFile], remedy: str) -> AnyFile:
    """Take values that were read as a file of a kind.

    Raises:
        DataError: They are none, or those of a later version.
    """
    stored = values if isinstance(values, dict) else {}
    check_version(stored, origin, kind.LATEST_VERSION, remedy)
    values = kind.as_today(values)
    if not isinstance(values, dict):
        raise DataError(f"{origin}: damaged (it holds no table of values); {remedy}")
    try:
        # As JSON again: a list is then a tuple where one is asked for, and yet nothing else is
        # taken for what it is not, as "5" for 5 would be.
        record = kind.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise DataError(f"{origin}: damaged ({first_problem(error)}); {remedy}") from None
    if isinstance(record, SealedFile):
        _check_seal(record, stored, f"{origin}: damaged", remedy)
    return record


def check_version(values: dict[str, Any], origin: str, latest: int, remedy: str) -> None:
    """Make sure that the version of a file is one that is understood.

    Raises:
        LaterVersion: It is a later one.
        DataError: It is none.
    """
    version = values.get(VERSION_KEY, 1)
    if type(version) is int and version > latest:
        raise LaterVersion(
            f"{origin}: written by a later version of biolm_ray (format {str(version)[:20]}; this "
            f"one reads up to {latest}); update biolm_ray"
        )
    if type(version) is not int or version < 1:
        raise DataError(f"{origin}: damaged ('{VERSION_KEY}' is {version!r:.40}); {remedy}")


def _check_seal(record: SealedFile, values: dict[str, Any], where: str, remedy: str) -> None:
    is_sealed = record.format_version > 1 or record.seal is not None
    if is_sealed and record.seal != _seal(values):
        raise DataError(f"{where} (something in it has changed since it was written); {remedy}")


def _seal(values: dict[str, Any]) -> str:
    rest = json.dumps(
        {key: value for key, value in values.items() if key != "seal"}, sort_keys=True
    )
    return hashlib.sha256(rest.encode()).hexdigest()


def first_problem(error: ValidationError) -> str:
    """Say the first of what does not fit: where, and what is wrong with it."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:40] for part in first["loc"])
    return f"'{where}': {first['msg']}" if where else first["msg"]


def write_record(path: Path, record: RecordFile) -> None:
    """Write a file as the version that is latest today; it is whole or absent."""
    write_json(path, record_values(record))


def record_values(record: RecordFile) -> dict[str, Any]:
    """Give what is to be written of a file, for those who write it elsewhere."""
    values = {**record.model_dump(mode="json"), VERSION_KEY: record.LATEST_VERSION}
    if not isinstance(record, SealedFile):
        return values
    # What is hashed is what will be read: JSON knows no tuples, and no keys but texts.
    return {**values, "seal": _seal(json.loads(json.dumps(values)))}
