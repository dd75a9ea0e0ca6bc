"""The page of a report: one file, every text escaped, and everything that is known on it."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from xai_core import Explanation, report
from xai_core.explanation import row_fingerprints
from xai_core.metrics import MetricResult

VOID = {"meta", "img", "br"}
EVIL = "<script>alert('x')</script> & \"<b>\" $a_b$"
RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 12, 16, 3)).astype("float32")
SHARES = np.linspace(0, 1, 5)


class Page(HTMLParser):
    """The elements and the visible text of a page; what is opened must be closed."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.open, self.text, self.titles = [], [], [], []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def says(self, *parts):
        text = " ".join("\n".join(self.text).split())
        missing = [part for part in parts if part not in text]
        assert not missing, f"{missing} not in: {text}"
        return True


def explanation(method="Saliency", **fields):
    known = {
        "config": {"model": "Functional", "operator": "classification", "output": "raw"},
        "targets": [0, 1, 0],
        "scores": [0.9, 2.5, -1.0],
        "fingerprints": row_fingerprints(IMAGES),
        "versions": {"xai_core": "0.1.0", "keras": "3.15"},
    }
    return Explanation(RNG.normal(size=(3, 12, 16, 1)), method, **(known | fields))


def result(metric="Deletion", scores=(0.1, 0.2, 0.3), higher=False, curves=True):
    lines = np.linspace(1, 0, 5) * np.ones((len(scores), 1)) if curves else None
    return MetricResult(metric, np.array(scores), higher, lines, SHARES if curves else None)


@pytest.fixture
def written(tmp_path):
    def write(*arguments, **more):
        return Page(report.write(tmp_path / "page", *arguments, **more))

    return write


# --- one file -----------------------------------------------------------------------------------


def test_page_needs_no_other_file(written):
    figure = Figure()
    figure.add_subplot().plot([1, 2])
    page = written(explanation(), IMAGES, scores=result(), figures={"Mine": figure}, title="Maps")
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "svg"}
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "srcset", "data", "action", "poster", "background"):
            assert attributes.get(key, "data:image/png;base64,").startswith("data:image/png")
        if tag == "a":
            assert attributes["href"].startswith("https://arxiv.org/")
    style = re.search(r"<style>(.*?)</style>", page.source, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style
    policies = [one for one in page.all("meta") if "http-equiv" in one]
    assert policies[0]["content"].startswith("default-src 'none';")
    assert page.source.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]


def test_page_fits_a_phone(written):
    page = written(explanation(), IMAGES)
    (viewport,) = [one["content"] for one in page.all("meta") if one.get("name") == "viewport"]
    assert "width=device-width" in viewport
    assert "max-width: 100%" in page.source
    assert page.all("table")
    # Every table stands in an element that scrolls by itself.
    assert page.source.count('<div class="scroll"><table') == len(page.all("table"))


def test_pictures_are_whole_and_of_a_reasonable_size(written):
    page = written(explanation(), IMAGES)
    pictures = page.all("img")
    assert len(pictures) == 3
    for one in pictures:
        data = base64.b64decode(one["src"].partition("base64,")[2])
        assert len(data) < 300_000
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
            assert np.asarray(image.convert("L")).std() > 10
        assert size == (int(one["width"]), int(one["height"]))
        assert 250 < size[0] < 1000
        assert one["alt"].startswith("Saliency of Input ")


@pytest.mark.parametrize(
    ("name", "becomes"),
    [("a", "a.html"), ("a.html", "a.html"), ("a.v2", "a.v2.html"), ("A.HTM", "A.HTM")],
)
def test_suffix_and_replacement(name, becomes, tmp_path):
    for title in ("old", "new"):
        path = report.write(str(tmp_path / name), explanation(), title=title)
        assert path == tmp_path / becomes
    assert Page(path).says("new")


def test_pyplot_and_the_callers_figures_are_left_alone(written):
    before = plt.get_fignums()
    figure, ax = plt.subplots(figsize=(3, 2))
    ax.plot([0, 1])
    canvas, dpi = figure.canvas, figure.dpi
    page = written(explanation(), IMAGES, scores=result(), figures=[figure, figure])
    assert len(page.all("img")) == 3 + 1 + 2
    assert (figure.canvas, figure.dpi, tuple(figure.get_size_inches())) == (canvas, dpi, (3, 2))
    assert plt.get_fignums() == [*before, figure.number]
    plt.close(figure)


# --- every text is a text -----------------------------------------------------------------------


