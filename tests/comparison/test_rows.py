"""Rows: what replaces what in scores.json, which names are told apart, and which verdict stands in the table."""

import json
from dataclasses import replace

import pytest

from condense.comparison.rows import Row, load_rows, merge_rows, save_rows, score_table

GOOD, BAD = [0.9, 0.91, 0.9, 0.92, 0.9], [0.5, 0.6, 0.4, 0.55, 0.5]


def row(name="a", network="MLP", accuracies=GOOD, kind="set", equal=(), told_apart="a.pt", **source):
    source = {"data": {"fingerprint": "f", "data_path": "data"}, "tensors_sha256": "t", "which": "last",
              "recipe": {"epochs": 3}, "seed": 0, "precision": "fp32", "set": "a.pt", **source}
    return Row(name, network, [accuracies], 10, 2560, source, equal=equal, kind=kind, told_apart=told_apart)


@pytest.mark.parametrize("change", [{"network": "ConvNet"}, {"tensors_sha256": "u"}, {"which": "best"}, {"seed": 1},
                                    {"recipe": {"epochs": 4}}, {"precision": "bf16"}, {"kind": "random"},
                                    {"data": {"fingerprint": "g"}}, {"accuracies": GOOD[:4]}, {"experiment": 0}])
def test_rows_that_differ_in_what_they_measure_are_kept_beside_each_other(tmp_path, change):
    save_rows(tmp_path / "s.json", [row()])
    save_rows(tmp_path / "s.json", [row(**change)])
    assert len(load_rows(tmp_path / "s.json")) == 2


@pytest.mark.parametrize("change", [{"accuracies": BAD}, {"set": "./a.pt"}, {"name": "b"},
                                    {"data": {"fingerprint": "f", "data_path": "elsewhere"}}])
def test_the_same_measured_again_takes_the_old_place(tmp_path, change):
    save_rows(tmp_path / "s.json", [row(), row(network="ConvNet")])
    save_rows(tmp_path / "s.json", [row(**change)])
    first, second = load_rows(tmp_path / "s.json")
    assert first["accuracies"] == [change.get("accuracies", GOOD)] and second["network"] == "ConvNet"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": 3}', '{"rows": [1]}'])
def test_other_files_are_refused_and_left_alone(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ValueError, match="name another file with --output"):
        save_rows(tmp_path / "s.json", [row()])
    assert (tmp_path / "s.json").read_text() == text


def test_scores_are_json_that_other_programs_read(tmp_path):
    save_rows(tmp_path / "s.json", [row()])
    strict = json.loads((tmp_path / "s.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert strict["format_version"] == 1 and strict["rows"][0]["mean"] == pytest.approx(0.906)


def test_two_sets_of_one_name_never_share_a_line():
    one, other = row(told_apart="d1/a.pt"), row(network="ConvNet", tensors_sha256="u", told_apart="d2/a.pt")
    table = score_table(merge_rows([one, other]))
    assert [line[0] for line in table.rows] == ["a (d1/a.pt)", "a (d2/a.pt)"]


def test_one_set_on_two_networks_shares_its_line():
    table = score_table(merge_rows([row(), row(network="ConvNet")]))
    assert len(table.rows) == 1 and table.header[-2:] == ["MLP", "ConvNet"]


def test_of_equal_rows_the_first_is_shown():
    assert merge_rows([row(), row(accuracies=BAD)])[0].accuracies == [GOOD]


@pytest.mark.parametrize("ours, theirs, verdict, mark", [
    (GOOD, BAD, "beats random", ""), (BAD, GOOD, "does not beat random", "†"),
    (GOOD[:4], BAD, "not judged: fewer than 5 networks", "‡"),
    (GOOD, BAD[:4], "not judged: fewer than 5 networks", "‡"),
])
def test_the_verdict_is_against_random_images_at_equal_bytes(ours, theirs, verdict, mark):
    judged = row(accuracies=ours, equal=(row(accuracies=theirs, kind="random"),))
    assert judged.verdict() == judged.plain()["verdict"] == verdict
    long, wide = score_table([judged]), score_table([judged, replace(judged, network="ConvNet")])
    assert long.rows[0][-1] == verdict and wide.rows[0][-1].endswith(mark) and (mark == "" or mark in wide.notes[1])


def test_without_random_images_at_equal_bytes_nothing_is_judged():
    assert row().verdict() == "" and "verdict" not in row().plain()
