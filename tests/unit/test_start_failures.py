"""What Ray says where it cannot start is turned into a sentence with a remedy.

The texts are those of Ray 2.60, as it wrote them.
"""

import errno
import os
import shutil

import pytest

from biolm_ray.errors import ResourceError
from biolm_ray.experiment import runtime, start_failures
from biolm_ray.experiment.addresses import Address
from biolm_ray.experiment.start_failures import describe_memory_limit, explain_start

LOCAL = Address("local")
JOINED = Address("head:6379", "resources.address")
SLOW = Exception(
    "The current node timed out during startup. This could happen because some of the raylet "
    "failed to startup or the GCS has become overloaded."
)
SOCKET = OSError(
    "validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: "
    "/a/long/path/ray/session_2026-11-27_19-33-43_645475_7289/sockets/plasma_store"
)
VERSION = RuntimeError(
    "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
    "This process on node 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
)


def said(error: BaseException, address: Address = LOCAL) -> str:
    explained, _ = explain_start(error, address)
    assert isinstance(explained, ResourceError)
    assert "\n" not in str(explained)
    return str(explained)


def wrapped(error: Exception) -> Exception:
    outer = ConnectionError("Failed to connect to Ray cluster at head:6379")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (SLOW, "too busy or too short of memory", "try again when less is running"),
        (RuntimeError("Failed to start GCS.  Last 0 lines"), "too busy", "own messages lie below"),
        (
            RuntimeError("Timed out waiting for file /tmp/ray/session_x/gcs_server_port_bacc2e"),
            "its processes do not come up",
            "(ulimit -u)",
        ),
        (SOCKET, "is too long for the sockets of Ray", "set RAY_TMPDIR to a folder with a short"),
        (RuntimeError("can't start new thread"), "no more processes or threads", "ulimit -u"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no more", "ulimit -u"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open", "ulimit -n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory is left", "larger machine"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space is left", "make room"),
        (PermissionError(errno.EACCES, "", "/t/ray"), "/t/ray cannot be used", "set RAY_TMPDIR"),
        (FileNotFoundError(errno.ENOENT, "", "/x{}"), "/x{} cannot be used", "set RAY_TMPDIR"),
    ],
)
def test_a_local_start_that_fails_says_why_and_what_to_do(error, problem, remedy):
    told = said(error)
    assert told.startswith("Ray cannot start: ")
    assert problem in told
    assert remedy in told


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (wrapped(VERSION), "Ray: 2.59.0 and Python: 3.12.1 there, Ray: 2.60.0 and Python: 3.11.7"),
        (
            RuntimeError(
                "Token authentication is enabled but no authentication token was found. Ensure"
            ),
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN",
        ),
        (
            wrapped(
                RuntimeError(
                    "Failed to connect to GCS. Last connection error: ray.exceptions."
                    "AuthenticationError: RPC error: InvalidAuthToken: Authentication token is "
                    "missing or incorrect"
                )
            ),
            "the cluster at resources.address head:6379 asks for a token, or for another one",
        ),
        (
            wrapped(
                RuntimeError(
                    "Failed to connect to GCS. Last connection error: ray.exceptions.RpcError: "
                    "RPC error: Method not found!"
                )
            ),
            "is of Ray, but not its head; give the port",
        ),
        (
            wrapped(RuntimeError("Failed to connect to GCS. Last connection error: TimedOut")),
            "the head at resources.address head:6379 answers, but not in time",
        ),
        (wrapped(RuntimeError("anything {else}")), "Ray says: Failed to connect to Ray cluster"),
    ],
)
def test_a_cluster_that_cannot_be_joined_says_why(error, words):
    told = said(error, JOINED)
    assert told.startswith("the Ray cluster cannot be joined: ")
    assert words in told


def test_a_start_that_is_too_slow_on_a_full_disk_is_not_tried_again(monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(start_failures.shutil, "disk_usage", lambda _: usage)
    explained, is_passing = explain_start(SLOW, LOCAL)
    assert "no space is left in the temporary folder" in str(explained)
    assert not is_passing


def test_no_cluster_of_this_machine_says_how_to_start_one():
    error = ConnectionError("Could not find any running Ray instance. Please specify the one to")
    told = said(error, Address("auto", "resources.address"))
    assert "no Ray cluster runs on this machine (resources.address: auto)" in told
    assert "'ray start --head', or leave resources.address out" in told


def test_only_a_start_that_was_too_slow_is_tried_again(monkeypatch):
    tries = []

    def fail(error):
        def init(**_):
            tries.append(error)
            raise error

        return init

    monkeypatch.setattr(runtime.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(runtime.ray, "shutdown", lambda: None)
    for error, number in ((SLOW, 2), (SOCKET, 1)):
        tries.clear()
        monkeypatch.setattr(runtime.ray, "init", fail(error))
        with pytest.raises(ResourceError), runtime.connected("local"):
            pass
        assert len(tries) == number


def test_a_start_that_was_too_slow_once_goes_on(monkeypatch):
    answers = iter([SLOW, None])

    def init(**_):
        error = next(answers)
        if error is not None:
            raise error

    monkeypatch.setattr(runtime.ray, "shutdown", lambda: None)
    monkeypatch.setattr(runtime.ray, "init", init)
    runtime._start(LOCAL)
    assert next(answers, "none left") == "none left"


def test_a_home_folder_that_can_keep_no_token_gives_the_run_one_of_its_own(tmp_path, monkeypatch):
    for name in runtime.TOKEN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with runtime._token_at_hand():
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ
    monkeypatch.setenv("HOME", str(tmp_path))
    with runtime._token_at_hand():
        assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("most_bytes", "warned"), [(-1, False), (3 << 30, True), (64 << 30, False)]
)
def test_a_limit_of_memory_that_ray_does_not_outlive_is_warned_of(most_bytes, warned):
    text = describe_memory_limit(most_bytes)
    assert (text is not None) == warned
    assert not warned or "3.0 GB of memory (ulimit -v)" in str(text)