def test_html_in_names_is_shown_as_text(written):
    figure = Figure()
    figure.add_subplot()
    one = explanation(
        method=EVIL,
        class_names=(EVIL, "b"),
        config={EVIL: EVIL, "explainer": {"method": EVIL, "x": EVIL}, "operator": EVIL},
        layer=EVIL,
        notes=(EVIL,),
        versions={EVIL: EVIL},
    )
    page = written(
        {EVIL: one},
        IMAGES,
        scores={EVIL: {EVIL: result()}},
        figures={EVIL: figure},
        title=EVIL,
        introduction=EVIL,
        names=[EVIL, "b", "c"],
    )
    assert not [name for name, _ in page.tags if name in ("script", "b")]
    assert "<script" not in page.source
    assert page.source.count("&lt;script&gt;") > 15
    # The picture's own text: title, name of the input, class, caption, alternative.
    assert page.says(EVIL, f"{EVIL} 0.90")
    assert page.all("img")[0]["alt"] == f"{EVIL} of {EVIL}: {EVIL} 0.90"


def test_names_of_features_are_text(written):
    names = (EVIL, "$\\frac$", "c")
    page = written(Explanation(np.ones((1, 3)), "Occlusion", feature_names=names))
    assert "<script" not in page.source


def test_half_a_character_does_not_stop_the_page(written):
    assert written(explanation(layer="\ud800"), names=["\udfff", "ü", "語"]).says("ü", "語")


# --- what it tells ------------------------------------------------------------------------------


def test_everything_that_is_known_stands_there(written):
    one = explanation(
        "SmoothGrad",
        config={
            "model": "Functional",
            "operator": "classification",
            "output": "softmax",
            "noise": 0.15,
            "noise_scale": "range",
            "n_samples": 50,
            "baseline": {"shape": [2, 3], "crc32": 5},
            "explainer": {"method": "GradCAM", "layer": None, "signed": True},
        },
        class_names=("cat", "dog"),
        layer="conv5",
        notes=("The last spatial layer was taken.",),
        rows=[50, 50, 51],
        seconds=2.345,
        base_values=[0.125, 0.25, 0.5],
        completeness_gap=[0.001, 0.5, -0.25],
        standard_error=np.full((3, 12, 16, 1), 0.03125),
        converged=[True, False, True],
        targets_used=False,
    )
    page = written(one, IMAGES, introduction="First.\n\nSecond.", names=["a", "b", "c"])
    assert page.says(
        *("Explanations", "First.", "Second.", "SmoothGrad", "Smilkov et al., 2017", "GradCAM"),
        *("noise 0.15", "noise scale range", "n samples 50", "baseline array of shape (2, 3)"),
        *("of the explainer GradCAM", "layer none", "signed yes", "layer that was used conv5"),
        *("model Functional", "model rows per input 50 to 51", "seconds of the call 2.35"),
        *("versions xai_core 0.1.0, keras 3.15", "note The last spatial layer was taken."),
        *("The map is the same for every target.", "shape (3, 12, 16, 1)", "cat 0.90", "dog 2.50"),
        *("input explained f(x) f(baseline)", "sum − (f(x) − f(baseline))", "standard error"),
        *("a cat 0.900 0.125 0.001", "b dog 2.500 0.250 0.500", "0.031 50 yes", "0.031 50 no"),
        one.cite().sentence,
        "@misc{smilkov2017smoothgrad,",
        "@inproceedings{selvaraju2017gradcam,",
    )


def test_methods_stand_beside_each_other(written):
    maps = {"first": explanation(), "second": explanation("GradCAM")}
    page = written(maps, IMAGES, limit=2)
    assert [one["alt"] for one in page.all("img")] == [
        f"{title} of Input {row}: class {row - 1} {score}"
        for row, score in ((1, "0.90"), (2, "2.50"))
        for title in ("first", "second")
    ]
    assert page.says("The first 2 of 3 inputs.", "Input 2")
    assert "Input 3" not in page.source
    assert page.says("Input 1: class 0 0.90 first second Input 2: class 1 2.50")
    assert page.source.count('<div class="panels images"') == 2
    assert len(page.all("details")) == 4
    assert all("open" in one for one in page.all("details"))
    many = written([explanation() for _ in range(3)], IMAGES)
    assert many.says("Saliency (1)", "Saliency (3)")
    assert not any("open" in one for one in many.all("details"))
    scores = dataclasses.replace(explanation(), scores=[0.25, 0.5, 0.75])
    other = written({"first": explanation(), "second": scores}, IMAGES)
    assert other.says("Input 1 first class 0 0.90 second class 0 0.25 Input 2")
    alone = written(explanation(), IMAGES, names=["a", "b", "c"])
    assert alone.source.count('<div class="panels images"') == 1
    assert alone.says("a class 0 0.90 b class 1 2.50 c class 0 -1.00")


