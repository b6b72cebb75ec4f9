"""Do two versions of the toolkit give the same tensors? Every method on Digits with small settings, seed 0.

    python tests/same_tensors.py run FOLDER [CHECKOUT [NAME...]]     # results of one version, about five minutes
    python tests/same_tensors.py compare FOLDER FOLDER           # of two; exit code 1 where a bit differs

Run by hand before and after a change that is to leave every number as it was. Tensors depend on the processor and on
PyTorch, so both runs belong on one machine.
"""

import subprocess
import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = ("--dataset Digits --num_exp 2 --num_eval 2 --epoch_eval_train 5 --model ConvNetD2 --ipc 2 --Iteration 6 "
         "--eval_every 3 --no-progress --device cpu --overwrite")
STEPS = SMALL.replace(" --epoch_eval_train 5", "") + " --distill_steps 2 --distill_epochs 2"
SEGMENTS = "--max_start_epoch 2 --expert_epochs 2 --syn_steps 4 --buffer_path {folder}/buffers"
COMMANDS = {
    "DM": f"main_DM.py {SMALL} --batch_real 32",
    "DC": f"main_DC.py {SMALL} --batch_real 32 --outer_loop 3 --inner_loop 2",
    "DSA": f"main_DC.py --method DSA --init real {SMALL} --batch_real 32 --outer_loop 3 --inner_loop 2",
    "MTT": f"main_MTT.py {SMALL} {SEGMENTS} --lr_img 100 --mom_lr 0.9",
    "DATM": f"main_MTT.py {SMALL} {SEGMENTS} --lr_img 100 --lr_y 2 --init samples_predicted_correctly",
    "LoMTT": f"main_LoMTT.py {SMALL} {SEGMENTS}",
    "HaBa": f"main_HaBa.py {SMALL} {SEGMENTS} --ipc 10 --n_style 2",
    "DD": f"main_DD.py {STEPS} --batch_size 256",
    "DD_fixed": f"main_DD.py {STEPS} --train_nets_type known_init --num_eval 1",
    "DD_loaded": f"main_DD.py {STEPS} --train_nets_type loaded --n_nets 2 --net_init xavier --num_eval 2 "
                 "--buffer_path {folder}/buffers",
    "BPTT": f"main_DD.py {SMALL} --inner_steps 6 --inner_momentum 0.9 --batch_syn 1 --window 3",
    "RTP": f"main_DD.py {SMALL} --inner_steps 6 --inner_momentum 0.9 --parameterization memory",
    "IDC": f"main_IDC.py {SMALL} --inner_loop 3 --n_data 128 --early 1",
    "IDC_I": f"main_IDC.py {SMALL} --inner_loop 3 --n_data 128 --parameterization pixels",
    "KFS": f"main_KFS.py {SMALL} --batch_real 32 --ipc 5",
    "LoDM": f"main_LoDM.py {SMALL} --batch_real 32",
    "LoDC": f"main_LoDC.py {SMALL} --batch_real 32 --outer_loop 3 --inner_loop 2",
}
BUFFER = ("buffer.py --dataset Digits --model ConvNetD2 --num_experts 4 --save_interval 2 --train_epochs 4 "
          "--buffer_path {folder}/buffers --no-progress --device cpu")


def run(folder, checkout, names=()):
    """Write the result of every command of `checkout` into a folder of its own in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, command in [("buffer", BUFFER), *COMMANDS.items()]:
        if names and name not in names:
            continue
        words = command.format(folder=folder).split()
        if name != "buffer":
            words += ["--save_path", str(folder / name)]
        with open(folder / f"{name}.log", "w") as log:
            code = subprocess.run([sys.executable, *words], cwd=checkout, stdout=log, stderr=log).returncode
        print(f"{name:10} exit code {code}", flush=True)


def tensors(value, path=""):
    """Return {path: tensor or plain number} of all that a result holds."""
    if isinstance(value, dict):
        value = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        value = [(str(key), part) for key, part in enumerate(value)]
    elif torch.is_tensor(value) or isinstance(value, float):
        return {path: torch.as_tensor(value)}
    else:
        return {}
    return {name: tensor for key, part in value for name, tensor in tensors(part, f"{path}/{key}").items()}


def compare(first, second):
    """Print a row per method; returns whether every tensor and accuracy is equal to the bit."""
    alike = True
    for name in COMMANDS:
        found = [next((folder / name).glob("res_*ipc.pt"), None) for folder in (first, second)]
        if None in found:
            print(f"{name:10} MISSING in one of them")
            alike = False
            continue
        before, after = ({path: tensor for path, tensor in tensors(torch.load(at, weights_only=True)).items()
                          if not path.startswith("/meta/options")} for at in found)
        other = [path for path in {**before, **after} if path not in before or path not in after
                 or not torch.equal(before[path], after[path])]
        verdict = f"{len(other)} DIFFER, {other[:6]}" if other else "equal"
        print(f"{name:10} {len(before)} tensors and numbers: {verdict}")
        alike &= not other
    return alike


if __name__ == "__main__":
    words = sys.argv[1:]
    if len(words) > 1 and words[0] == "run":
        run(Path(words[1]).resolve(), Path(words[2]).resolve() if len(words) > 2 else REPOSITORY, words[3:])
    elif len(words) == 3 and words[0] == "compare":
        sys.exit(not compare(Path(words[1]), Path(words[2])))
    else:
        sys.exit(__doc__)
