"""Unrolled training: the state after many steps, differentiable in everything that the steps depend on.

One loop with four ways to differentiate it. They differ in how many steps have a graph alive at a time, and hence
in memory, not in the result, but for `tesla`:

full        all of them: the graph of the whole unroll
checkpoint  sqrt(N) of them: the states in between are kept, a segment's graph is rebuilt when its turn comes
constant    one: the state in front of every step is kept, and the adjoint lambda is carried backwards through them,
            lambda_i = lambda_{i+1} + d(step)/d(state)^T lambda_{i+1}; exact like the two above
tesla       one, and lambda stays what it is at the end: Cui et al., "Scaling Up Dataset Distillation to
            ImageNet-1K with Constant Memory", ICML 2023. An approximation: it takes d(theta_N)/d(theta_i) for the
            identity, though the paper calls it exact
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from condense.core.device import memory_of
from condense.core.errors import InputError
from condense.core.types import Size

MODES = ("full", "checkpoint", "constant", "tesla")
GRAPH_BYTES_PER_PIXEL = 6_200             # of an image in one step that is differentiated twice


def unroll(step: Callable[..., Tensor], state: Float[Tensor, "*state"], num_steps: int, inputs: Sequence[Tensor],
           mode: str = "full", first: int = 0) -> Float[Tensor, "*state"]:
    """Return the state after `num_steps` times state = step(i, state, *inputs), differentiable in `inputs`.

    `state` is one tensor, `inputs` a tuple of tensors. `step` must give the same values whenever it is called with
    the same arguments, so draws are made beforehand. In all modes but "full" it runs without recording first, and
    once more, recorded, in the backward pass; `gradient` below does what a training step needs in both cases.
    Steps before `first` are never recorded: the result is the same, but only steps first .. num_steps - 1 are
    differentiated, and the state in front of them counts as a constant. The result can be differentiated once.
    Raises ValueError for an unknown mode, and for a `first` that is no step and not num_steps either.
    """
    if mode not in MODES:
        raise InputError(f"unroll mode must be one of {', '.join(MODES)}, not {mode!r}")
    if not 0 <= first <= num_steps:
        raise InputError(f"the first step that is differentiated must be one of 0..{num_steps}, not {first}")
    if first:
        state = _unrecorded(step, state, first, inputs)
    if mode == "full" or not torch.is_grad_enabled():
        for i in range(first, num_steps):
            state = step(i, state, *inputs)
        return state
    steps = range(first, num_steps)
    length = max(1, math.isqrt(len(steps))) if mode == "checkpoint" else 1
    return _Unrolled.apply(step, steps, length, mode != "tesla", state, *inputs)


@torch.no_grad()
def _unrecorded(step, state, num_steps, inputs):
    """Return the state after the first `num_steps` steps, a constant."""
    state, inputs = state.detach(), [tensor.detach() for tensor in inputs]
    for i in range(num_steps):
        state = step(i, state, *inputs)
    return state


def draw_window(length: int, longest: int, rng: torch.Generator | None) -> tuple[int, int]:
    """Return (number of steps, first step that is differentiated) of a window of `length` steps, drawn from `rng`.

    The number is uniform over length .. `longest`, and the window its last steps: the loss is taken after them. Feng,
    Vedantam & Kempe, "Embarrassingly Simple Dataset Distillation", ICLR 2024 (RaT-BPTT). Raises ValueError for a
    window that is empty or longer than `longest`.
    """
    if not 1 <= length <= longest:
        raise InputError(f"a window of the last steps holds 1 to {longest} of them, not {length}")
    num_steps = int(torch.randint(length, longest + 1, (), generator=rng))
    return num_steps, num_steps - length


def choose_mode(mode: str, num_steps: int, batch_size: int, im_size: Size, device: torch.device) -> str:
    """Return `mode`, or for "auto" full where the graph of all steps takes a quarter of the memory at most.

    The graph's size is estimated for the standard ConvNet; `im_size` is (H, W). It is compared with the memory that
    the device has, not what is free now, so that the answer is the same when a run is resumed.
    """
    if mode != "auto":
        return mode
    graph = GRAPH_BYTES_PER_PIXEL * num_steps * batch_size * im_size[0] * im_size[1]
    return "full" if graph <= memory_of(device) / 4 else "constant"


class _Unrolled(torch.autograd.Function):
    """Segments of `length` steps: forward without graphs, backward one segment's graph at a time."""

    @staticmethod
    def forward(ctx, step, steps, length, exact, state, *inputs):
        ctx.step, ctx.steps, ctx.length, ctx.exact = step, steps, length, exact
        ctx.save_for_backward(*inputs)
        number = math.ceil(len(steps) / length)
        ctx.starts = state.new_empty((number, *state.shape))       # in one piece: no gaps between
        inputs = [tensor.detach() for tensor in inputs]            # or the steps would record what they do with them
        state = state.detach()
        for done, i in enumerate(steps):
            if done % length == 0:
                ctx.starts[done // length] = state
            state = step(i, state, *inputs)
        return state if steps else state.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, adjoint):
        wanted = ctx.needs_input_grad[4:]                          # of the state in front, and of each input
        totals = [None] * (len(wanted) - 1)
        for number in reversed(range(len(ctx.starts))):
            leaves = [tensor.detach().requires_grad_(needed) for tensor, needed in zip(ctx.saved_tensors, wanted[1:])]
            start = ctx.starts[number].detach().requires_grad_(ctx.exact and (number > 0 or wanted[0]))
            with torch.enable_grad():
                end = start
                for i in ctx.steps[number * ctx.length:(number + 1) * ctx.length]:
                    end = ctx.step(i, end, *leaves)
            gradients = _gradients(end, [start, *leaves], adjoint)
            totals = [_added(total, gradient) for total, gradient in zip(totals, gradients[1:])]
            if start.requires_grad:
                adjoint = gradients[0]
        return None, None, None, None, adjoint if wanted[0] else None, *totals


def _gradients(end, tensors, adjoint):
    """Return the gradient of adjoint . end by each of `tensors`, None for those that want none or have none."""
    some = [tensor for tensor in tensors if tensor.requires_grad]
    found = iter(torch.autograd.grad(end, some, adjoint, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in tensors]


def _added(total, gradient):
    if total is None or gradient is None:
        return gradient if total is None else total
    return total.add_(gradient)


def gradient(loss_of: Callable[[Tensor], Tensor], state: Float[Tensor, "*state"]) -> Float[Tensor, "*state"]:
    """Return d loss_of(state) / d state: with a graph where gradients are recorded, without one where they are not.

    The graph leads to whatever the loss depends on, and to `state` if that has one.
    """
    recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        if not (recorded and state.requires_grad):
            state = state.detach().requires_grad_()
        return torch.autograd.grad(loss_of(state), state, create_graph=recorded)[0]
