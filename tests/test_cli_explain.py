"""`xai-core explain`, as a user types it, and the images that it reads."""

import inspect
import json
import random
import re
import urllib.error

import keras
import numpy as np
import pytest
from PIL import Image

from xai_core import Explanation, attributions, metrics
from xai_core._checks import warn
from xai_core.cli import arguments, loading, main, pictures

NAMES = ["cat", "dog", "crane, bird", "crane, machine"]


def saved(folder, name, *layers, shape=(12, 16, 3)):
    path = folder / f"{name}.keras"
    keras.Sequential([keras.Input(shape), *layers]).save(path)
    return path


def convolution():
    return keras.layers.Conv2D(
        3, 3, data_format="channels_last", kernel_initializer=keras.initializers.HeNormal(seed=0)
    )


def head():
    return (
        keras.layers.GlobalAveragePooling2D(data_format="channels_last"),
        keras.layers.Dense(4, kernel_initializer=keras.initializers.HeNormal(seed=1)),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model of colour images, three photos and names of classes."""
    folder = tmp_path_factory.mktemp("files")
    saved(folder, "model", convolution(), *head())
    saved(folder, "grey", convolution(), *head(), shape=(12, 16, 1))
    saved(folder, "open", convolution(), *head(), shape=(None, None, 3))
    (folder / "photos").mkdir()
    generator = np.random.default_rng(0)
    for name, size in (("b.png", (20, 30)), ("a.jpg", (12, 16)), ("c.png", (40, 10))):
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / name)
    (folder / "photos" / "notes.txt").write_text("no image")
    (folder / "names.json").write_text(json.dumps(NAMES))
    return folder


@pytest.fixture
def explain(files, tmp_path, capsys):
    """Run `explain` with the options that are needed, of which some can be changed."""

    def run(*more, **changes):
        needed = {
            "model": files / "model.keras",
            "images": files / "photos",
            "preprocess": "tf",
            "method": "Saliency",
            "output": tmp_path / "maps",
        }
        typed = [
            part
            for name, value in (needed | changes).items()
            if value is not None
            for part in ("--" + name, value)
        ]
        usual = ["explain", "--no-score", "--no-report"]
        status = main([*usual, *map(str, typed), *map(str, more)])
        return status, *capsys.readouterr()

    return run


def refusal(result):
    """The one line of a refused call."""
    status, out, err = result
    assert status == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("xai-core: error: ")
    return line.removeprefix("xai-core: error: ")


def test_explain_writes_a_picture_and_an_explanation_per_image(explain, files, tmp_path):
    status, out, err = explain("--class-names", files / "names.json", "--top", "2")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines[::2]] == ["a.jpg", "b.png", "c.png"]
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert names == sorted(
        f"{stem}_Saliency{suffix}" for stem in "abc" for suffix in (".png", ".npz")
    )
    model = keras.saving.load_model(files / "model.keras")
    for line, more, name in zip(lines[::2], lines[1::2], "abc", strict=True):
        explanation = Explanation.load(tmp_path / "maps" / f"{name}_Saliency.npz")
        assert explanation.values.shape == (1, 12, 16, 1)
        assert f"{explanation.label()} (class {explanation.targets[0]})" in line
        assert "preprocessed as 'tf'" in explanation.notes[-1]
        (photo,) = (files / "photos").glob(f"{name}.*")
        x = pictures.preprocess(pictures.read(photo, (12, 16), 3)[None], "tf")
        outputs = keras.ops.convert_to_numpy(model(x))[0]
        assert explanation.targets[0] == outputs.argmax()
        np.testing.assert_allclose(explanation.scores[0], outputs.max(), rtol=1e-4)
        assert f"{np.sort(outputs)[-2]:.4g}" in more
        with Image.open(tmp_path / "maps" / f"{name}_Saliency.png") as picture:
            assert np.ptp(np.asarray(picture)) > 100


def table(out):
    """The printed scores: name, deletion, insertion, difference."""
    lines = out.partition("Deletion (lower is better)")[2].splitlines()[2:]
    rows = [re.split(r" {2,}", line.strip()) for line in lines]
    return {name: [float(cell.split()[0]) for cell in cells] for name, *cells in rows}


@pytest.mark.parametrize("ends", ["linear", "softmax", "one column", "small"])
def test_explain_judges_the_maps_beside_random_ones(ends, explain, files, tmp_path):
    shape = (12, 5, 3) if ends == "small" else (12, 16, 3)
    pool, dense = head()
    dense = {
        "softmax": keras.layers.Dense(4, activation="softmax", kernel_initializer="ones"),
        "one column": keras.layers.Dense(1, kernel_initializer="ones"),
    }.get(ends, dense)
    model = saved(tmp_path, "model", convolution(), pool, dense, shape=shape)
    status, out, err = explain("--score", model=model, method="Occlusion")
    assert (status, err) == (0, "")
    found = table(out)
    coarse = "random 7 x 5" if ends == "small" else "random 7 x 7"
    assert set(found) == {"Occlusion", "random", coarse}
    explanations = [Explanation.load(tmp_path / "maps" / f"{name}_Occlusion.npz") for name in "abc"]
    images = [next((files / "photos").glob(f"{name}.*")) for name in "abc"]
    x = np.stack([pictures.preprocess(pictures.read(p, shape[:2], 3), "tf") for p in images])
    output = {"softmax": "raw", "one column": "sigmoid"}.get(ends, "softmax")
    deletion = metrics.Deletion(keras.saving.load_model(model), steps=25, output=output)
    scores = [float(deletion(e, x[k : k + 1])) for k, e in enumerate(explanations)]
    np.testing.assert_allclose(found["Occlusion"][0], np.mean(scores), atol=6e-4)
    for removed, inserted, difference in found.values():
        assert abs(inserted - removed - difference) < 2e-3


def test_explain_writes_a_page_of_all_images(explain, files, tmp_path):
    status, out, err = explain("--report", "--score", "--class-names", files / "names.json")
    assert (status, err) == (0, "")
    path = tmp_path / "maps" / "report_Saliency.html"
    assert out.splitlines()[-1] == f"Report: {path}"
    page = path.read_text(encoding="utf-8")
    assert page.count('alt="Saliency of ') == 3
    assert page.count('alt="Curves of ') == 2
    for name in ("a.jpg", "b.png", "c.png"):
        label = Explanation.load(tmp_path / "maps" / f"{name[0]}_Saliency.npz").label()
        assert f'alt="Saliency of {name}: {label}"' in page
    for text in ("Saliency of model.keras", "of 3 images", "preprocessed as &#x27;tf&#x27;."):
        assert text in page
    assert "random 7 x 7" in page
    for path in (tmp_path / "maps").glob("?_Saliency.*"):
        path.unlink()
    assert "report_Saliency.html" in refusal(explain("--report")), "A page is not overwritten."


def test_the_page_shows_some_of_many_images(explain, monkeypatch, tmp_path):
    monkeypatch.setattr("xai_core.cli.explain._FILES_AT_ONCE", 2)
    monkeypatch.setattr("xai_core.cli.explain._REPORTED", 1)
    assert explain("--report", "--score")[0] == 0
    page = (tmp_path / "maps" / "report_Saliency.html").read_text(encoding="utf-8")
    assert page.count('alt="Saliency of ') == 1
    assert "The first 1 are shown here" in page
    assert "Means over 3 inputs" in page


def test_a_method_can_wrap_another(explain, tmp_path):
    typed = ("--explainer", "gradientinput", "--batch-size", "2", "--sigma", "3")
    assert explain(*typed, method="FORGrad")[0] == 0
    config = Explanation.load(tmp_path / "maps" / "a_FORGrad.npz").config
    assert (config["explainer"]["method"], config["sigma"]) == ("GradientInput", 3)
    assert (config["batch_size"], config["explainer"]["batch_size"]) == (2, 2)
    assert explain("--force", method="FORGrad")[0] == 0
    config = Explanation.load(tmp_path / "maps" / "a_FORGrad.npz").config
    assert config["explainer"]["method"] == "Saliency"
    says = refusal(explain("--force", "--explainer", "Saliency", method="GradCAM"))
    assert "wraps no explainer" in says


def test_explain_keeps_results_unless_forced(explain, tmp_path):
    assert explain()[0] == 0
    (tmp_path / "maps" / "b_Saliency.npz").unlink()
    before = (tmp_path / "maps" / "a_Saliency.png").stat().st_mtime_ns
    assert "Pass --force to overwrite" in refusal(explain())
    assert not (tmp_path / "maps" / "b_Saliency.npz").exists(), "Refused before any work."
    assert explain("--force")[0] == 0
    assert (tmp_path / "maps" / "a_Saliency.png").stat().st_mtime_ns > before


def test_options_of_a_method_are_its_fields(explain, files, tmp_path):
    typed = "--steps 7 --rule trapezoid --baseline 0,mean --reducer none --model-output softmax"
    status, out, _ = explain(
        *typed.split(), "--batch-size", "2", "--target", "1", method="integratedgradients"
    )
    assert status == 0
    assert out.count("class 1 0.") == 3
    explanation = Explanation.load(tmp_path / "maps" / "a_IntegratedGradients.npz")
    assert explanation.values.shape == (1, 12, 16, 3)
    assert explanation.config["baseline"] == [0, "mean"]
    wanted = {"steps": 7, "rule": "trapezoid", "reducer": None, "output": "softmax"}
    assert wanted.items() <= explanation.config.items()


def test_a_number_may_have_a_word_beside_it(explain, tmp_path):
    typed = "--n-samples exact --grid-size 2,3 --model-output softmax"
    assert explain(*typed.split(), method="KernelSHAP")[0] == 0
    explanation = Explanation.load(tmp_path / "maps" / "a_KernelSHAP.npz")
    assert (explanation.config["n_samples"], explanation.features.shape) == ("exact", (1, 6))
    assert explanation.rows[0] == 64


def test_flags_layers_and_names_of_classes(explain, files, tmp_path):
    (files / "by_index.json").write_text(
        json.dumps({str(k): [f"n{k}", name] for k, name in enumerate("wxyz")})
    )
    status, out, _ = explain(
        *("--layer", "0", "--signed", "--target", "y", "--class-names", files / "by_index.json"),
        method="GradCAM",
    )
    assert status == 0
    assert out.count("(class 2), layer ") == 3
    explanation = Explanation.load(tmp_path / "maps" / "a_GradCAM.npz")
    assert explanation.config["signed"] is True
    assert explanation.class_names == tuple("wxyz")
    assert explain("--no-absolute", "--progress")[0] == 0
    saliency = Explanation.load(tmp_path / "maps" / "a_Saliency.npz")
    assert saliency.config["absolute"] is False


def test_synonyms_are_left_out_and_equal_names_are_told_apart(explain, files, tmp_path):
    (files / "twice.json").write_text(json.dumps(["tench, Tinca tinca", "a", "crane", "crane"]))
    assert explain("--class-names", files / "names.json")[0] == 0
    found = Explanation.load(tmp_path / "maps" / "a_Saliency.npz").class_names
    assert found == ("cat", "dog", "crane, bird", "crane, machine")
    assert explain("--class-names", files / "twice.json", "--force")[0] == 0
    found = Explanation.load(tmp_path / "maps" / "a_Saliency.npz").class_names
    assert found == ("tench", "a", "crane (2)", "crane (3)")


@pytest.mark.parametrize(
    "method", ["Saliency", "GradCAM", "FORGrad", "Occlusion", "KernelSHAP", "RandomMap"]
)
def test_methods_of_each_kind_explain_a_grey_image(method, explain, files, tmp_path):
    status, _, _ = explain(
        model=files / "grey.keras", method=method, preprocess="unit", images=files / "photos/c.png"
    )
    assert status == 0
    explanation = Explanation.load(tmp_path / "maps" / f"c_{method}.npz")
    assert explanation.values.shape == (1, 12, 16, 1)
    assert explanation.method == method


def test_size_is_asked_for_where_the_model_leaves_it_open(explain, files, tmp_path):
    model = files / "open.keras"
    assert refusal(explain(model=model)).startswith("`--size` must be given")
    assert explain("--size", "20", model=model, images=files / "photos/a.jpg")[0] == 0
    assert Explanation.load(tmp_path / "maps" / "a_Saliency.npz").values.shape == (1, 20, 20, 1)
    assert explain("--size", "8", "10", "--force", model=model)[0] == 0
    assert Explanation.load(tmp_path / "maps" / "a_Saliency.npz").values.shape == (1, 8, 10, 1)


WRONG = {
    "unknown method": (["--method", "Salienci"], "Did you mean Saliency?"),
    "option of another method": (["--steps", "9"], "--steps is not an option of Saliency, but of"),
    "misspelt option": (["--redcer", "max"], "Did you mean '--reducer'"),
    "value of the wrong kind": (["--batch-size", "many"], "must be int. Received: 'many'"),
    "value out of range": (["--batch-size", "0"], "`batch_size` must be at least 1. Received: 0."),
    "value that is missing": (["--reducer"], "Argument --reducer: expected one argument"),
    "unknown reducer": (["--reducer", "median"], "`reducer` must be one of"),
    "unknown layer": (["--method", "GradCAM", "--layer", "conv9"], "conv9"),
    "class out of range": (["--target", "4"], "class indices from 0 to 3. Received: 4"),
    "class without names": (["--target", "cat"], "only if the classes have names"),
    "no images": (["--images", "{files}"], "`--images` must hold image files"),
    "missing image": (["--images", "{files}/photos/d.png"], "photos/d.png"),
    "no image": (["--images", "{files}/photos/notes.txt"], "notes.txt is not an image"),
    "same name twice": (["--images", "{files}/photos", "{files}/photos/b.png"], "'b.png' more"),
    "unknown network": (["--model", "MobilNetV2"], "Did you mean 'MobileNetV2'"),
    "network without weights": (
        ["--model", "mobilenetv2"],
        "`--weights` must be given for MobileNetV2",
    ),
    "missing weights": (
        ["--model", "MobileNetV2", "--weights", "{files}/none.h5"],
        "`--weights` must be a file that exists, or imagenet. Received: {files}/none.h5",
    ),
    "weights of a file": (["--weights", "imagenet"], "`--weights` must be left out for a .keras"),
    "missing model": (["--model", "{files}/none.keras"], "`--model` must be a .keras file"),
    "no model": (["--model", "{files}/names.json"], "`--model` must be a .keras file"),
    "missing names": (["--class-names", "{files}/none.json"], "none.json"),
    "names that are no JSON": (["--class-names", "{files}/photos/notes.txt"], "must be JSON"),
    "too many": (["--top", "0"], "`--top` must be at least 1. Received: 0."),
    "size of a model with a size": (["--size", "30"], "that fit the model's (12, 16)"),
    "three sizes": (["--size", "12", "16", "3"], "one or two numbers"),
    "colours of a grey model": (
        ["--model", "{files}/grey.keras", "--preprocess", "torch"],
        "`--preprocess` must be none, unit or tf",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_clear_line(case, explain, files, tmp_path):
    typed, message = WRONG[case]
    says = refusal(explain(*(part.format(files=files) for part in typed)))
    assert message.format(files=files) in says
    folder = tmp_path / "maps"
    assert not folder.exists() or not list(folder.iterdir())


def test_broken_and_unsafe_files_are_named(explain, files, tmp_path):
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"PK nothing")
    assert "broken.keras" in refusal(explain(model=broken))
    unsafe = saved(tmp_path, "unsafe", keras.layers.Lambda(lambda x: x), convolution(), *head())
    assert "Lambda" in refusal(explain(model=unsafe))
    table = saved(tmp_path, "table", keras.layers.Dense(2), shape=(4,))
    assert "must take one batch of images" in refusal(explain(model=table))
    many = saved(tmp_path, "many", convolution(), *head(), shape=(12, 16, 5))
    assert "1 or 3 channels" in refusal(explain(model=many))
    (tmp_path / "three.json").write_text('["a", "b", "c"]')
    line = refusal(explain("--class-names", tmp_path / "three.json"))
    assert "one name per output of the model, 4. Received: 3" in line
    for text in ('{"0": "a", "2": "b"}', "3"):
        (tmp_path / "odd.json").write_text(text)
        assert "`--class-names` must hold" in refusal(
            explain("--class-names", tmp_path / "odd.json")
        )
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((files / "photos" / "a.jpg").read_bytes()[:300])
    assert "cut.jpg" in refusal(explain(images=cut))
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(deep)
    assert "deep.png" in refusal(explain(images=deep))


def test_images_of_all_kinds_become_what_the_model_takes(tmp_path):
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = (200, 100, 50)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    read = pictures.read(tmp_path / "wide.png", (10, 10), 3)
    assert (read == (200, 100, 50)).all(), "The centre is kept, and the colours."
    assert pictures.read(tmp_path / "wide.png", (10, 10), 1).shape == (10, 10, 1)
    turned = Image.fromarray(wide[:, :20])
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    upright = pictures.read(tmp_path / "turned.jpg", (20, 10), 3)
    assert upright[:4].max() < 60 < upright[-4:].max(), "The camera's orientation is obeyed."
    Image.fromarray(wide).convert("P").save(tmp_path / "palette.gif")
    assert pictures.read(tmp_path / "palette.gif", (10, 10), 3).shape == (10, 10, 3)


def test_a_file_needs_a_word_on_its_preprocessing(explain):
    says = refusal(explain(preprocess=None))
    assert "`--preprocess` must be given for a .keras file" in says
    assert "none, unit, tf, torch, caffe" in says


NETWORK = keras.applications.MobileNet
SMALL = ("--size", "32", "--class-names", "{files}/names.json")


@pytest.fixture(scope="module")
def network(files):
    """A network of keras.applications, whose weights are written beside it."""
    random.seed(1)  # The command must not draw the same ones, which it would take for not loaded.
    made = NETWORK(weights=None, classes=4, input_shape=(32, 32, 3), dropout=0.0)
    made.save_weights(files / "network.weights.h5")
    return made


@pytest.mark.parametrize("mode", [None, "unit"])
def test_networks_of_keras_applications_bring_their_preprocessing(
    mode, explain, network, files, tmp_path
):
    weights = files / "network.weights.h5"
    small = (part.format(files=files) for part in SMALL)
    status, _, err = explain(
        *small, "--weights", weights, model="mobileNET", preprocess=mode, method="RandomMap"
    )
    assert (status, err) == (0, "")
    explanation = Explanation.load(tmp_path / "maps" / "a_RandomMap.npz")
    assert explanation.values.shape == (1, 32, 32, 1)
    assert explanation.class_names == ("cat", "dog", "crane, bird", "crane, machine")
    pixels = pictures.read(files / "photos" / "a.jpg", (32, 32), 3)[None].astype("float32")
    own = keras.applications.mobilenet.preprocess_input(pixels.copy(), data_format="channels_last")
    given = own if mode is None else pixels / 255
    outputs = network.predict(given, verbose=0)[0]
    np.testing.assert_allclose(explanation.scores[0], outputs.max(), rtol=1e-4)
    told = "keras.applications does for MobileNet" if mode is None else "'unit'"
    assert explanation.notes[-1] == f"Image a.jpg, preprocessed as {told}."


def test_weights_of_another_network_are_refused(explain, network, files, tmp_path):
    small = [part.format(files=files) for part in SMALL]
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "broken.weights.h5").write_bytes(b"nothing")
    for name in ("other", "broken"):
        typed = (*small, "--weights", tmp_path / f"{name}.weights.h5")
        line = refusal(explain(*typed, model="MobileNet"))
        assert "`--weights` must hold weights of MobileNet with 4 classes" in line


def test_nothing_is_downloaded_unless_asked_for(explain, monkeypatch):
    asked = []

    def offline(origin, *arguments, **more):
        asked.append(origin)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(keras.src.utils.file_utils, "urlretrieve", offline)
    assert "--weights imagenet, which downloads" in refusal(explain(model="MobileNet"))
    assert asked == []
    status, _, line = explain("--weights", "imagenet", model="MobileNet", preprocess=None)
    assert (status, len(line.splitlines())) == (2, 1)
    assert "`--weights imagenet` cannot be downloaded" in line
    assert "no network" in line
    assert len(asked) == 1
    assert "mobilenet" in asked[0]


def test_every_network_of_keras_applications_is_known():
    found = loading.applications()
    assert len(found) > 30
    assert {"mobilenetv2", "resnet50", "vgg16", "efficientnetb0", "nasnetmobile"} <= found.keys()
    pixels = np.full((1, 4, 4, 3), 100, np.uint8)
    for build in found.values():
        assert "weights" in inspect.signature(build).parameters
        prepared = loading._own_preprocessing(build)(pixels)
        assert (prepared.dtype, prepared.shape) == (np.float32, pixels.shape)
    assert (pixels == 100).all()
    caffe = loading._own_preprocessing(found["resnet50"])(pixels)
    np.testing.assert_allclose(caffe[0, 0, 0], [-3.939, -16.779, -23.68], atol=1e-3)


@pytest.mark.parametrize("mode", arguments.PREPROCESS)
def test_preprocessing_is_that_of_keras_applications(mode):
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    before = images.copy()
    red, green, blue = np.moveaxis(images.astype("float64"), -1, 0)
    means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scaled = zip((red, green, blue), means, deviations, strict=True)
    wanted = {
        "none": [red, green, blue],
        "unit": [red / 255, green / 255, blue / 255],
        "tf": [red / 127.5 - 1, green / 127.5 - 1, blue / 127.5 - 1],
        "torch": [(channel / 255 - m) / d for channel, m, d in scaled],
        "caffe": [blue - 103.939, green - 116.779, red - 123.68],
    }
    found = pictures.preprocess(images, mode)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack(wanted[mode], axis=-1), atol=1e-4)
    np.testing.assert_array_equal(images, before)


def test_an_interruption_exits_quietly_with_130(explain, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(attributions.Saliency, "__call__", interrupted)
    assert explain() == (130, "", "")


def test_warnings_of_ours_are_one_line(explain, monkeypatch):
    usual = attributions.Saliency.__call__

    def warned(explainer, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.filters", [])
            warn("The map may mislead.")
        return usual(explainer, *arguments)

    monkeypatch.setattr(attributions.Saliency, "__call__", warned)
    status, _, err = explain()
    assert status == 0
    assert err == "xai-core: warning: The map may mislead.\n"
