import pytest

from biolm_ray.errors import ResourceError
from biolm_ray.experiment.storage import (
    QUESTION,
    SETTINGS,
    answer,
    check_sees,
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
        check_sees(tmp_path, patience=0, num_nodes=lambda: 2)
    (tmp_path / SETTINGS).write_text("{}")
    check_sees(tmp_path, patience=0)


def test_on_one_node_a_folder_that_was_moved_away_is_gone(tmp_path):
    told = r"fine-tune/0 is not there any more .*moved or removed meanwhile"
    with pytest.raises(ResourceError, match=told):
        check_sees(tmp_path / "fine-tune" / "0", patience=0, num_nodes=lambda: 1)
