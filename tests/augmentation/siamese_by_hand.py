"""The siamese operators by their definitions, pixel by pixel, and the images and uniforms to compare them on."""

import math

import numpy as np
import torch


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(num=6, channel=3, height=8, width=8, seed=0):
    return torch.randn(num, channel, height, width, generator=seeded(seed), dtype=torch.float64) + 0.3


def uniforms(num, seed=1):
    return torch.rand(num, 3, generator=seeded(seed))


# One image (C, H, W) and three uniforms: the definitions, pixel by pixel.

def color_one(x, u):
    x = x + (u[0] - 0.5)
    out = np.empty_like(x)
    for i, j in np.ndindex(x.shape[1:]):
        mean = sum(x[:, i, j]) / len(x)
        for c in range(len(x)):
            out[c, i, j] = mean + (x[c, i, j] - mean) * 2 * u[1]
    mean = out.sum() / out.size
    return mean + (out - mean) * (u[2] + 0.5)


def crop_one(x, u):
    _, height, width = x.shape
    most_v, most_h = math.floor(0.125 * height + 0.5), math.floor(0.125 * width + 0.5)
    t_v, t_h = math.floor(u[0] * (2 * most_v + 1)) - most_v, math.floor(u[1] * (2 * most_h + 1)) - most_h
    out = np.zeros_like(x)
    for i, j in np.ndindex(height, width):
        if 0 <= i + t_v < height and 0 <= j + t_h < width:
            out[:, i, j] = x[:, i + t_v, j + t_h]
    return out


def cutout_one(x, u):
    out = x.copy()
    ends = []
    for side, value in zip(x.shape[1:], u):
        size = math.floor(0.5 * side + 0.5)
        centre = math.floor(value * (side - size % 2 + 1))
        ends.append((max(0, centre - size // 2), min(side - 1, centre - size // 2 + size - 1)))
    (top, bottom), (left, right) = ends
    out[:, top:bottom + 1, left:right + 1] = 0
    return out


def flip_one(x, u):
    return x[:, :, ::-1] if u[0] < 0.5 else x


def scale_one(x, u):
    s_x, s_y = (1 / 1.2 + value * (1.2 - 1 / 1.2) for value in u[:2])
    return warp_one(x, lambda p_x, p_y: (s_x * p_x, s_y * p_y))


def rotate_one(x, u):
    angle = math.radians(-15 + 30 * u[0])
    cos, sin = math.cos(angle), math.sin(angle)
    return warp_one(x, lambda p_x, p_y: (cos * p_x - sin * p_y, sin * p_x + cos * p_y))


def warp_one(x, source):
    """Bilinear with zeros outside; pixel centres are at odd multiples of 1/side in [-1, 1]."""
    _, height, width = x.shape
    out = np.zeros_like(x)
    for i, j in np.ndindex(height, width):
        s_x, s_y = source((2 * j + 1) / width - 1, (2 * i + 1) / height - 1)
        row, column = ((s_y + 1) * height - 1) / 2, ((s_x + 1) * width - 1) / 2
        for r in (math.floor(row), math.floor(row) + 1):
            for c in (math.floor(column), math.floor(column) + 1):
                if 0 <= r < height and 0 <= c < width:
                    out[:, i, j] += x[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return out


ONE = {"color": color_one, "crop": crop_one, "cutout": cutout_one, "flip": flip_one, "scale": scale_one,
       "rotate": rotate_one}


def by_hand(names, images, u):
    """Every image through its own operator and uniforms, one at a time."""
    rows = [ONE[name](image.numpy(), row.double().numpy()) for name, image, row in zip(names, images, u)]
    return torch.from_numpy(np.stack(rows))


def assert_close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)
