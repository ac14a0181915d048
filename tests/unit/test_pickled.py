"""What looks for pickles finds them."""

import pickle

import numpy as np
import pytest
import torch
from pickled import pickles_below


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("state.json", lambda path: path.write_bytes(pickle.dumps({"a": [1, print]}))),
        ("x.pkl", lambda path: path.write_bytes(pickle.dumps(1, protocol=0))),
        ("rows.npz", lambda path: np.savez(path, a=np.array([{}], dtype=object))),
        ("weights.bin", lambda path: torch.save({"a": torch.zeros(1)}, path)),
    ],
)
def test_a_pickle_is_found_under_any_name(tmp_path, name, write):
    write(tmp_path / name)
    assert pickles_below(tmp_path) == [tmp_path / name]


def test_arrays_of_numbers_and_texts_are_none(tmp_path):
    np.savez(tmp_path / "rows.npz", a=np.arange(3), b=np.array("text"))
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "x.bin").write_bytes(b"\x80 and what is no code of a pickle")
    assert pickles_below(tmp_path) == []
