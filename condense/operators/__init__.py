"""How networks are computed: precision, chunks and compilation; and on a CPU our own convolution, norm and memory."""

from condense.operators.compute import Compute, can_compile, start_compute
from condense.operators.instance_norm import InstanceNorm
from condense.operators.switch import own_operators, torch_operators
from condense.operators.winograd import Conv3x3

__all__ = ["Compute", "Conv3x3", "InstanceNorm", "can_compile", "own_operators", "start_compute", "torch_operators"]
