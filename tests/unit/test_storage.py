import errno

import pytest
import torch
from safetensors import SafetensorError

from biolm_ray.errors import ResourceError
from biolm_ray.experiment.storage import (
    QUESTION,
    SETTINGS,
    answer,
    check_sees,
    full_disk_told,
    is_full_disk,
    probe,
)


def ask(seen: dict):
    """Nodes that see, in place of the folder asked about, one of their own."""

    def answers(question, word):
        return {
            node: answer(folder / question.name, node, word, patience=0)
            for node, folder in seen.items()
        }

    return answers


def test_nodes_that_share_the_folder_pass_and_leave_nothing(tmp_path):
    probe(tmp_path, ask({"a": tmp_path, "b": tmp_path}), patience=0)
    assert list(tmp_path.iterdir()) == []


def test_a_node_with_a_folder_of_its_own_is_named_with_the_remedy(tmp_path):
    shared, own = tmp_path / "shared", tmp_path / "own"
    with pytest.raises(
        ResourceError, match=r"node b does not share .*shared: it does not see.*outputpath that all"
    ):
        probe(shared, ask({"a": shared, "b": own}), patience=0)
    assert list(shared.iterdir()) == []


def test_answers_that_do_not_arrive_are_noticed(tmp_path):
    def answers(question, word):
        assert (question / QUESTION).read_text() == word
        return {"a": None}

    with pytest.raises(ResourceError, match=r"node a .* what it writes there does not arrive"):
        probe(tmp_path, answers, patience=0)


def test_a_folder_that_cannot_be_written_is_noticed(tmp_path):
    (tmp_path / "question").write_text("word")
    (tmp_path / "a").mkdir()
    assert "it cannot write there" in str(answer(tmp_path, "a", "word", patience=0))


def test_a_worker_that_does_not_see_what_the_driver_wrote_says_so(tmp_path):
    with pytest.raises(ResourceError, match="does not see there what the driver has written"):
        check_sees(tmp_path, patience=0)
    (tmp_path / SETTINGS).write_text("{}")
    check_sees(tmp_path, patience=0)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("Error writing bytes to file: [errno 28] No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 640 vs 534"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_in_one_sentence(tmp_path, error):
    with (
        pytest.raises(ResourceError, match=r"cannot be written: no space left.*--resume"),
        full_disk_told(tmp_path),
    ):
        raise error


def test_other_errors_pass():
    for error in (FileNotFoundError(2, "No such file"), RuntimeError("size mismatch")):
        assert not is_full_disk(error)
        with pytest.raises(type(error)), full_disk_told(torch.nn.Module):  # type: ignore[arg-type]
            raise error
