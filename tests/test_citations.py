"""Papers of all methods and metrics, and the sentence that tells what was computed."""

import re
from importlib import resources

import numpy as np
import pytest

import tiny_models
from tiny_models import KINDS
from xai_core import Explanation, attributions, citations, metrics
from xai_core.attributions import (
    FORGrad,
    GradCAM,
    IntegratedGradients,
    Occlusion,
    RandomMap,
    Saliency,
    SmoothGrad,
)

PUBLISHED = {
    name: getattr(package, name)
    for package in (attributions, metrics)
    for name in package.__all__
    if hasattr(getattr(package, name), "source")
}
TEXT = resources.files("xai_core").joinpath("references.bib").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^@.*?^\}$", TEXT, re.M | re.S)
TARGETS = 0


# --- the bibliography ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_paper_is_the_one_that_the_class_names(name):
    found, source = citations.paper(name), PUBLISHED[name].source
    assert found is not None, "A method or metric needs an entry in references.bib."
    assert source.endswith(f" {found.url}")
    published, told = (
        int(re.search(r"\b(?:19|20)\d\d\b", text)[0]) for text in (found.short, source)
    )
    assert 0 <= published - told <= 1, "A preprint may come a year earlier."
    family = re.split(r" et al\.| and |, ", found.short)[0]
    assert re.search(rf"\b{family}\b", source)


def test_entries_name_what_exists():
    assert set(citations.papers()) == set(PUBLISHED)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: re.search(r"\{(\w+),", entry)[1])
def test_an_entry_is_whole(entry):
    head, *lines, end = entry.splitlines()
    kind, key = re.fullmatch(r"@(\w+)\{(\w+),", head).groups()
    fields = dict(re.fullmatch(r"  (\w+) = \{(.+)\},", line).groups() for line in lines)
    assert end == "}"
    assert {"title", "author", "year", "url", "keywords"} <= fields.keys()
    assert {"inproceedings": "booktitle", "article": "journal", "misc": "eprint"}[kind] in fields
    family = fields["author"].partition(",")[0].lower()
    assert re.fullmatch(rf"{family}{fields['year']}[a-z]+", key)
    for author in fields["author"].split(" and "):
        assert re.fullmatch(r"[^,]+, [^,]+", author)
    assert fields["url"].startswith("https://")
    for text in fields.values():
        assert text.count("{") == text.count("}")


def test_every_text_of_the_file_is_an_entry_with_a_key_of_its_own():
    rest = re.sub(r"^@.*?^\}$|^%.*$", "", TEXT, flags=re.M | re.S)
    assert not rest.strip()
    keys = [re.search(r"\{(\w+),", entry)[1] for entry in ENTRIES]
    assert len(set(keys)) == len(keys)


def test_bibtex_holds_no_names_of_ours():
    assert all("keywords" not in paper.bibtex for paper in citations.papers().values())


# --- of results ---------------------------------------------------------------------------------


def test_sentence_tells_baseline_steps_score_and_versions():
    x = KINDS["image"].inputs()
    explainer = IntegratedGradients(
        tiny_models.model("image"), output="softmax", steps=12, baseline=[0, "mean"]
    )
    explanation = explainer(x, TARGETS)
    found = explanation.cite()
    assert found.sentence.startswith(
        "Attributions were computed with IntegratedGradients (Sundararajan et al., 2017; "
    )
    for part in (
        "12 steps",
        "baseline [0, mean]",
        "channels reduced by sum",
        "for the score 'classification' of the model's softmax output",
        *(f"{name} {number}" for name, number in explanation.versions.items()),
    ):
        assert part in found.sentence
    assert found.bibtex == citations.paper("IntegratedGradients").bibtex
    assert str(found) == f"{found.sentence}\n\n{found.bibtex}"


def test_both_papers_of_a_wrapped_explainer(tmp_path):
    x = KINDS["image"].inputs()
    base = GradCAM(tiny_models.model("image"))
    smooth = SmoothGrad(base, n_samples=4, noise=0.25, noise_scale="absolute", seed=7)(x, TARGETS)
    sentence = smooth.cite().sentence
    first, second = sentence.split(" of GradCAM (")
    assert "SmoothGrad (Smilkov et al., 2017; 4 samples, noise 0.25" in first
    assert "seed 7" in first
    assert second.startswith(f"Selvaraju et al., 2017; layer {smooth.layer}, not signed)")
    assert smooth.cite().bibtex.count("@") == 2
    loaded = Explanation.load(smooth.save(tmp_path / "map"))
    assert loaded.cite() == smooth.cite()
    twice = FORGrad(FORGrad(Saliency(tiny_models.model("image")), sigma=3), sigma=2)(x, TARGETS)
    assert twice.cite().bibtex.count("@") == 2, "An entry stands there once."
    assert "sigma 2, not signed) of FORGrad (" in twice.cite().sentence
    assert "Muzellec" in twice.cite().bibtex
    assert "Simonyan" in twice.cite().bibtex


def test_what_does_not_matter_is_left_out():
    table, kind = np.ones((2, 3), "float32"), KINDS["table"]
    start = "Attributions were computed with RandomMap (Adebayo et al., 2018; seed 3), using "
    assert RandomMap(seed=3)(table).cite().sentence.startswith(start)
    occlusion = Occlusion(tiny_models.model("table"), baseline=np.zeros(4))
    sentence = occlusion(kind.inputs(), TARGETS).cite().sentence
    assert "baseline array of shape (4)" in sentence
    assert "none" not in sentence.lower()
    assert "reduced" not in Saliency(tiny_models.model("table"))(kind.inputs(), 0).cite().sentence


def test_results_of_unknown_methods_cite_what_they_know():
    found = Explanation(np.ones((1, 2)), "Mine", layer="conv", seed=2).cite()
    assert found.sentence == "Attributions were computed with Mine (layer conv, seed 2)."
    assert found.bibtex == ""
    assert str(found) == found.sentence
    assert "without a name" in Explanation(np.ones((1, 2)), "").cite().sentence
    wrapped = {"explainer": {"method": "Saliency", "absolute": False}, "reducer": None}
    mine = Explanation(np.ones((1, 4, 4, 3)), "Mine", config=wrapped).cite()
    assert mine.sentence == (
        "Attributions were computed with Mine (channels not reduced) of Saliency "
        "(Simonyan et al., 2014; not absolute)."
    )
    assert mine.bibtex == citations.paper("Saliency").bibtex
