"""An independent whitening in float64, and images to whiten."""

import numpy as np
import torch


def random_pixels(count, channels=3, side=4, seed=0):
    """Neighbouring pixels are alike, as in images, and one is constant."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, channels, side, side), generator=rng)
    pixels[..., 1:] = (pixels[..., 1:] + 3 * pixels[..., :-1]) // 4
    pixels[:, 0, 0, 0] = 77
    return pixels.to(torch.uint8)


def reference(pixels, eps=0.1):
    """(rows in [0, 1], mean, eigenvalues, T, T_inv) in float64, by NumPy's covariance and SVD."""
    rows = pixels.numpy().reshape(len(pixels), -1).astype(np.float64) / 255
    vectors, values, _ = np.linalg.svd(np.cov(rows, rowvar=False))
    return (rows, rows.mean(0), values, vectors @ np.diag((values + eps) ** -0.5) @ vectors.T,
            vectors @ np.diag((values + eps) ** 0.5) @ vectors.T)
