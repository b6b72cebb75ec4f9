"""A package that is missing is named in one line, with the mend; one that is broken is not taken for missing."""

import sys

import pytest
import torch

from condense.core.errors import InputError
from condense.core.extras import needed
from condense.data import load_data
from condense.data.coresets import k_means


def test_a_package_that_is_here_is_imported():
    assert needed("os.path", "python", "this test") is sys.modules["os.path"]


def test_a_missing_package_is_named():
    with pytest.raises(InputError, match="^--flag needs a package that is not here: pip install some-package$"):
        needed("no_such_package.part", "some-package", "--flag")


def test_a_package_that_lacks_one_of_its_own_is_a_defect(tmp_path, monkeypatch):
    (tmp_path / "incomplete_package.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        needed("incomplete_package", "incomplete-package", "this test")


def test_digits_and_k_means_name_scikit_learn(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match="--dataset Digits needs .* pip install scikit-learn"):
        load_data("Digits")
    with pytest.raises(InputError, match="k-means needs .* pip install scikit-learn"):
        k_means(torch.rand(8, 2), 2, torch.Generator())
