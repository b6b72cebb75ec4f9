"""The option `--budget` of forms whose papers count storage differently."""

BUDGET = {"default": "strict", "choices": ("strict", "published"), "help": "how storage is counted. strict: everything "
          "stored, networks included, fits into ipc images per class; published: as the paper counts, which may be "
          "more (the log says how much): each image of ipc becomes bases of as many floats, so HaBa's --ipc 3 "
          "--single_channel is --ipc 1 here"}
