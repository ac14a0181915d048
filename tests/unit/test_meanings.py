"""What the help says of settings fits the documentation."""

from pathlib import Path

from biolm_ray.config.meanings import MEANINGS


def test_help_and_docs_mean_the_same_by_a_step() -> None:
    assert MEANINGS["training.batch_size"].startswith("rows of a micro-batch")
    assert MEANINGS["training.gradient_accumulation"].startswith("micro-batches of a step")
    docs = Path(__file__).parents[2] / "docs" / "training.md"
    text = " ".join(docs.read_text().split())
    assert "micro-batches of `batchsize` rows" in text
    assert "`gradacc`, the number of micro-batches of a step" in text
