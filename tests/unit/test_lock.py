"""One run at a time in a folder: who holds its lock, who is refused, and when it is taken over."""

import errno
import fcntl
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from racing import as_of_a_dead_process, work_in_turn

from biolm_ray.errors import ResourceError
from biolm_ray.results import holder as holders
from biolm_ray.results import lock as locks
from biolm_ray.results.holder import (
    STALE_SECONDS,
    Holder,
    State,
    is_alive,
    readable_age,
    refusal,
    this_process,
)
from biolm_ray.results.lock import LOCK, held_in_turn, locked
from biolm_ray.results.lock_file import LockFile
from biolm_ray.signals import ENDING

NOW = datetime(2026, 3, 1, 14, 14, tzinfo=timezone.utc)
NODE = Holder(
    token="t",
    mode="fine-tune",
    host="node1",
    machine="another",
    process=4711,
    process_started="5",
    started=NOW - timedelta(minutes=12),
)


def put(folder: Path, content: bytes, age_seconds: float = 0) -> Path:
    path = folder / LOCK
    path.write_bytes(content)
    then = time.time() - age_seconds
    os.utime(path, (then, then))
    return path


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}
    found[folder] = b""
    return {str(path): (path.stat().st_mtime_ns, content) for path, content in found.items()}


def refused(folder: Path, mode: str = "predict") -> str:
    with pytest.raises(ResourceError) as refusal, locked(folder, mode):
        pass
    return str(refusal.value)


def test_the_second_run_is_refused_and_writes_nothing(tmp_path):
    output = tmp_path / "out"
    with locked(output, "fine-tune"):
        before = everything(tmp_path)
        assert re.search("fine-tune is running here since .* UTC", refused(output))
        assert everything(tmp_path) == before
    assert list(output.iterdir()) == []
    with locked(output, "predict"):
        pass


def test_a_folder_has_one_lock_whatever_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    with locked(tmp_path / "out", "fine-tune"):
        for name in (tmp_path / "link", Path("out"), Path("./out/"), Path("out/../link")):
            assert re.search("fine-tune is running here", refused(name, "tokenize"))
    with locked(tmp_path / "link", "fine-tune"), locked(tmp_path, "tune"):
        pass


def test_a_run_inside_another_and_in_another_thread_is_refused_and_does_not_wait(tmp_path):
    told = []

    def enter():
        told.append(refused(tmp_path))

    with locked(tmp_path, "fine-tune"):
        enter()
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert len(told) == 2
    assert all(", this very process; wait for it" in text for text in told)


def test_the_lock_is_given_back_whatever_ends_the_run(tmp_path):
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), locked(tmp_path, "fine-tune"):
            raise error
        assert not (tmp_path / LOCK).exists()


def test_a_process_that_was_forked_off_does_not_give_the_lock_back(tmp_path):
    with locked(tmp_path, "fine-tune") as lock:
        child = os.fork()
        if child == 0:
            lock.release()
            os._exit(0)
        os.waitpid(child, 0)
        assert (tmp_path / LOCK).exists()


