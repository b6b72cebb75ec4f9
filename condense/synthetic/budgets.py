"""The option `--budget` of forms whose papers count storage in a way of their own."""

BUDGET = {"default": "strict", "choices": ("strict", "published"), "help": "strict: all that is stored, networks too, "
          "fits into ipc images per class; published: as its paper counts, which may be more (what is stored is said): "
          "each image of ipc becomes bases of as many floats, so that HaBa's --ipc 3 --single_channel is --ipc 1 here"}