def test_scores_and_curves(written):
    maps = {"A": explanation(), "B": explanation("GradCAM")}
    scores = {
        "A": [result(), result("Insertion", (0.5, 0.7, 0.9), higher=True)],
        "B": [result(scores=(0.3, 0.3, 0.3)), result("Stability", (1.0,), curves=False)],
        "random": result(scores=(0.5, np.nan, 0.5)),
    }
    page = written(maps, scores=scores)
    assert page.says(
        *("Deletion ↓ lower is better", "Insertion ↑ higher is better"),
        *("A 0.200 ± 0.058 0.700 ± 0.115 –", "B 0.300 ± 0.000 – 1.000", "random not finite"),
        *("beside the methods: random", "over 1 to 3 inputs"),
        "Attributions were judged by Deletion (Petsiuk et al., 2018) and Insertion",
        "and Stability.",
    )
    assert page.source.count("@inproceedings{petsiuk2018rise") == 1
    assert "<td><strong>0.200" in page.source
    assert page.source.count("<strong>") == 1 + 2 * 3
    assert 'class="control"' in page.source
    curves = [one["alt"] for one in page.all("img") if one["alt"].startswith("Curves")]
    assert curves == ["Curves of Deletion for A, B, random", "Curves of Insertion for A"]


def test_scores_of_one_explanation_need_no_title(written):
    assert written(explanation(), scores=result()).says("Saliency 0.200 ± 0.058")
    both = {"black": result(), "blur": result(scores=(0.4, 0.4, 0.4))}
    page = written({"A": explanation()}, scores={"A": both})
    assert page.says("black ↓ lower is better", "blur ↓ lower is better")


def test_series_tables_and_volumes(written):
    series, table = RNG.normal(size=(2, 9, 2)), RNG.normal(size=(2, 4))
    assert len(written(Explanation(series, "Saliency", inputs=series)).all("img")) == 2
    assert len(written(Explanation(table, "Occlusion"), np.ones((2, 4))).all("img")) == 2
    words = np.array([["a", 1, None, 2.5]] * 2, dtype=object)
    assert len(written(Explanation(table, "Occlusion", inputs=words)).all("img")) == 2
    first = dataclasses.replace(explanation(), data_format="channels_first", fingerprints=None)
    maps = dataclasses.replace(first, values=first.values.transpose(0, 3, 1, 2))
    assert len(written(maps, IMAGES.transpose(0, 3, 1, 2)).all("img")) == 3
    volume = written(Explanation(np.ones((2, 3, 4, 5, 1)), "Saliency"), np.ones((2, 3, 4, 5, 2)))
    assert volume.says("Maps of volumes are not drawn", "Saliency")


@pytest.mark.parametrize("kind", ["tuple", "dict", "titled", "listed"])
def test_results_of_a_model_with_several_inputs(kind, written):
    table = RNG.normal(size=(3, 4)).astype("float32")
    image, row = explanation(), Explanation(table, "Saliency", inputs=table)
    pair = {"image": image, "word": None, "row": row}
    given = {
        "tuple": (image, row),
        "dict": pair,
        "titled": {"S": pair, "again": (image, None, row)},
        "listed": [(image, row)],
    }[kind]
    page = written(given, {"row": table, "image": IMAGES, "word": np.ones((3, 2), int)})
    said = {
        "tuple": ["Saliency (1)", "Saliency (2)"],
        "dict": ["image", "row"],
        "titled": ["S: image", "S: row", "again: input 1", "again: input 3"],
        "listed": ["Saliency: input 1", "Saliency: input 2"],
    }[kind]
    assert page.says(*said)
    assert len(page.all("img")) == 3 * len(said)


def test_signed_maps_keep_their_colours_on_every_input(written):
    values = np.ones((2, 8, 8, 1))
    values[0, 0, 0] = -1
    page = written(Explanation(values, "GradientInput"))
    pictures = [base64.b64decode(one["src"].partition("base64,")[2]) for one in page.all("img")]
    colours = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures]
    middle = [image[image.shape[0] // 2, image.shape[1] // 3] for image in colours]
    assert np.array_equal(*middle), "Red is for in both, though the second has nothing negative."