HOLD = """
import os, sys, time
from pathlib import Path
from biolm_ray.results.lock import locked
with locked(Path(sys.argv[1]), "fine-tune"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_run_is_told_and_its_lock_taken_over_but_that_of_a_suspended_one_is_not(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    other.send_signal(signal.SIGSTOP)
    os.utime(tmp_path / LOCK, (0, 0))
    assert re.search(f"process {other.pid} on host", refused(tmp_path))
    other.kill()
    # It is listed until its parent has asked how it ended, which has not happened yet.
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    with locked(tmp_path, "predict") as lock:
        assert lock.taken_over is not None
        assert f"(process {other.pid} on host" in lock.taken_over
        assert "has ended without removing its lock; it is taken over" in lock.taken_over
    other.communicate()


def test_a_later_process_of_the_same_number_does_not_hold_the_lock(tmp_path):
    put(tmp_path, as_of_a_dead_process())
    with locked(tmp_path, "predict") as lock:
        assert lock.taken_over


def test_a_run_on_another_host_counts_as_ended_once_it_has_long_been_silent(tmp_path):
    content = NODE.model_dump_json().encode()
    put(tmp_path, content, STALE_SECONDS - 60)
    assert re.search("process 4711 on host node1, last sign of life", refused(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    put(tmp_path, content, STALE_SECONDS + 90)
    with locked(tmp_path, "predict") as lock:
        assert lock.taken_over is not None
        assert "process 4711 on host node1, last sign of life 3 min ago" in lock.taken_over


def test_the_age_of_a_lock_does_not_depend_on_the_clock_of_this_host(tmp_path, monkeypatch):
    put(tmp_path, NODE.model_dump_json().encode(), 5)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert LockFile(tmp_path / LOCK).silent_seconds() < 60


def test_who_runs_is_told_by_name_and_age():
    own = this_process("fine-tune").model_copy(
        update={"host": "node1", "process": 4711, "started": NODE.started}
    )
    text = refusal(Path("experiment"), "predict", State("p", own, True, 0.0), NOW)
    assert text == (
        "experiment: fine-tune is running here since 14:02 UTC (12 min), process 4711 on host "
        "node1; wait for it, end it, or choose another outputpath. To use its finished models: "
        "--pretrainedmodel experiment --outputpath ELSEWHERE"
    )
    text = refusal(Path("x"), "tune", State("p", NODE, None, 8.0), NOW + timedelta(days=2))
    assert text == (
        "x: fine-tune is running here since 2026-03-01 14:02 UTC (2 days), process 4711 on host "
        "node1, last sign of life 8 s ago (after 2 min of silence it counts as ended); wait for "
        "it, end it, or choose another outputpath"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (90, "90 s"), (720, "12 min"), (7300, "2 h"), (400_000, "4 days")],
)
def test_ages_are_told_in_whole_units(seconds, text):
    assert readable_age(seconds) == text


DAMAGED = {
    "empty": b"",
    "no JSON": b"\x00\xff",
    "another shape": b'{"pid": 7}',
    "of later versions": b'{"format_version": 99}',
    "deep": b"[" * 60_000,
    "hostile": NODE.model_dump_json().replace("4711", "-1").encode(),
    "large": b" " * 200_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_lock_holds_while_it_is_new_and_is_then_taken_over(tmp_path, content):
    put(tmp_path, content)
    assert re.search("is damaged, but was written .* try again in 2 min", refused(tmp_path))
    put(tmp_path, content, STALE_SECONDS + 90)
    with locked(tmp_path, "predict") as lock:
        assert lock.taken_over is not None
        assert "is damaged and 3 min old; it is taken over" in lock.taken_over
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", NODE.model_dump_json().encode()])
def test_a_lock_of_the_future_counts_from_when_it_is_found(tmp_path, monkeypatch, content):
    path = put(tmp_path, content, age_seconds=-1e8)
    assert re.search("try again in 2 min|last sign of life 0 s ago", refused(tmp_path))
    assert abs(path.stat().st_mtime - time.time()) < STALE_SECONDS
    put(tmp_path, content, age_seconds=-1e8)
    monkeypatch.setattr(LockFile, "renew", refuse_change)
    assert re.search("its time lies in the future.*; remove it if none does", refused(tmp_path))


def refuse_change(*_):
    raise PermissionError(errno.EPERM, "not yours")


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_lock_file_is_told_and_left_alone(tmp_path, kind):
    path, elsewhere = tmp_path / LOCK, tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(elsewhere)
    else:
        os.mkfifo(path)
    assert re.search(r"lock is no file, .*; move it away, or choose", refused(tmp_path))
    assert elsewhere.read_text() == "mine"
    assert os.path.lexists(path)


def refuse(number: int):
    def call(*arguments, **more):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_a_lock_cannot_be_written_in_is_told(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "open", refuse(number))
    assert f"{tmp_path} cannot be written ({os.strerror(number)}); choose" in refused(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    assert "file/out cannot be made (Not a directory); choose" in refused(tmp_path / "file" / "out")


@pytest.mark.parametrize("missing", ["link", "flock"])
def test_file_systems_without_hard_links_or_locks_will_do(tmp_path, monkeypatch, missing):
    library = os if missing == "link" else fcntl
    monkeypatch.setattr(library, missing, refuse(errno.ENOTSUP))
    for _ in range(2):
        put(tmp_path, as_of_a_dead_process())
        with locked(tmp_path, "fine-tune"):
            assert re.search("fine-tune is running here", refused(tmp_path))
        assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_no_longer_the_one_that_was_read_stays(tmp_path, monkeypatch):
    place = LockFile(tmp_path / LOCK)
    put(tmp_path, b"new")
    assert not place.replace(b"old", b"mine")
    # As where `flock` does nothing, and another process is faster just then.
    monkeypatch.setattr(place, "_is_at_path", lambda handle: True)
    read, faster = place._read, [b"old", b"new"]
    monkeypatch.setattr(place, "_read", lambda path: faster.pop(0) if faster else read(path))
    assert not place.replace(b"old", b"mine")
    place.remove(b"old")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def lose(folder: Path, then) -> str:
    """Let another host take over the lock of a run of this process; gives what the run says."""

    def run():
        with locked(folder, "predict") as lock:
            lock.check()
            put(folder, NODE.model_dump_json().encode())
            then(lock)

    with pytest.raises(ResourceError) as told:
        run()
    assert (folder / LOCK).read_bytes() == NODE.model_dump_json().encode()
    return str(told.value)


def test_a_run_whose_lock_was_taken_over_stops_and_leaves_the_other_lock(tmp_path):
    text = lose(tmp_path, lambda lock: lock.check())
    assert "fine-tune has begun here (process 4711 on host node1) meanwhile, so it stops" in text


@pytest.mark.parametrize("heard", [signal.SIGINT, signal.SIGTERM])
def test_a_run_whose_lock_was_taken_over_is_interrupted_where_it_waits(
    tmp_path, monkeypatch, heard
):
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    signal.signal(heard, signal.default_int_handler)
    try:
        text = lose(tmp_path, lambda lock: threading.Event().wait(60))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "so it stops; when nothing" in text


def test_a_lock_that_was_removed_by_hand_is_put_back_unless_the_run_was_long_away(tmp_path):
    with locked(tmp_path, "fine-tune") as lock:
        (tmp_path / LOCK).unlink()
        lock.check()
        assert (tmp_path / LOCK).exists()
        (tmp_path / LOCK).unlink()
        lock._seen -= STALE_SECONDS + 1
        with pytest.raises(ResourceError, match="its lock is gone"):
            lock.check()
    assert not (tmp_path / LOCK).exists()


def test_runs_that_make_the_same_thing_wait_for_their_turn_and_say_so(
    tmp_path, caplog, monkeypatch
):
    caplog.set_level("INFO", "biolm_ray")
    monkeypatch.setattr(locks, "TURN_SECONDS", 0.01)
    waits, turns = threading.Event(), []
    monkeypatch.setattr(
        locks.log, "info", lambda *text: waits.set() or turns.append(text[0] % text[1:])
    )

    def second():
        with held_in_turn(tmp_path / "lock", "tune", "the data", 1):
            turns.append("second")

    with held_in_turn(tmp_path / "lock", "fine-tune", "the data", 1):
        with pytest.raises(ResourceError, match=r"waited 0 min .* run it again when that is done"):
            held_in_turn(tmp_path / "lock", "tune", "the data", 0).__enter__()
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(60)
        turns.append("first")
    thread.join()
    assert turns[0].startswith("waiting for the data: fine-tune is at work there since ")
    assert turns[1:] == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


def test_signs_of_life_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    renewed = threading.Event()
    monkeypatch.setattr(LockFile, "renew", lambda place: renewed.set())
    with locked(tmp_path, "fine-tune"):
        assert renewed.wait(60)


def test_processes_are_told_apart_by_machine_and_start(monkeypatch):
    own = this_process("fine-tune")
    assert is_alive(own) is True
    assert is_alive(own.model_copy(update={"machine": "another"})) is None
    assert is_alive(own.model_copy(update={"process_started": "1"})) is False
    assert is_alive(own.model_copy(update={"process": 2**22 + 1})) is False
    monkeypatch.setattr(holders, "process_start", lambda process: None)
    assert is_alive(own) is None


def test_only_one_of_many_processes_works_at_a_time_however_often_one_dies(tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        turns = [(tmp_path, 15, seed) for seed in range(4)]
        taken_over = sum(pool.starmap(work_in_turn, turns, chunksize=1))
    assert taken_over > 10
    assert {path.name for path in tmp_path.iterdir()} <= {LOCK}


def test_a_folder_that_is_gone_while_a_run_works_in_it_is_told(tmp_path):
    folder = tmp_path / "out"

    def run() -> None:
        with locked(folder, "predict") as lock:
            shutil.rmtree(folder)
            lock.check()

    with pytest.raises(ResourceError, match="out is not there any more: it was moved or removed"):
        run()
