"""How far the hallucinators of a set differ, as networks see it that had no part in making the set.

    python benchmarks/hallucinator_diversity.py FILE... [--data_path data] [--judges 5]

FILEs are results of `--parameterization hallucinator` on a whole data set. The judges are fresh networks, trained on
its real training images. For every base and every two hallucinators, printed are the mean cosine of the judges'
features of the two images (1: alike) and the root mean square of the difference of their pixels, in standard
deviations of the data: of each the mean, and from two experiments on the population standard deviation over them.
"""

import argparse
import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from condense.core.randomness import Streams  # noqa: E402
from condense.data import load_data  # noqa: E402
from condense.networks import get_network  # noqa: E402
from condense.operators import start_compute  # noqa: E402
from condense.run.results import form_in, load_result  # noqa: E402
from condense.training.published import named_protocols  # noqa: E402
from condense.training.train import train_network  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--data_path", default="data")
    parser.add_argument("--judges", type=int, default=5)
    args = parser.parse_args()
    compute, judges = start_compute(), {}
    for file in args.files:
        result = load_result(file)
        meta = result["meta"]
        if form_in(meta)["views"] == 1:
            parser.error(f"{file} shows each thing once; name a result of --parameterization hallucinator")
        key = meta["fingerprint"], meta["options"]["model"]
        if key not in judges:
            real = load_data(meta["dataset"], args.data_path, compute.device)
            if real.fingerprint != meta["fingerprint"]:
                parser.error(f"{file} was made from other images than {meta['dataset']} in --data_path as it is")
            judges[key] = trained_judges(key[1], real, args.judges, compute)
        views = form_in(meta)["views"]
        pairs = [similarities(images.to(compute.device).unflatten(0, (-1, views)), judges[key])
                 for images, _ in result["data"]]
        cosine, difference = map(over_experiments, zip(*pairs))
        print(f"{file}: {views} hallucinators, --lambda_club_content {meta['options']['lambda_club_content']:g}: "
              f"cosine {cosine}, difference {difference}")


def trained_judges(model, real, number, compute):
    """Return `number` networks trained on all of `real`, as the baseline `full` is."""
    data, (protocol,) = real.sample(real.classes), named_protocols("full", [model], real).values()
    nets = []
    for i in range(number):
        rng = Streams(0)("nets", i)
        net = compute.prepare(get_network(model, *real.spec, rng=torch.Generator()))
        train_network(protocol.fresh(net, rng), data, protocol, rng, compute.wrap(net), compute.chunk_for(real.im_size))
        nets.append(net.eval())
    return nets


@torch.no_grad()
def similarities(images, nets):
    """Return (mean cosine, mean difference) of images (bases, J, C, H, W): of all pairs of the J that show a base."""
    one, other = torch.triu_indices(images.shape[1], images.shape[1], offset=1)
    cosines = []
    for net in nets:
        features = F.normalize(net.embed(images.flatten(0, 1)), dim=1).unflatten(0, images.shape[:2])
        cosines.append(float((features[:, one] * features[:, other]).sum(2).mean()))
    differences = (images[:, one] - images[:, other]).square().mean((2, 3, 4)).sqrt()
    return statistics.fmean(cosines), float(differences.mean())


def over_experiments(values):
    spread = f" ± {statistics.pstdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
