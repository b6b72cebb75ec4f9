"""Digits: 1,797 handwritten digits of 8x8 pixels that come with scikit-learn, so nothing is downloaded."""

import torch

from condense.core.extras import needed
from condense.data.real import RealData
from condense.data.request import Request


def load_digits(request: Request) -> RealData:
    """Return the Digits set: 1 channel, 8x8, classes '0'..'9', about a fifth of each class for testing.

    Values 0..16 become pixels 0..255, brought to `request.im_size` where that is given. The split is fixed, whatever
    the seed: the last fifth of each class in scikit-learn's order is the test part (other writers wrote those), so
    results compare. Raises ValueError where scikit-learn is missing.
    """
    datasets = needed("sklearn.datasets", "scikit-learn", "--dataset Digits")
    digits = datasets.load_digits()
    images = request.sized(torch.from_numpy(digits.images)[:, None].mul(255 / 16).round().to(torch.uint8))
    labels = torch.from_numpy(digits.target).to(torch.int64)
    test = torch.zeros(len(labels), dtype=torch.bool)
    for digit in range(10):
        members = (labels == digit).nonzero().flatten()
        test[members[-round(len(members) / 5):]] = True
    return RealData("Digits", images[~test], labels[~test], images[test], labels[test],
                    [str(digit) for digit in range(10)], device=request.device)
