"""ZCA whitening: one linear map, fitted on the training images, that takes the place of normalisation.

As trajectory matching uses it (Cazenavette et al., CVPR 2022), with `eps` 0.1: large, so that directions of little
variance are damped rather than blown up. With mu the mean of the training images x, each a row of D = C * H * W
values in [0, 1], and their covariance (with n - 1) U diag(s) U^T:

    T = U diag((s + eps)^(-1/2)) U^T      z = (x - mu) T      x = z T^(-1) + mu
"""

import contextlib
import hashlib
import json
import logging
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from condense.core.errors import InputError
from condense.core.files import atomic_path, cache_folder, locked
from condense.core.source_code import code_sha256

log = logging.getLogger("condense")

EPS = 0.1
CODE = code_sha256("data/zca.py")
FORMAT = 1                                               # of `fingerprint`, which files state
LARGEST = 16_384                                         # values of an image: fitted in half an hour and 11 GB
CENTRE = 128                                             # what is taken off pixels to keep products small
EXACT_ROWS = 2**24 // CENTRE**2                          # so many products of such pixels add up exactly in float32
PANEL = 512                                              # columns of the covariance at a time
FORWARD, INVERSE = -0.5, 0.5                             # powers of (s + eps)


@dataclass(frozen=True, eq=False)
class Whitening:
    """A fitted map: `mean` (D,), `eigenvectors` (D, D) in columns, `eigenvalues` (D,) ascending, and `eps`.

    Tensors are float32 on the CPU. The matrices are formed where they are first used, and kept there. Raises
    ValueError where the tensors do not fit together.
    """

    mean: torch.Tensor = field(repr=False)
    eigenvectors: torch.Tensor = field(repr=False)
    eigenvalues: torch.Tensor = field(repr=False)
    eps: float = EPS
    _matrices: dict = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        shapes = [tuple(tensor.shape) for tensor in self._tensors]
        size = len(self.mean)
        if shapes != [(size,), (size, size), (size,)] or {tensor.dtype for tensor in self._tensors} != {torch.float32}:
            raise InputError(f"mean, eigenvectors and eigenvalues of a whitening are float32 (D,), (D, D) and (D,),"
                             f" not {shapes}")

    @property
    def _tensors(self):
        return self.mean, self.eigenvectors, self.eigenvalues

    @classmethod
    def fit(cls, pixels: UInt8[Tensor, "n c h w"], eps: float = EPS) -> "Whitening":
        """Fit to uint8 `pixels` (N, C, H, W) on their device; raises ValueError as `require_practical` does.

        Needs about five float64 matrices (D, D) and no copy of the images.
        """
        require_practical(*pixels.shape[1:])
        covariance, mean = _upper_covariance(pixels)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance, UPLO="U")
        eigenvalues = eigenvalues.clamp(min=0)           # rounding leaves some below, where images are few
        return cls(*(tensor.float().cpu().contiguous()   # type: ignore[call-arg]
                     for tensor in (mean, eigenvectors, eigenvalues)), eps)

    def whiten(self, images: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        """Map images (..., C, H, W) in [0, 1] to whitened ones of this shape; differentiable.

        Computed and returned in float32; images in float64 stay in it.
        """
        rows = self._rows(images) - self.mean.to(images.device)
        return self._times(rows, FORWARD).view(images.shape)

    def restore(self, whitened: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        """Undo `whiten`: images on the scale [0, 1] that may lie outside it; differentiable."""
        rows = self._times(self._rows(whitened), INVERSE) + self.mean.to(whitened.device)
        return rows.view(whitened.shape)

    def _rows(self, images):
        rows = (images if images.dtype == torch.float64 else images.float()).flatten(-3)
        if rows.shape[-1] != len(self.mean):
            raise InputError(f"this whitening is for images of {len(self.mean):,} values, not {tuple(images.shape)};"
                             " take the one fitted on their data set")
        return rows

    def _times(self, rows, power):
        """`rows` (..., D) times U diag((s + eps)^power) U^T.

        In float64, which files are converted in, without the matrix: of few rows it would be the costlier product.
        """
        if rows.dtype == torch.float64:
            vectors, scale = self._decomposed(power, rows.device, torch.float64)
            return (rows @ vectors * scale) @ vectors.T
        with _full_precision(rows.device):
            return rows @ self._matrix(power, rows.device)

    @torch.no_grad()
    def _matrix(self, power, device):
        if (power, device) not in self._matrices:
            vectors, scale = self._decomposed(power, device, torch.float32)
            self._matrices[power, device] = (vectors * scale) @ vectors.T
        return self._matrices[power, device]

    def _decomposed(self, power, device, dtype):
        """Return U and (s + eps)^power."""
        return self.eigenvectors.to(device, dtype), (self.eigenvalues.to(device, dtype) + self.eps) ** power

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of the numbers, equal for equal bits only. `RealData.fingerprint` is the same on any machine."""
        digest = hashlib.sha256(json.dumps([FORMAT, self.eps, len(self.mean)]).encode())
        for tensor in self._tensors:
            digest.update(tensor.contiguous().numpy())
        return digest.hexdigest()

    def state(self) -> dict[str, Any]:
        """Return the whitening as a dict of plain types and tensors, as it goes into files: 4 D (D + 2) bytes."""
        return {"eps": self.eps, **dict(zip(("mean", "eigenvectors", "eigenvalues"), self._tensors))}

    @classmethod
    def from_state(cls, state: Any) -> "Whitening":
        """Return the whitening that `state()` came from; raises ValueError where something is missing or misshapen."""
        try:
            tensors = [state[name].cpu() for name in ("mean", "eigenvectors", "eigenvalues")]
            return cls(*tensors, float(state["eps"]))    # type: ignore[call-arg]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"this is no ZCA whitening: {type(error).__name__} {error}; take `zca` of a result's"
                             " meta") from error


def require_practical(channels: int, height: int, width: int) -> None:
    """Raise ValueError where images of this size make a matrix that is too large to work with."""
    size = channels * height * width
    if size > LARGEST:
        side = math.isqrt(LARGEST // channels)
        raise InputError(f"ZCA of {height}x{width} images with {channels} channel{'s' * (channels > 1)} needs a matrix"
                         f" of {size:,} x {size:,} numbers ({4e-9 * size * size:.1f} GB); leave --zca out, or bring"
                         f" the images to --im_size {side} or less")


def _upper_covariance(pixels):
    """Return the covariance (D, D) of uint8 pixels / 255, its upper triangle alone, and their mean (D,); float64.

    The sums behind them are of whole numbers and exact (up to 740,000 images, the difference as well), in whatever
    order a machine adds: 1024 products of pixels - 128 in float32, whatever its matrix precision, the rest in float64.
    """
    device = "cpu" if pixels.device.type == "mps" else pixels.device      # which has no float64
    count, size = len(pixels), pixels[0].numel()
    sums = torch.zeros(size, dtype=torch.float64, device=device)
    scatter = torch.zeros(size, size, dtype=torch.float64, device=device)
    for block in pixels.flatten(1).split(EXACT_ROWS):
        block = block.to(device).float() - CENTRE                        # (rows, D)
        sums += block.sum(0)
        for start in range(0, size, PANEL):
            panel = slice(start, start + PANEL)
            scatter[:panel.stop, panel] += block[:, :panel.stop].T @ block[:, panel]
    scatter.mul_(count).addr_(sums, sums, alpha=-1)                      # n sum x x^T - (sum x) (sum x)^T
    return scatter.div_(count * max(1, count - 1) * 255**2), (sums / count + CENTRE) / 255


@contextlib.contextmanager
def _full_precision(device):
    """Within: float32 products are float32 products, whatever networks are allowed."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def fitted_whitening(real: Any) -> Whitening:
    """Return the `Whitening` of the training pixels of a `RealData`: fitted once, then read from the cache folder.

    A process that asks while another one fits waits, and then reads. Rounding depends on the kind of device, on torch
    and on our code: each combination fits its own.
    """
    key = json.dumps([CODE, torch.__version__, real.device.type, EPS, real.fingerprint])
    path = cache_folder() / "zca" / f"{hashlib.sha256(key.encode()).hexdigest()}.zca"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):               # without a lock two may fit, which costs time and no more
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path.with_suffix(".lock"), lambda: log.info("waiting for %s", path)))
        whitening = _read(path)
        if whitening is None:
            size = real.images[0].numel()
            log.info("fitting ZCA on %s images (%s pixels each)", f"{len(real):,}", f"{size:,}")
            whitening = Whitening.fit(real.images)
            _write(path, whitening)
        return whitening


def _read(path):
    """Return the whitening kept at `path`, or None if there is none, or no whole one: it is only a cache."""
    try:
        with open(path, "rb") as file:
            tensors = [torch.from_numpy(np.lib.format.read_array(file, allow_pickle=False)) for _ in range(3)]
            fingerprint = file.read().decode()
        whitening = Whitening(*tensors)
    except FileNotFoundError:
        return None
    except Exception as error:                           # NumPy's parser of headers raises all sorts on bad ones
        log.warning("fitting again: the cache file %s cannot be read (%s)", path, error)
        return None
    if whitening.fingerprint != fingerprint:
        log.warning("fitting again: the cache file %s is damaged", path)
        return None
    return whitening


def _write(path, whitening):
    """Store the three arrays one after the other as .npy, and the fingerprint behind them."""
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            for tensor in (whitening.mean, whitening.eigenvectors, whitening.eigenvalues):
                np.lib.format.write_array(file, tensor.numpy(), allow_pickle=False)
            file.write(whitening.fingerprint.encode())
    except OSError as error:
        log.warning("the whitening is not cached (%s); set CONDENSE_CACHE to a folder with free space", error)
