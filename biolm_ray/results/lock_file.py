"""Where a lock lies: a file that processes of several hosts create, replace and remove at once."""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from biolm_ray.errors import ResourceError
from biolm_ray.results.holder import STALE_SECONDS

MOST_BYTES = 1 << 16


class LockPlace(Protocol):
    """A place for one lock. What a method does, it does at one stroke among all who use the place.

    A bucket can be one, too: objects there are written on condition that there is none, or that
    it is still the one that was read.
    """

    def find(self) -> bytes | None:
        """Read the lock; None where there is none."""
        ...

    def create(self, content: bytes) -> bool:
        """Put a lock there unless there is one; tell whether that was done."""
        ...

    def replace(self, before: bytes, content: bytes) -> bool:
        """Put a lock in the place of another, unless that is there no more; tell whether it was."""
        ...

    def renew(self) -> None:
        """Leave a sign of life of the holder."""
        ...

    def remove(self, content: bytes) -> None:
        """Take the lock away, unless it is another one."""
        ...

    def silent_seconds(self) -> float:
        """The time since the last sign of life, by the clock of the place alone; see `LockFile`."""
        ...


class LockFile:
    """A lock on a local or network file system.

    The sign of life is the time of the file: on a network file system its server sets it, so that
    hosts whose clocks differ agree on how old it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def find(self) -> bytes | None:
        """Read the lock; None where there is none.

        Raises:
            ResourceError: Something else is in its place, or it cannot be read.
        """
        return self._read(self.path)

    def create(self, content: bytes) -> bool:
        """Put a lock there unless there is one; tell whether that was done.

        Raises:
            ResourceError: It cannot be written.
        """
        with self._told(), self._beside(content) as candidate:
            try:
                # A link is made or refused at one stroke also by network file systems.
                os.link(candidate, self.path, follow_symlinks=False)
            except FileExistsError:
                # The answer to a first request may have been lost, and this is that to a second.
                return candidate.stat().st_nlink == 2
            except OSError:
                return self._create_without_link(content)
        return True

    def replace(self, before: bytes, content: bytes) -> bool:
        """Put a lock in the place of another, unless that is there no more; tell whether it was.

        Among those who try at once, one alone can move the file away. Should it then be another
        file than it was to be, as without `flock` it may, it is put back.

        Raises:
            ResourceError: It cannot be written.
        """
        with self._told(), self._steady(before) as is_same:
            moved = self._unused_name()
            try:
                if not is_same:
                    return False
                self.path.rename(moved)
            except FileNotFoundError:
                return False
            try:
                if self._read(moved) == before:
                    return self.create(content)
                self._put_back(moved)
                return False
            finally:
                moved.unlink(missing_ok=True)

    def renew(self) -> None:
        """Leave a sign of life of the holder."""
        os.utime(self.path, follow_symlinks=False)

    def remove(self, content: bytes) -> None:
        """Take the lock away, unless it is another one."""
        with suppress(OSError, ResourceError), self._steady(content) as is_same:
            if is_same:
                self.path.unlink()

    def silent_seconds(self) -> float:
        """The time since the last sign of life, by the clock of the file system alone.

        A time far in the future, as of a clock that was wrong, is no sign of life, but does not
        grow old either: it is set to the present, as a holder would do, to be waited for from now
        on. Where that is not allowed, the result is negative.

        Raises:
            ResourceError: Nothing can be written there, which telling the time takes.
        """
        with self._told(), self._beside(b"") as candidate:
            try:
                silent = candidate.stat().st_mtime - self.path.lstat().st_mtime
                if silent >= -STALE_SECONDS:
                    return max(0.0, silent)
                with suppress(PermissionError):
                    self.renew()
                    return 0.0
            except FileNotFoundError:
                return 0.0
            return silent

    def _read(self, path: Path) -> bytes | None:
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise ResourceError(
                    f"{path} is no file, and a file belongs there that says who works in the "
                    "folder; move it away, or choose another folder"
                )
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ResourceError(
                f"{path} cannot be read ({error.strerror}), which says who works in the folder; "
                "make it readable, or choose another folder"
            ) from error
        try:
            return os.read(handle, MOST_BYTES)
        finally:
            os.close(handle)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self.path.parent.exists():
                raise ResourceError(
                    f"{self.path.parent} is not there any more: it was moved or removed while a "
                    "run works in it. Put it back where it was, or run the same command again"
                ) from error
            raise ResourceError(
                f"{self.path.parent} cannot be written ({error.strerror or error}); choose "
                "another folder"
            ) from error

    def _unused_name(self) -> Path:
        return self.path.with_name(f"{self.path.name}-{secrets.token_hex(8)}")

    @contextmanager
    def _beside(self, content: bytes) -> Iterator[Path]:
        """Write a file beside the lock for the block."""
        path = self._unused_name()
        try:
            _write_new(path, content)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _create_without_link(self, content: bytes) -> bool:
        """Do so on a file system without hard links; others may see the file before its content."""
        try:
            _write_new(self.path, content)
        except FileExistsError:
            return False
        return True

    def _put_back(self, moved: Path) -> None:
        try:
            os.link(moved, self.path)
        except FileExistsError:
            pass
        except OSError:  # no hard links
            if not self.path.exists():
                moved.rename(self.path)

    @contextmanager
    def _steady(self, content: bytes) -> Iterator[bool]:
        """Tell whether the lock is one that was read, and keep others from changing it meanwhile.

        The system ends this kind of lock with the process. Not every network file system knows it;
        without it, who replaces a lock checks what it was once it is moved away.
        """
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            yield False
            return
        except PermissionError:  # another user's
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            yield (
                _is_ours_alone(handle)
                and self._is_at_path(handle)
                and self._read(self.path) == content
            )
        finally:
            os.close(handle)

    def _is_at_path(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self.path.lstat())
        except FileNotFoundError:
            return False


def _is_ours_alone(handle: int) -> bool:
    """Keep others from an open file until it is closed; tell whether nobody else has done so."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # the file system does not know it
    return True


def _write_new(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        os.write(handle, content)
        os.fsync(handle)  # else a crash of the machine may leave it empty
    finally:
        os.close(handle)
