"""Steps of descent in a result file: how they are written and read."""

from typing import Any

import torch

from condense.core.errors import InputError
from condense.training.steps import Steps

AGAIN = "save the set again"


def stored_steps(steps: Steps | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return what a result file holds of `Steps`: ({'sizes' (T,), 'rows' (S, b)}, {'model', 'parameters' (m, P)}).

    The second is None where no start is fixed, both are for None.
    """
    if steps is None:
        return None, None
    content = {"sizes": torch.tensor(steps.sizes), "rows": torch.stack(steps.rows).cpu()}
    if steps.starts is None:
        return content, None
    return content, {"model": steps.model, "parameters": steps.starts.detach().cpu()}


def read_steps(where: object, content: Any, start: Any, num_images: int) -> Steps | None:
    """Return the `Steps` that `stored_steps` described, on the CPU; None for None.

    `where` opens the errors: ValueError in one line for what is no such thing, or of more images than `num_images`.
    """
    if content is None:
        return None
    sizes, rows = (content.get(name) if isinstance(content, dict) else None for name in ("sizes", "rows"))
    if not torch.is_tensor(sizes) or not sizes.is_floating_point() or sizes.dim() != 1 or not bool((sizes > 0).all()):
        raise InputError(f"{where}: its step sizes are not all numbers above 0; {AGAIN}")
    if not torch.is_tensor(rows) or rows.dtype != torch.int64 or rows.dim() != 2 or 0 in rows.shape:
        raise InputError(f"{where}: the rows of its steps are not indices (batches, images); {AGAIN}")
    if not 0 <= int(rows.min()) <= int(rows.max()) < num_images:
        raise InputError(f"{where}: its steps use images beyond its {num_images}; {AGAIN}")
    if len(sizes) % len(rows) or not bool(sizes.isfinite().all()):
        raise InputError(f"{where}: {len(sizes)} step sizes for {len(rows)} batches; {AGAIN}")
    return Steps(tuple(rows), tuple(sizes.float().tolist()), *_read_start(where, start))


def _read_start(where, start):
    """Return (parameters (m, P), name of the network), or two times None."""
    if start is None:
        return None, None
    parameters, model = (start.get(name) if isinstance(start, dict) else None for name in ("parameters", "model"))
    if not torch.is_tensor(parameters) or parameters.dim() != 2 or not isinstance(model, str):
        raise InputError(f"{where}: its start is not the parameters (networks, numbers) of a network with a name; "
                         f"{AGAIN}")
    return parameters.float(), model
