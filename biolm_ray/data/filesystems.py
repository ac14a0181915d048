"""Which filesystem a path or URI lies on: local, s3://, gs://, hf:// or any that fsspec knows."""

import lzma
import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from pyarrow import fs

from biolm_ray.config.paths import uri_scheme
from biolm_ray.errors import ConfigError

_ARROW_SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
_ACCESS_ERRORS = (OSError, EOFError, lzma.LZMAError, pa.ArrowInvalid)
_SHOWN_SCHEMES = ("file", "s3", "gs", "abfs", "hdfs", "hf", "http", "https")


def locate(path: str) -> tuple[fs.FileSystem, str]:
    """The filesystem a path or URI lies on, and the path within it; touches no file.

    For s3, AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3) names a server other than Amazon's.

    Raises:
        ConfigError: The scheme is unknown, or a package that it needs is not installed.
    """
    scheme = uri_scheme(path)
    if scheme is None:
        return fs.LocalFileSystem(), str(Path(path).expanduser())
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if scheme == "s3" and endpoint and "?" not in path:
        return _s3_filesystem(endpoint), path.partition("://")[2]
    if scheme in _ARROW_SCHEMES:
        try:
            return fs.FileSystem.from_uri(path)
        except pa.ArrowInvalid as error:
            raise ConfigError(f"{path} is no valid {scheme} address: {error}") from error
    try:
        filesystem, inner = fsspec.core.url_to_fs(path)
    except ValueError as error:
        raise ConfigError(
            f"{path} has the unknown scheme '{scheme}'; known are {', '.join(_SHOWN_SCHEMES)} "
            "and what an installed fsspec package adds"
        ) from error
    except ImportError as error:
        raise ConfigError(f"{path} needs a package that is not installed: {error}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), inner


def access_errors(path: str) -> tuple[type[Exception], ...]:
    """What reading raises when a file or its server cannot be reached, or bytes are damaged."""
    if path.startswith("hf://"):
        # Of whichever HTTP library this version of huggingface_hub uses.
        from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

        return *_ACCESS_ERRORS, HTTPError
    return _ACCESS_ERRORS


def fsspec_filesystem(filesystem: fs.FileSystem) -> Any:
    """The fsspec filesystem that pyarrow reads through, or None when pyarrow reads by itself."""
    handler = filesystem.handler if isinstance(filesystem, fs.PyFileSystem) else None
    return handler.fs if isinstance(handler, fs.FSSpecHandler) else None


def _s3_filesystem(endpoint: str) -> fs.FileSystem:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return fs.S3FileSystem(endpoint_override=endpoint, region=region)
