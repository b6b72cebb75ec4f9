"""ImageNet-1K, or some classes of it, from its tree train/<wnid>/*.JPEG and val/<wnid>/*.JPEG.

The subsets are those of trajectory matching (Cazenavette et al., CVPR 2022), of ten classes each, and of IDC (Kim et
al., ICML 2022), of ten and a hundred; a label is the position in its list.
"""

import os
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from condense.core.errors import InputError, MissingFile
from condense.core.registry import lookup
from condense.data.folder import image_names, is_folder, is_image
from condense.data.image_files import read_images
from condense.data.real import RealData
from condense.data.request import Request
from condense.data.tiny import MEAN, STD

SIDE, NUM_CLASSES = 128, 1000
TREES = ("ImageNet", "imagenet")                         # names that the tree may have in the data folder

# ImageNet-1K class ids, which number the sorted wnids, and what they show.
IMAGENET100 = {                            # IDC's; its ImageNet-10 are the first ten
    452: "bonnet", 64: "green mamba", 374: "langur", 236: "Doberman", 993: "gyromitra", 176: "Saluki", 882: "vacuum",
    904: "window screen", 503: "cocktail shaker", 74: "garden spider", 57: "garter snake", 959: "carbonara",
    953: "pineapple", 508: "computer keyboard", 872: "tripod", 228: "komondor", 122: "American lobster",
    421: "bannister", 599: "honeycomb", 858: "tile roof", 157: "papillon", 449: "boathouse", 994: "stinkhorn",
    608: "jean", 151: "Chihuahua", 209: "Chesapeake Bay retriever", 15: "robin", 876: "tub", 246: "Great Dane",
    766: "rotisserie", 455: "bottlecap", 857: "throne", 131: "little blue heron", 119: "rock crab", 234: "Rottweiler",
    90: "lorikeet", 45: "Gila monster", 936: "head cabbage", 479: "car wheel", 272: "coyote", 665: "moped",
    653: "milk can", 659: "mixing bowl", 158: "toy terrier", 960: "chocolate sauce", 765: "rocking chair",
    908: "wing", 703: "park bench", 407: "ambulance", 560: "football helmet", 317: "leafhopper", 938: "cauliflower",
    724: "pirate", 748: "purse", 331: "hare", 619: "lampshade", 120: "fiddler crab", 267: "standard poodle",
    155: "Shih-Tzu", 708: "pedestal", 368: "gibbon", 772: "safety pin", 167: "English foxhound", 494: "chime",
    180: "American Staffordshire terrier", 431: "bassinet", 342: "wild boar", 854: "theater curtain",
    305: "dung beetle", 54: "hognose snake", 268: "Mexican hairless", 667: "mortarboard", 166: "Walker hound",
    277: "red fox", 662: "modem", 798: "slide rule", 313: "walking stick", 498: "cinema", 299: "meerkat",
    222: "kuvasz", 682: "obelisk", 593: "harmonica", 775: "sarong", 674: "mousetrap", 592: "hard disc",
    137: "American coot", 758: "reel", 717: "pickup", 606: "iron", 281: "tabby", 796: "ski mask", 211: "vizsla",
    620: "laptop", 830: "stretcher", 544: "Dutch oven", 275: "African hunting dog", 242: "boxer", 570: "gasmask",
    99: "goose", 169: "borzoi",
}
SUBSETS = {
    "imagenette": {0: "tench", 217: "English springer", 482: "cassette player", 491: "chain saw", 497: "church",
                   566: "French horn", 569: "garbage truck", 571: "gas pump", 574: "golf ball", 701: "parachute"},
    "imagewoof": {193: "Australian terrier", 182: "border terrier", 258: "Samoyed", 162: "beagle", 155: "Shih-Tzu",
                  167: "English foxhound", 159: "Rhodesian ridgeback", 273: "dingo", 207: "golden retriever",
                  229: "Old English sheepdog"},
    "imagemeow": {281: "tabby", 282: "tiger cat", 283: "Persian", 284: "Siamese", 285: "Egyptian cat", 291: "lion",
                  292: "tiger", 290: "jaguar", 289: "snow leopard", 287: "lynx"},
    "imagesquawk": {84: "peacock", 130: "flamingo", 88: "macaw", 144: "pelican", 145: "king penguin",
                    22: "bald eagle", 96: "toucan", 9: "ostrich", 100: "black swan", 89: "cockatoo"},
    "imagefruit": {953: "pineapple", 954: "banana", 949: "strawberry", 950: "orange", 951: "lemon",
                   957: "pomegranate", 952: "fig", 945: "bell pepper", 943: "cucumber", 948: "Granny Smith apple"},
    "imageyellow": {309: "bee", 986: "lady's slipper", 954: "banana", 951: "lemon", 987: "corn", 779: "school bus",
                    599: "honeycomb", 291: "lion", 72: "garden spider", 11: "goldfinch"},
    "imagenet10": dict(islice(IMAGENET100.items(), 10)),
    "imagenet100": IMAGENET100,
}


