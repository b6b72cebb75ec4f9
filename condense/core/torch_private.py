"""Names of PyTorch that it does not promise to keep, each with the reason; no other file uses such names."""

import torch
import torch._dynamo

RECOMPILE_LIMIT = 64


def inside_transform() -> bool:
    """Say whether a `torch.func` transform (grad, vmap) is under way.

    Inside one, tensors cannot be written in place, and `torch.autograd.Function`s of ours give way to PyTorch's own
    operators. There is no public question for it.
    """
    return torch._C._are_functorch_transforms_active()


def add_lists_(totals: list[torch.Tensor], tensors: list[torch.Tensor], alpha: float) -> None:
    """Add `alpha` times each of `tensors` to the one of `totals` in the same place: one kernel for all of them."""
    torch._foreach_add_(totals, tensors, alpha=alpha)


def allow_recompiling() -> None:
    """Let one function be compiled for 64 kinds of input: pools share code over widths, batch sizes and modes."""
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether PyTorch got no memory: on a GPU by its type, on a CPU only its allocator's name in the text tells."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
