"""What every form says of itself: views, factor, whether it stores images; and what a reader makes of it."""

import pytest

from condense.data import load_data
from condense.run.results import form_in
from condense.synthetic import PARAMETERIZATIONS, outline_synthetic, stores_images

OPTIONS = {"multi_formation": {"factor": 2}, "hallucinator": {"n_style": 3}, "memory": {"n_basis": 4},
           "latent_decoder": {"n_decoder": 1, "latent_channels": 4}}
FORMS = {"multi_formation": {"views": 1, "decoded": 2}, "hallucinator": {"views": 3, "decoded": 1}}


@pytest.fixture(scope="module")
def digits():
    return load_data("Digits")


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_a_form_says_how_its_images_come_from_what_it_stores(digits, name):
    options = OPTIONS.get(name, {})
    outline = outline_synthetic(name, digits, 8, **options)
    assert outline.form() == FORMS.get(name, {"views": 1, "decoded": 1})
    assert outline.form() == {"views": outline.views, "decoded": outline.factor}
    assert outline.images_per_epoch * outline.views == max(outline.counts)
    assert stores_images(name, **options) == (name == "pixels")


def test_mosaics_of_one_image_are_stored_as_they_are(digits):
    assert stores_images("multi_formation", factor=1) and not stores_images("multi_formation")
    assert outline_synthetic("multi_formation", digits, 8, factor=1).form() == {"views": 1, "decoded": 1}
    with pytest.raises(ValueError, match="unknown parameterization 'pixel'; did you mean pixels"):
        stores_images("pixel")


def test_meta_is_believed_before_options():
    assert form_in({"views": 2, "decoded": 3, "options": {"n_style": 5}}) == {"views": 2, "decoded": 3}
    assert form_in({}) == form_in({"options": {"factor": 2}}) == {"views": 1, "decoded": 1}
    assert form_in({"options": {"parameterization": "multi_formation", "factor": 2}}) == {"views": 1, "decoded": 2}
    assert form_in({"options": {"n_style": 5}}) == {"views": 5, "decoded": 1}


@pytest.mark.parametrize("meta", [{"views": 0}, {"views": "2"}, {"decoded": 2.0}, {"decoded": True}])
def test_what_is_no_number_is_refused(meta):
    with pytest.raises(ValueError, match="set.pt says (views|decoded) .*, not a whole number of 1 or more; "):
        form_in(meta, "set.pt")
