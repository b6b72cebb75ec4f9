"""Hold a result file against its baselines, and print one table.

    python scripts/baselines.py result/res_DM_CIFAR10_ConvNet_10ipc.pt [--full 1] [--save]

Random real images at the same ipc (a new draw per network), and with --full N the whole training set on N
networks by its own short recipe; same networks, augmentation, optimiser and seed as the result was scored by.
What was scored once is read from the cache ($CONDENSE_CACHE, else ~/.cache/condense). --save writes the accuracies
of random images beside the result, where scripts/table.py finds them.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from condense.data import load_data  # noqa: E402
from condense.device import start_compute  # noqa: E402
from condense.evaluation.baselines import (  # noqa: E402
    beats,
    full_data,
    protocols_of,
    random_real,
    save_baselines,
)
from condense.journal import log_to_terminal  # noqa: E402
from condense.randomness import Streams  # noqa: E402
from condense.results import load_result  # noqa: E402


def main():
    args = parse()
    log_to_terminal()
    try:
        compare(args)
    except (ValueError, OSError) as error:
        sys.exit(_complain(error))
    except KeyError as error:
        sys.exit(_complain(f"{args.result} has no {error}; it is from another program"))


def compare(args):
    result = load_result(args.result)
    if "meta" not in result:
        raise ValueError(f"{args.result} has no meta: it does not say what it was made from")
    meta, options = result["meta"], result["meta"]["options"]
    compute = start_compute(args.device, options["precision"], options["compile"], options["chunk"])
    real = load_data(options["dataset"], args.data_path, compute.device, im_size=options["im_size"],
                     resize=options["resize"], seed=options["seed"], zca=options.get("zca", False),
                     subset=options.get("subset"))
    if real.fingerprint != meta["fingerprint"]:
        raise ValueError(f"{args.data_path} holds other data than {args.result} was made from; name the right "
                         "folder with --data_path")
    common = dict(protocols=protocols_of(meta), rng=Streams(meta["seed"]), compute=compute)
    random = random_real(real, options["ipc"], num_eval=max(5, options["num_eval"]), **common)
    if args.save:
        save_baselines(args.result, meta, random)
    full = full_data(real, num_eval=args.full, **common) if args.full else {}
    print_table(rows(result, real, random, full))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", help="result file of a method script")
    parser.add_argument("--data_path", default="data", help="folder (or file) of its data [data]")
    parser.add_argument("--full", type=int, default=0, metavar="N", help="networks on the whole training set [0]")
    parser.add_argument("--save", action="store_true", help="write <result>_baselines.json beside the result")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps [auto]")
    return parser.parse_args()


def rows(result, real, random, full):
    """Return [(what it was trained on, images, network, accuracies, verdict)]."""
    table, images = [], len(result["data"][0][1])
    for model, accuracies in result["accs_all_exps"].items():
        others = [score.test_accuracy for score in random[model]]
        verdict = ""
        if min(len(accuracies), len(others)) >= 5:
            verdict = "beats random" if beats(accuracies, others) else "does not beat random"
        table.append((f"condensed ({result['meta']['method']})", images, model, accuracies, verdict))
        table.append(("random real images", result["meta"]["options"]["ipc"] * real.num_classes, model, others, ""))
    return table + [("full training set", len(real), model, [score.test_accuracy for score in scores], "")
                    for model, scores in full.items()]


def print_table(table):
    print(f"\n{'trained on':22}{'images':>8}  {'network':14}{'test accuracy':>18}  networks")
    for name, images, model, accuracies, verdict in table:
        mean, std = 100 * statistics.fmean(accuracies), 100 * statistics.pstdev(accuracies)
        figure = f"{mean:.2f} ± {std:.2f} %" if len(accuracies) > 1 else f"{mean:.2f} %"
        print(f"{name:22}{images:8}  {model:14}{figure:>18}  {len(accuracies):8}  {verdict}".rstrip())


def _complain(error):
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
