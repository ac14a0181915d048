"""Whether all nodes see the output folder, found out at the start."""

import logging
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import ray
from ray.exceptions import RayError, RayTaskError

from biolm_ray.errors import ResourceError, root_cause
from biolm_ray.experiment.waiting import FIRST_SECONDS
from biolm_ray.files import write_text

log = logging.getLogger("biolm_ray")

SETTINGS = "training_settings.json"
QUESTION = "question"
# A network file system may show a new file some seconds late.
PATIENCE_SECONDS = 10.0
ANSWER_SECONDS = 120.0

Ask = Callable[[Path, str], Mapping[str, str | None]]
"""Has every node answer a question in a folder; gives what went wrong on each, or None."""


def check_shared(folder: Path) -> None:
    """Make sure that every node of the cluster reads and writes the same output folder.

    Raises:
        ResourceError: One of them does not; it would have shown after hours only.
    """
    nodes = {node["NodeID"]: _name(node) for node in ray.nodes() if node["Alive"]}
    if len(nodes) > 1:
        probe(folder, lambda question, word: ask_nodes(nodes, question, word))
        log.info("storage: %d nodes read and write in %s", len(nodes), folder)


def probe(folder: Path, ask: Ask, patience: float = PATIENCE_SECONDS) -> None:
    """Write a random word, have all nodes read it and write an answer, and read the answers.

    Raises:
        ResourceError: A node does not see what is written here, or its answer is not seen here.
    """
    word = uuid.uuid4().hex
    question = folder / f".probe-{word}"
    write_text(question / QUESTION, word)
    try:
        for node, problem in ask(question, word).items():
            if problem is None and _read(question / node, patience) != word:
                problem = "what it writes there does not arrive here"
            if problem is not None:
                raise _not_shared(node, folder, problem)
    finally:
        shutil.rmtree(question, ignore_errors=True)


def answer(question: Path, node: str, word: str, patience: float = PATIENCE_SECONDS) -> str | None:
    """Answer the driver's question on a node; gives what went wrong, or None."""
    if _read(question / QUESTION, patience) != word:
        return "it does not see there what is written here"
    try:
        (question / node).write_text(word, encoding="utf-8")
    except OSError as error:
        return f"it cannot write there ({error})"
    return None


def ask_nodes(nodes: Mapping[str, str], question: Path, word: str) -> dict[str, str | None]:
    """Run `answer` on all nodes, given as names by id.

    A node that dies or does not answer in time is left out: it will show when it has work.
    """
    tasks = {
        ray.remote(num_cpus=0, max_retries=1, label_selector={"ray.io/node-id": node})(
            answer
        ).remote(question, name, word): name
        for node, name in nodes.items()
    }
    done, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=FIRST_SECONDS)
    if late:
        names = ", ".join(sorted(tasks[task] for task in late))
        log.info("waiting: %s checks the output folder (at most %g s)", names, ANSWER_SECONDS)
        left = ANSWER_SECONDS - FIRST_SECONDS
        done, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=left)
    for task in late:
        log.warning("storage: %s has not answered; it is not checked", tasks[task])
        ray.cancel(task, force=True)
    answers: dict[str, str | None] = {}
    for task in done:
        try:
            answers[tasks[task]] = ray.get(task)
        except RayTaskError as error:
            answers[tasks[task]] = f"it fails there: {root_cause(error)}"
        except RayError as error:
            log.warning(
                "storage: %s is not checked: %s", tasks[task], str(error).partition("\n")[0]
            )
    return answers


def num_nodes_alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def check_sees(
    folder: Path,
    patience: float = PATIENCE_SECONDS,
    num_nodes: Callable[[], int] = num_nodes_alive,
) -> None:
    """Make sure, on the node of a worker, that it sees a model's folder as the driver does.

    Raises:
        ResourceError: It does not, as on a node that joined after the start; or, where there is
            one node, the folder is gone.
    """
    if not _read(folder / SETTINGS, patience):
        if num_nodes() == 1:
            raise ResourceError(
                f"{folder} is not there any more as the run has made it ({SETTINGS} is missing): "
                "it was moved or removed meanwhile. Put it back where it was, or run the same "
                "command again"
            )
        raise _not_shared(
            socket.gethostname(), folder, "it does not see there what the driver has written"
        )


def _not_shared(node: str, folder: Path, problem: str) -> ResourceError:
    return ResourceError(
        f"node {node} does not share {folder}: {problem}. Choose an outputpath that all nodes "
        "see (a network file system, mounted at the same place), or use one node"
    )


def _name(node: dict) -> str:
    return f"{node['NodeManagerHostname']}-{node['NodeID'][:8]}"


def _read(path: Path, patience: float) -> str:
    """Read a file, or give nothing if it does not appear in time."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return path.read_text(encoding="utf-8")
        except OSError:
            if time.monotonic() >= deadline:
                return ""
            time.sleep(0.2)
