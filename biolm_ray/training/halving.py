"""Passes of batches that may be larger than the memory."""

import torch
from torch import Tensor, nn

from biolm_ray.errors import ResourceError
from biolm_ray.models.spec import Batch


def run_in_halves(module: nn.Module, batch: Batch, device: torch.device | str) -> Tensor:
    """Run a batch, in halves where it does not fit into the memory of the device.

    Returns:
        The outputs (batch, outputs) as float64, on the CPU.

    Raises:
        ResourceError: Not even one sequence fits.
    """
    num_rows = len(batch.lengths)
    try:
        moved = batch.to(device)
        return module(moved.token_ids, moved.lengths, moved.specifiers).double().cpu()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if num_rows == 1:
            num_tokens = batch.token_ids.shape[1]
            raise ResourceError(_too_long(num_tokens, torch.device(device))) from None
    # The error has held on to the memory until here.
    halves = (batch.part(0, num_rows // 2), batch.part(num_rows // 2, num_rows))
    return torch.cat([run_in_halves(module, half, device) for half in halves])


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell by its type, which allocators of the CPU do not give, or by its text."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _too_long(num_tokens: int, device: torch.device) -> str:
    on_cpu = device.type == "cpu"
    return (
        f"a sequence of {num_tokens} tokens does not fit into the "
        f"{'memory' if on_cpu else 'memory of the GPU'}; choose a smaller blocksize"
        f"{'' if on_cpu else ', or ngpus: 0 to use the CPU'}"
    )
