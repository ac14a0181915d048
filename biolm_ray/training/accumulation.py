"""The passes of one step on one worker: forward, backward, and what to do when they do not fit."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from biolm_ray.errors import TrainingError
from biolm_ray.models.spec import Batch
from biolm_ray.training.batching import Rows, even_bounds
from biolm_ray.training.normalization import LEAST_ROWS, normalizes_over_batch
from biolm_ray.training.precision import Precision, computing_in, uses_bf16
from biolm_ray.training.seeding import derive_seed


@dataclass(frozen=True)
class Loaded:
    """A micro-batch: the numbers of its rows and their sequences."""

    rows: Rows
    batch: Batch

    def parts(self, number: int, least_rows: int = 1) -> list["Loaded"]:
        """Cut into at most so many parts of nearly the same size, with at least so many rows."""
        bounds = even_bounds(len(self.rows), max(1, min(number, len(self.rows) // least_rows)))
        return [
            Loaded(self.rows[start:stop], self.batch.part(start, stop))
            for start, stop in pairwise(bounds)
        ]


Loss = Callable[[nn.Module, Loaded], Tensor]
"""Weighted sum of the losses of some rows, from the module and the rows."""


class Accumulator:
    """Adds the gradients of a step's micro-batches on one worker.

    A micro-batch that does not fit into the GPU's memory is cut into halves, from then on; the
    step stays the same, save for batch normalization, which sees the halves.

    Args:
        module: Is on `device`.
        loss: What is minimized.
        seed: Random numbers of a micro-batch depend on it, on the step and on its place in the
            step, so that the result does not depend on which worker computes it.
        device: Where.
        precision: In which numbers.
        compiled: Whether the module is compiled, as far as that is possible.
        note: Takes a sentence for the user.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision,
        compiled: bool,
        note: Callable[[str], None],
    ) -> None:
        self.num_parts = 1
        self._least_rows = LEAST_ROWS if normalizes_over_batch(module) else 1
        self.module, self._loss, self._seed = module, loss, seed
        self._device, self._bf16 = device, uses_bf16(precision, device)
        self._note = note
        self._forward: nn.Module = module
        self._compile_errors: tuple[type[Exception], ...] = ()
        if compiled:
            self._compile()

    def add_gradients(
        self, micro_batches: list[tuple[int, Loaded]], weight: float, *step: int
    ) -> float:
        """Set the module's gradients to those of some micro-batches; give their share of the loss.

        Args:
            micro_batches: With their places in the step.
            weight: What the losses are divided by.
            step: The numbers of epoch and step.

        Raises:
            TrainingError: Not even a single sequence fits into the GPU's memory.
        """
        while True:
            out_of_memory = False
            try:
                return self._passes(micro_batches, weight, *step)
            except torch.OutOfMemoryError:
                out_of_memory = True
            except self._compile_errors as error:
                self._note(
                    f"the model cannot be compiled ({type(error).__name__}) and is trained as it is"
                )
                self._forward, self._compile_errors = self.module, ()
            # The error has held on to the memory until here.
            if out_of_memory:
                self._cut_smaller(max(len(loaded.rows) for _, loaded in micro_batches))

    def _passes(self, micro_batches: list[tuple[int, Loaded]], weight: float, *step: int) -> float:
        self.module.zero_grad(set_to_none=True)
        total = 0.0
        for place, whole in micro_batches:
            for number, loaded in enumerate(whole.parts(self.num_parts, self._least_rows)):
                torch.manual_seed(derive_seed(self._seed, "dropout", *step, place, number))
                with computing_in(self._bf16, self._device):
                    loss = self._loss(self._forward, loaded) / weight
                loss.backward()
                total += loss.item()
        return total

    def _cut_smaller(self, most_rows: int) -> None:
        self.module.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.num_parts >= most_rows // self._least_rows:
            few = "two sequences" if self._least_rows > 1 else "a single sequence"
            raise TrainingError(
                f"not even {few} fit into the GPU's memory; choose a smaller blocksize "
                "or model, or training.precision bf16"
            )
        self.num_parts *= 2
        rows = max(self._least_rows, -(-most_rows // self.num_parts))
        self._note(
            f"the GPU's memory is too small for {most_rows} rows at once: {rows} at a time from "
            "here on, with the same number of rows in a step"
        )

    def _compile(self) -> None:
        from torch._dynamo.exc import TorchDynamoException

        self._compile_errors = (TorchDynamoException,)
        compiled = torch.compile(self.module, dynamic=True)
        assert isinstance(compiled, nn.Module)
        self._forward = compiled
