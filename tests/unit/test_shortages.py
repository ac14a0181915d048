"""A machine that has run out of something says what it is and what to do."""

import errno

import pyarrow as pa
import pytest
from safetensors import SafetensorError

from biolm_ray.errors import DataError, ResourceError
from biolm_ray.shortages import shortage_as_error


def hidden(error: Exception, cause: Exception) -> Exception:
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        hidden(RuntimeError("unexpected pos 640"), OSError(errno.ENOSPC, "No space left")),
    ],
    ids=repr,
)
def test_a_full_disk_is_told_in_one_sentence(tmp_path, error):
    with (
        pytest.raises(ResourceError, match=r"cannot be written: no space is left.*--resume"),
        shortage_as_error(tmp_path),
    ):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file"),
        RuntimeError("size mismatch"),
        hidden(DataError("line 3"), OSError(errno.ENOSPC, "No space left")),
    ],
    ids=repr,
)
def test_other_errors_pass(tmp_path, error):
    with pytest.raises(type(error), match=str(error.args[-1])), shortage_as_error(tmp_path):
        raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), r"no memory is left \(MemoryError\)"),
        (pa.ArrowMemoryError("malloc of size 64 failed"), "no memory is left .*batchsize"),
        (
            RuntimeError("Allocator: can't allocate memory: you tried"),
            "no memory is left",
        ),
        (OSError(errno.EFBIG, "File too large"), r"larger than is allowed .*ulimit -f"),
        (
            ImportError("libtorch.so: failed to map segment from shared object"),
            "no memory is left",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory is left"),
        (OSError(errno.EMFILE, "Too many open files"), r"too many files are open .*ulimit -n"),
        (OSError("Failed to open local file. Detail: [errno 24] Too many open files"), "ulimit -n"),
        (RuntimeError("can't start new thread"), r"process or thread .*ulimit -u"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
    ],
    ids=repr,
)
def test_what_else_runs_out_is_told_with_its_remedy(tmp_path, error, told):
    with pytest.raises(ResourceError, match=told), shortage_as_error(tmp_path):
        raise error
