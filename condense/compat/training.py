"""Training and testing networks as the reference calls it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.utils.data import SequentialSampler

from condense.compat.augmentation import DiffAugment, augment
from condense.compat.datasets import ImageSet
from condense.core.errors import InputError
from condense.core.types import Rows
from condense.operators import Compute
from condense.training.protocols import Protocol
from condense.training.train import train_network

TEST_BATCH = 2048                          # test images moved to the device at a time


def get_time() -> str:
    """Return the local time as '[YYYY-MM-DD HH:MM:SS]'."""
    return time.strftime("[%Y-%m-%d %H:%M:%S]")


def epoch(mode: str, dataloader: Iterable[tuple[Tensor, Tensor]], net: nn.Module,
          optimizer: torch.optim.Optimizer | None, criterion: Callable[[Tensor, Tensor], Tensor], args: Any,
          aug: bool) -> tuple[float, float]:
    """Train ('train') or test ('test') `net` for one pass over `dataloader`; returns (mean loss, accuracy).

    Both are floats over all images; the accuracy is a fraction. `criterion` (logits, labels) -> mean loss.
    With `aug`, batches are augmented: by `args.dsa_strategy` and `args.dsa_param` where `args.dsa` is set,
    else by `args.dc_aug_param`. `optimizer` may be None for a test. Computes on `args.device`.
    """
    if mode not in ("train", "test"):
        raise InputError(f"mode must be train or test, not {mode!r}")
    net = net.to(args.device).train(mode == "train")
    criterion = criterion.to(args.device) if isinstance(criterion, nn.Module) else criterion
    totals, count = torch.zeros(2, device=args.device), 0
    with torch.set_grad_enabled(mode == "train"):
        for images, labels in dataloader:
            images, labels = images.float().to(args.device), _class_ids(labels).to(args.device)
            logits = net(_augmented(images, args) if aug else images)
            loss = criterion(logits, labels)
            if mode == "train":
                optimizer.zero_grad()                        # type: ignore[union-attr]
                loss.backward()
                optimizer.step()                             # type: ignore[union-attr]
            totals += torch.stack((loss.detach() * len(labels), _correct(logits, labels)))
            count += len(labels)
    mean_loss, accuracy = (totals / count).tolist()
    return mean_loss, accuracy


def evaluate_synset(it_eval: int, net: nn.Module, images_train: Float[Tensor, "n c h w"],
                    labels_train: Num[Tensor, " n *k"], testloader: Iterable[tuple[Tensor, Tensor]],
                    args: Any) -> tuple[nn.Module, float, float]:
    """Train `net` in place on a synthetic set, test it, print one line; returns (net, acc_train, acc_test).

    Trains by the published protocol (see `Protocol`) with `args.epoch_eval_train`, `lr_net` and
    `batch_train`, augmenting as `epoch` does. Accuracies are floats in [0, 1] after the last epoch, that of
    training on augmented images. Labels are class ids or soft (n, K). `it_eval` numbers the printed line.
    """
    compute = Compute(torch.device(args.device))
    bare = compute.prepare(net.module if isinstance(net, nn.DataParallel) else net)
    forward, chunk = compute.wrap(bare), compute.chunk_for(images_train.shape[2:])
    data = AugmentedSet(images_train.detach().float().to(args.device),
                        _class_ids(labels_train.detach()).to(args.device), args)
    protocol = Protocol(args.epoch_eval_train, args.lr_net, args.batch_train, augmentation="none")
    start = time.perf_counter()
    accuracy, loss = (float(figure) for figure in train_network(bare, data, protocol, None, forward, chunk))
    train_time_s = time.perf_counter() - start
    tested = _test_accuracy(bare, forward, _test_batches(testloader, args.device), chunk)
    bare.to(memory_format=torch.contiguous_format)         # scripts flatten parameters with view
    print(f"{get_time()} Evaluate_{it_eval:02d}: epoch = {protocol.epochs:04d} "
          f"train time = {train_time_s:.0f} s train loss = {loss:.6f} train acc = {accuracy:.4f}, "
          f"test acc = {tested:.4f}")
    return net, accuracy, tested


@dataclass(frozen=True)
class AugmentedSet:
    """A set to train on whose minibatches come augmented as `args` say, whatever strengths `args` hold."""

    tensor: torch.Tensor
    labels: torch.Tensor
    args: object

    def images(self, index: Rows) -> Float[Tensor, "m c h w"]:
        return _augmented(self.tensor[index], self.args)


def _augmented(images, args):
    if args.dsa:
        return DiffAugment(images, args.dsa_strategy, param=args.dsa_param)
    return augment(images, args.dc_aug_param, args.device)


def _class_ids(labels):
    """Return labels (n,) of any number type as int64; soft ones (n, K) as they are."""
    return labels.long() if labels.dim() == 1 else labels


def _correct(logits, labels):
    target = labels if labels.dim() == 1 else labels.argmax(1)
    return (logits.detach().argmax(1) == target).sum(dtype=torch.float32)


@torch.no_grad()
def _test_accuracy(net, forward, batches, chunk):
    """Return the fraction of right guesses over `batches` of (images, labels), `chunk` images at a time."""
    net.eval()
    correct, count = 0.0, 0
    for images, labels in batches:
        logits = torch.cat([forward(part) for part in images.split(chunk)])
        correct = correct + _correct(logits, labels)
        count += len(labels)
    return float(correct) / count


def _test_batches(testloader, device):
    """Yield (images, labels) of `testloader` on `device`; our own sets travel there as the stored bytes."""
    dataset = testloader.dataset
    if not isinstance(dataset, ImageSet) or type(testloader.sampler) is not SequentialSampler:
        for images, labels in testloader:
            yield images.float().to(device), labels.long().to(device)
        return
    labels = torch.tensor(dataset.targets, device=device)
    for pixels, targets in zip(dataset.pixels.split(TEST_BATCH), labels.split(TEST_BATCH), strict=True):
        yield dataset.real.normalise(pixels.to(device)), targets
