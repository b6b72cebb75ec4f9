"""Data sets as the reference hands them out: indexable, image by image, on the CPU."""

from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from condense.core.types import Labels
from condense.data import load_data
from condense.data.real import RealData


class ImageSet(Dataset):
    """One part of a `RealData` on the CPU: item i is (normalised float32 (C, H, W), int label).

    `pixels` uint8 (N, C, H, W) with `labels` (N,). Pixels become floats only when asked for. `targets` and
    `classes` are what torchvision's data sets have under these names.
    """

    def __init__(self, real: RealData, pixels: UInt8[Tensor, "n c h w"], labels: Int[Tensor, " n"]) -> None:
        self.real, self.pixels = real, pixels
        self.targets = labels.tolist()
        self.classes = real.class_names

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "c h w"], int]:
        return self.real.normalise(self.pixels[index]), self.targets[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[Float[Tensor, "c h w"], int]]:
        """Return the list of items at `indices`, normalised in one go; the DataLoader asks for batches so."""
        images = self.real.normalise(self.pixels[indices])
        return list(zip(images, (self.targets[index] for index in indices), strict=True))


class TensorDataset(Dataset):
    """`images` (n, C, H, W), detached and float32, with detached `labels`; item i is (image, label)."""

    def __init__(self, images: Float[Tensor, "n c h w"], labels: Labels) -> None:
        self.images, self.labels = images.detach().float(), labels.detach()

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "c h w"], Int[Tensor, ""] | Float[Tensor, " k"]]:
        return self.images[index], self.labels[index]

    def __len__(self) -> int:
        return len(self.images)


def get_dataset(dataset: str, data_path: str) -> tuple:
    """Load a data set by name from folder `data_path` and return the nine values the reference returns.

    They are (channel, im_size, num_classes, class_names, mean, std, dst_train, dst_test, testloader). Every
    name of `DATASETS` works. Training images come class after class. Raises ValueError or FileNotFoundError
    in one line with the mend.
    """
    real = load_data(dataset, data_path)
    dst_train = ImageSet(real, real.images, real.labels)
    dst_test = ImageSet(real, real.test_images, real.test_labels)
    testloader = DataLoader(dst_test, batch_size=256, shuffle=False)
    return (real.channel, real.im_size, real.num_classes, real.class_names, real.mean, real.std,
            dst_train, dst_test, testloader)
