"""`make demo`: write synthetic transcripts, cross-validate Saluki on them, find what matters."""

import sys
from pathlib import Path

from biolm_ray import finetune, interpret, load_config, tokenize
from biolm_ray.demo.data import attainable_correlation, write_demo_data
from biolm_ray.demo.outcome import (
    describe_results,
    element_recovery,
    log_correlation,
    motif_enrichment,
)
from biolm_ray.demo.transcripts import ELEMENT
from biolm_ray.errors import BiolmError, sentence
from biolm_ray.experiment.runtime import connected
from biolm_ray.logs import say
from biolm_ray.signals import exit_code, handle_signals, name_of

EPOCHS = 16
NUM_FOLDS = 3


def run_demo(folder: Path, *, num_rows: int = 600, num_epochs: int = EPOCHS) -> str:
    """Run the whole demo below `folder` and say what came out of it."""
    truth = write_demo_data(folder / "transcripts.tsv", num_rows=num_rows)
    settings = {
        "task": "regression",
        "outputpath": str(folder / "experiment"),
        "filepath": str(truth.data),
        "tokensep": ",",
        "idpos": "id",
        "seqpos": "sequence",
        "labelpos": "half_life_hours",
        "crossvalidation": NUM_FOLDS,
        "encoding": "atomic",
        "blocksize": 1024,
        "batchsize": 16,
        "nepochs": num_epochs,
        "scaling": "log",
        "training.stop_metric": "spearman",
        "handletokens": "mask",
        "interpret.folds": [0],
        "interpret.motifs": {"element": ELEMENT},
    }
    with connected(None):
        tokenize(load_config(None, "tokenize", settings))
        trained = finetune(load_config(None, "fine-tune", settings))
        scored = interpret(load_config(None, "interpret", settings))
    scores = scored.tables[0].path
    readable = scored.readable[0]
    out_of_fold = trained.folder / "out_of_fold.csv"
    return describe_results(
        correlation=log_correlation(out_of_fold),
        attainable=attainable_correlation(truth.truth),
        recovery=element_recovery(scores, truth.elements),
        enrichment=motif_enrichment(readable.paths["motifs"], "element"),
        results={
            "data": truth.data,
            "what the labels are made of": truth.truth,
            "planted elements": truth.elements,
            "models, one folder per fold": trained.folder,
            "prediction of every transcript": out_of_fold,
            "metrics of every fold": trained.folder / "cross_validation.csv",
            "score of every token": scores,
            "scores by region, codon, motif, ...; plots": readable.folder,
        },
    )


def main() -> int:
    """Run the demo and return the exit code; whatever ends it is told in a last line."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    try:
        print(run_demo(folder))
    except KeyboardInterrupt as stop:
        say(f"interrupted by {name_of(stop)}; the same command begins the demo again")
        return exit_code(stop)
    except BiolmError as error:
        say(f"error: {sentence(error)}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    handle_signals()
    sys.exit(main())
