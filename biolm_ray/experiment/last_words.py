"""What workers have printed before they were lost; Ray keeps it in files of its session."""

from collections.abc import Iterable
from pathlib import Path

from ray._private import worker

LAST_BYTES = 4000


def last_words(workers: Iterable[str]) -> str:
    """Give the end of what workers (hexadecimal ids) of this machine have printed, else nothing."""
    node = worker._global_node
    return "" if node is None else last_printed(Path(node.get_logs_dir_path()), workers)


def last_printed(folder: Path, workers: Iterable[str]) -> str:
    """Give the end of each worker's files in a folder of logs, after its path."""
    files = [
        path
        for worker in sorted(workers)
        for stream in ("out", "err")
        for path in sorted(folder.glob(f"worker-{worker}-*.{stream}"))
    ]
    ends = [(path, _end_of(path)) for path in files]
    return "\n".join(f"the end of {path}:\n{end}" for path, end in ends if end)


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LAST_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:  # Ray removes old ones
        return ""
