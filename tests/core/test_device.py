"""The device policy: names, chunks, precision and layout."""

import os

import pytest
import torch

from condense.core.device import resolve_device
from condense.networks import ConvNet, get_network, reset
from condense.operators import Compute, can_compile, start_compute

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")


@pytest.fixture(autouse=True)
def switches():
    """Put PyTorch's global switches back."""
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = benchmark
    if workspace is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def images(num=6, side=16):
    return torch.randn(num, 3, side, side, generator=torch.Generator().manual_seed(0))


def network():
    net = ConvNet(3, 10, 32, 2, "relu", "instancenorm", "avgpooling", im_size=(16, 16))
    return reset(net, torch.Generator().manual_seed(1))


def test_auto_takes_a_gpu_where_there_is_one():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "tpu", "", "cuda:x", "cuda:-1", "CPU0", "meta", "xpu"])
def test_names_of_no_device_are_refused(name):
    with pytest.raises(ValueError, match="--device must be auto, cpu, cuda, cuda:N or mps"):
        resolve_device(name)


@NO_CUDA
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_absent_is_refused_with_the_mend(name):
    with pytest.raises(ValueError, match=f"--device {name}: .*use --device cpu or auto"):
        resolve_device(name)


def test_a_gpu_number_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="this machine has 2 CUDA GPUs, counted from 0"):
        resolve_device("cuda:2")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_an_apple_gpu_that_is_absent_is_refused():
    with pytest.raises(ValueError, match="--device mps.*use --device cpu or auto"):
        resolve_device("mps")


def test_chunk_follows_device_and_image_size_unless_given():
    cpu, gpu = Compute(), Compute(torch.device("cuda"))
    assert cpu.chunk_for((32, 32)) == 16                   # measured best for the standard ConvNet
    assert cpu.chunk_for((16, 16)) == 4 * 16 and cpu.chunk_for((64, 64)) == 4 == cpu.chunk_for((512, 512))
    assert gpu.chunk_for((32, 32)) > 2560                  # all of a CIFAR-10 step at once
    assert Compute(chunk=7).chunk_for((32, 32)) == 7
    assert Compute(torch.device("cuda"), chunk=7).chunk_for((8, 8)) == 7


def test_wrapped_functions_see_channels_last_and_keep_the_dtype():
    seen = []

    def look(x):
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return x.flatten(1)

    for dtype in (torch.float32, torch.float64):
        assert Compute().wrap(look)(images().to(dtype)).dtype == dtype
    assert seen == [True, True]


def test_prepared_networks_compute_the_same_in_channels_last():
    plain = network()
    prepared = Compute().prepare(network())
    assert prepared.features[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(Compute().wrap(prepared)(images()), plain(images()), rtol=1e-4, atol=1e-5)


def test_bf16_returns_float32_close_to_float32_with_gradients():
    net, results = network(), []
    for precision in ("fp32", "bf16"):
        x = images().requires_grad_()
        out = Compute(precision=precision).wrap(net.embed)(x)
        out.square().mean().backward()
        assert out.dtype == torch.float32 and x.grad.dtype == torch.float32
        results.append((out.detach(), x.grad))
    for exact, rough in zip(*results):
        assert not torch.equal(exact, rough)
        assert (exact - rough).norm() < 0.1 * exact.norm()


def test_bf16_stacked_call_looks_at_its_last_argument():
    call = Compute(precision="bf16").wrap_stacked(lambda weight, x: x @ weight)
    assert call(torch.randn(4, 4).bfloat16(), torch.randn(2, 4)).dtype == torch.float32


def test_start_resolves_the_policy_once():
    compute = start_compute("cpu", "fp32", chunk=5)
    assert compute == Compute(torch.device("cpu"), "fp32", False, 5)
    assert torch.backends.cuda.matmul.fp32_precision == "ieee" == torch.backends.cudnn.conv.fp32_precision
    start_compute("cpu", "tf32")
    assert torch.backends.cuda.matmul.fp32_precision == "tf32" == torch.backends.cudnn.conv.fp32_precision


def test_deterministic_turns_on_deterministic_algorithms():
    start_compute("cpu", deterministic=True)
    assert torch.are_deterministic_algorithms_enabled() and "CUBLAS_WORKSPACE_CONFIG" in os.environ


def test_a_machine_that_cannot_compile_goes_on_with_one_line(monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("no C++ compiler\nlong story")

    monkeypatch.setattr(torch, "compile", broken)
    assert not can_compile(torch.device("cpu"))
    assert not start_compute("cpu", compile=True).compile
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 and all("no C++ compiler" in line and "\n" not in line for line in lines)


def test_a_network_of_every_family_runs_in_bf16():
    for name in ("MLP", "ConvNetBN", "ConvNetLN", "VGG11"):
        net = Compute().prepare(get_network(name, 3, 10, rng=torch.Generator().manual_seed(0)))
        with torch.no_grad():
            exact, rough = (Compute(precision=p).wrap(net)(images(8, 32)) for p in ("fp32", "bf16"))
        assert rough.dtype == torch.float32 and (exact - rough).norm() < 0.1 * exact.norm()