def load_imagenet(request: Request) -> RealData:
    """Load ImageNet, or the classes `request.subset`; its validation part is the test set.

    `request.data_path` is the tree, or a folder that holds it as ImageNet/. The tree has all 1000 classes, or with
    a subset those of it alone: its sorted folders are then taken for the subset's class ids in ascending order.
    Without a subset every class folder is a class. Images are brought to 128x128 (or `request.im_size`), both
    sides directly unless `request.resize` says otherwise. Raises ValueError or FileNotFoundError in one line.
    """
    subset = None if request.subset is None else lookup(SUBSETS, request.subset, "subset")
    root = _tree(Path(request.data_path))
    wnids = sorted(entry.name for entry in os.scandir(root / "train") if is_folder(entry))
    class_names, wnids = (wnids, wnids) if subset is None else _members(root, wnids, request.subset, subset)
    if len(wnids) < 2:
        raise MissingFile(f"{root}/train has {len(wnids)} class folders; put ImageNet's there as <wnid>/*.JPEG")
    _refuse_flat(root / "val")
    (train, labels), (test, test_labels) = (_files(root, part, wnids) for part in ("train", "val"))
    request = replace(request, im_size=SIDE if request.im_size is None else request.im_size)
    _require_memory(len(train) + len(test), request.im_size)
    images = torch.from_numpy(read_images(root, train + test, request, channels=3))      # some files are grey
    images, test_images = images.split([len(train), len(test)])
    return RealData(request.name, images, labels, test_images, test_labels, class_names, MEAN, STD, request.device)


def _tree(path):
    for root in (path, *(path / name for name in TREES)):
        if (root / "train").is_dir():
            return root
    raise MissingFile(f"no ImageNet in {path}; put its train/<wnid>/*.JPEG and val/<wnid>/*.JPEG there, or name"
                      " their folder with --data_path")


def _members(root, wnids, name, subset):
    """Return (class names, wnids) of a subset in the order of its labels; `wnids` are all that the tree has, sorted."""
    ids = {NUM_CLASSES: range(NUM_CLASSES), len(subset): sorted(subset)}.get(len(wnids))
    if ids is None:
        raise InputError(f"{root}/train has {len(wnids)} class folders; for --subset {name} give it all {NUM_CLASSES}"
                         f" of ImageNet, or the {len(subset)} of {name} alone")
    wnid_of = dict(zip(ids, wnids))
    return list(subset.values()), [wnid_of[class_id] for class_id in subset]


def _refuse_flat(val):
    """Raise ValueError where the validation images lie side by side, as ImageNet's archive unpacks."""
    entries = list(os.scandir(val)) if val.is_dir() else []
    if not any(map(is_folder, entries)) and any(map(is_image, entries)):
        raise InputError(f"the images in {val} are not sorted into classes; move each to {val}/<wnid>/, as in train/"
                         " (the validation script of PyTorch's ImageNet example does)")


def _files(root, part, wnids):
    """Return (image names relative to `root`, int64 labels), class after class; label i is the folder `wnids[i]`."""
    names, labels = [], []
    for label, wnid in enumerate(wnids):
        folder = root / part / wnid
        found = sorted(image_names(folder, f"{part}/{wnid}")) if folder.is_dir() else []
        if not found:
            raise MissingFile(f"no images in {folder}; put those of ImageNet's class {wnid} there")
        names += found
        labels += [label] * len(found)
    return names, torch.tensor(labels)


def _require_memory(count, side):
    """Raise ValueError, before an hour of decoding, where the pixels would not fit this machine's memory."""
    needed = count * len(MEAN) * side**2
    has = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else needed
    if needed > has:
        raise InputError(f"{count:,} images of {side}x{side} take {needed / 1e9:.0f} GB, this machine has"
                         f" {has / 1e9:.0f}; choose a --subset, or a smaller --im_size")
