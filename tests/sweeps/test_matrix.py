"""scripts/matrix.sh: every objective with every form of the set."""

import os
import shutil

import pytest

import main_DD
import main_IDC
import main_MTT
from condense.methods import EXPERTS_SCRIPT
from condense.synthetic import PARAMETERIZATIONS
from condense.training.unrolled_options import settle_steps
from tests.sweep_runs import ONE, contents, finish, parsed, planned

pytestmark = pytest.mark.skipif(shutil.which("bash") is None or os.name != "posix", reason="sweeps need bash")


def test_matrix_crosses_every_objective_with_every_form_in_settings_that_each_accepts():
    request, (experts,), cells = planned("matrix", OUT="out")
    assert experts.method is EXPERTS_SCRIPT and experts.folder == "buffers/Digits_ConvNetD2"
    options = {}
    for cell in cells:
        cfg = parsed(cell)
        options[cell.labels["method"], cfg.parameterization] = cfg
        for side in (8, 28):
            form = PARAMETERIZATIONS[cfg.parameterization](10, cfg.ipc, 1, (side, side), **cfg.form_options())
            assert 0 < form.storage()["floats"] <= 2 * 10 * side**2
        assert cfg.num_eval >= 5                           # so many that they can be judged
        for kind, check in ((main_DD, settle_steps), (main_IDC, main_IDC.check), (main_MTT, main_MTT.check)):
            if isinstance(cfg, kind.Config):
                check(cfg)                                 # it raises where options do not go together
    assert len(options) == len(cells) == 7 * len(PARAMETERIZATIONS)
    assert {method for method, _ in options} == {"DC", "DSA", "DM", "MTT", "DD", "BPTT", "IDC"}
    buffers = parsed(experts).buffer_path
    assert buffers == "out/buffers" and all(cfg.buffer_path == buffers for (method, _), cfg in options.items()
                                            if method == "MTT")
    assert all(options["BPTT", form].inner_steps == 20 for form in PARAMETERIZATIONS)


def test_matrix_gives_experts_the_flags_that_say_what_images_are():
    flags = ["--zca", "--Iteration", "3", "--classes", "0-3", "--device=cpu"]
    mtt = ONE | {"METHODS": "MTT", "FORMS": "pixels"}
    _, (experts,), (cell,) = planned("matrix", *flags, **mtt)
    given = parsed(experts)
    assert (given.zca, given.classes, given.device, given.model) == (True, "0-3", "cpu", "MLP")
    assert given.buffer_path == parsed(cell).buffer_path and "--Iteration" not in experts.flags
    assert not planned("matrix", "--buffer_path", "x", **mtt)[1]
    assert not planned("matrix", **ONE | {"METHODS": "DM", "FORMS": "pixels"})[1]


def test_matrix_takes_flags_of_a_form_where_it_has_no_other():
    _, _, (cell,) = planned("matrix", "--n_style", "2", METHODS="DM", FORMS="hallucinator")
    assert parsed(cell).n_style == 2


def test_matrix_of_sets_whose_names_differ_is_whole_and_repeats_nothing(sweep, tmp_path):
    cells = {"script": "matrix.sh", "METHODS": "IDC BPTT", "FORMS": "pixels memory", "IPCS": "2",
             "MODELS": "ConvNetD1"}
    code, lines, errors = finish(sweep("--Iteration", "1", **cells))
    assert code == 0 and not errors
    out = tmp_path / "out"
    names = sorted(path.name.split("_")[1] for path in out.glob("*/*/res_*ipc.pt"))
    assert names == ["BPTT", "IDC", "IDC-I", "RTP"]
    table = (out / "table.md").read_text().splitlines()
    assert table[0] == "| method | pixels | memory |"
    assert [row.split(" | ")[0] for row in table[2:4]] == ["| IDC", "| BPTT"]
    assert "–" not in "".join(table[2:4]) and all(row.count("(") == 2 for row in table[2:4])      # random images, too
    assert "Each row is scored by its method's own protocol: compare along a row, not down a column.  " in table
    assert r"\begin{tabular}" in (out / "table.tex").read_text()
    before = contents(out, "*/*/res_*")
    code, lines, _ = finish(sweep("--Iteration", "1", **cells))
    assert code == 0 and sum("was done" in line for line in lines) == 4
    assert contents(out, "*/*/res_*") == before


def test_matrix_says_below_the_table_why_a_budget_holds_no_image(sweep, tmp_path):
    code, _, errors = finish(sweep(script="matrix.sh", FORMS="pixels hallucinator"))
    assert code == 1 and len(errors) == 3
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Failed: Digits_ipc1_DM_MLP_hallucinator/seed0: the storage of --ipc 1 holds no base" in table
    assert "use --ipc 2 or more; --budget published" in table and "| – |" in table
