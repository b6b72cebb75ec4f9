"""What a folder holds already: what is refused, and which rows stay."""

import json
import logging

import pytest

from condense.continual.previous import read_previous, refuse_other, refuse_other_files, with_rows_kept
from condense.core.errors import OptionError

SCORED = {"num_eval": 3, "epoch_eval_train": 9, "lr_net": 0.01, "batch_train": 256, "dsa_strategy": "auto",
          "precision": "fp32"}


def summary(*names, compare="bytes", orders=2, **options):
    """Return what later commands look at in a summary of the rows `names`."""
    found = {"seed": 0, "methods": sorted({name.split(",")[0] for name in names}), "compare": compare, "rank": None,
          "Iteration": None, **SCORED, **options}
    return {"format_version": 2, "code": "c", "versions": {"torch": "2"}, "fingerprint": "f", "options": found,
            "protocol": {"epochs": 9}, "orders": {str(seed): [[0, 1]] for seed in range(orders)},
            "methods": {name: {"row": name} for name in names}}


def refusal(before, **options):
    """Return why `options` cannot follow `before`, "" where they can."""
    try:
        refuse_other("scores.json", before, {**before["options"], **options}, "f", {"rank"})
    except OptionError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name, value", [*SCORED.items(), ("methods", ("LoDM",)), ("seeds", 7), ("compare", "both"),
                                         ("rank", 3)])
def test_scoring_methods_orders_and_what_only_one_of_both_takes_may_change(name, value):
    assert refusal(summary("DM", **{name: "another"}), **{name: value}) == ""


@pytest.mark.parametrize("name", ["seed", "Iteration"])
def test_other_condensation_is_refused_with_the_mend(name):
    line = refusal(summary("DM"), **{name: 5})
    assert f"--{name} was" in line and line.endswith("use another --save_path, or --overwrite")


def test_other_images_and_unreadable_files_are_refused(tmp_path):
    before = summary("DM")
    with pytest.raises(OptionError, match="the images are others"):
        refuse_other("scores.json", before, before["options"], "g", set())
    path = tmp_path / "scores.json"
    assert read_previous(path) is None
    path.write_text(json.dumps(before))
    assert read_previous(path) == before
    for content in ("{", "[]", "{}", '{"options": {}, "fingerprint": "f", "methods": {}}'):
        path.write_text(content)
        with pytest.raises(OptionError, match="cannot be read; move it to another folder"):
            read_previous(path)


def test_rows_that_were_scored_alike_stay_with_the_options_they_were_made_with(caplog):
    before = summary("random, 4 images", "DM", compare="images", Iteration=7, seed=0)
    with caplog.at_level(logging.INFO, "condense"):
        joined = with_rows_kept(summary("random", "LoDM", rank=2), before, ("rank", "Iteration"), {"rank"})
    assert list(joined["methods"]) == ["random", "LoDM", "random, 4 images", "DM"] and not caplog.text
    options = joined["options"]
    assert (options["methods"], options["compare"]) == (["LoDM", "random", "DM"], "both")
    assert (options["rank"], options["Iteration"]) == (2, 7)


def test_a_row_of_both_is_the_new_one():
    after = summary("DM")
    after["methods"]["DM"] = {"row": "new"}
    assert with_rows_kept(after, summary("DM"), (), set()) == after
    assert with_rows_kept(after, None, (), set()) == after


@pytest.mark.parametrize("change, word", [({name: "x"}, f"--{name} was x") for name in SCORED]
                         + [({"orders": 3}, "--seeds was 3, is 2")])
def test_rows_that_were_scored_otherwise_are_dropped_and_named(change, word, caplog):
    with caplog.at_level(logging.INFO, "condense"):
        joined = with_rows_kept(summary("random"), summary("random", "DM", "LoDM", **change), (), set())
    assert list(joined["methods"]) == ["random"] and joined["options"]["methods"] == ["random"]
    (record,) = caplog.records
    assert word in record.message and ": DM, LoDM; name them" in record.message


@pytest.mark.parametrize("key, value", [("code", "d"), ("versions", {"torch": "3"}), ("format_version", 1),
                                        ("protocol", {"epochs": 8})])
def test_rows_of_another_recipe_are_dropped(key, value):
    before = {**summary("random", "DM"), key: value}
    assert list(with_rows_kept(summary("random"), before, (), set())["methods"]) == ["random"]


def test_other_published_files_are_refused_and_more_of_them_are_not():
    class Source:
        name = "DM"

        def __init__(self, **digests):
            self.digests = digests

        def facts(self):
            return {"files": {seed[1:]: {"name": f"cl_{seed}.pt", "sha256": digest}
                              for seed, digest in self.digests.items()}}

        def path_of(self, name):
            return f"folder/{name}"

    before = summary("DM")
    refuse_other_files("scores.json", before, [Source(s0="a")])
    before["methods"]["DM"] |= Source(s0="a", s1="b").facts()
    refuse_other_files("scores.json", before, [Source(s0="a"), Source(s0="a", s1="b", s2="c")])
    with pytest.raises(OptionError, match="scored another cl_s1.pt than folder/cl_s1.pt is; use another --save_path"):
        refuse_other_files("scores.json", before, [Source(s0="a", s1="x")])
