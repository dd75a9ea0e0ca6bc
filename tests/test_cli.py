"""The command line, as a user types it: all but `explain`."""

import dataclasses
import importlib.metadata
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import xai_core
from xai_core import Explanation, attributions, models
from xai_core.cli import arguments, demo, main, options


def test_no_command_prints_the_help(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("demo", "explain", "methods", "doctor"))


def test_wrong_usage_exits_with_2(capsys):
    for typed in (["exlpain"], ["doctor", "--fast"], ["explain", "--model", "m.keras"]):
        with pytest.raises(SystemExit) as caught:
            main(typed)
        assert caught.value.code == 2
        assert "usage: xai-core" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "explain", "methods", "doctor"])
def test_every_command_has_a_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: xai-core {command}" in capsys.readouterr().out


def test_python_dash_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "xai_core", "--version"],
        env={**os.environ, "KERAS_BACKEND": xai_core._choice.BACKEND},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout == f"xai-core {xai_core.__version__}\n"


def test_the_distribution_has_the_command():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="xai-core")
    assert entry.load() is main


def test_doctor_tells_backend_rule_devices_and_versions(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"{xai_core._choice.BACKEND}. {xai_core._choice.RULE}" in " ".join(out.split())
    assert "cpu" in out.lower()
    for name in ("numpy", "keras", "matplotlib"):
        assert importlib.metadata.version(name) in out


def test_doctor_gives_one_command_for_what_is_missing(capsys, monkeypatch):
    from xai_core.cli import doctor

    monkeypatch.setattr(doctor._choice, "installed", lambda: ["jax"])
    found = {"rich": None, "jax": "0.9"}
    monkeypatch.setattr(doctor, "_version", lambda name: found.get(name, "1.0"))
    assert main(["doctor"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    command = 'python -m pip install rich "xai-core[tensorflow,torch]"'
    assert last == f"Needed and missing: {command}"
    monkeypatch.setattr(doctor._choice, "installed", lambda: list(xai_core._choice.USABLE))
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing is missing."


def test_methods_lists_every_method_with_its_paper(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(attributions.__all__)
    for line in lines[1:]:
        method = getattr(attributions, line.split()[0])
        assert method.requires in line
        assert method.source in line


@pytest.mark.parametrize("name", attributions.__all__)
def test_every_option_of_a_method_is_described(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    assert main(["methods", name.lower()]) == 0
    text = capsys.readouterr().out
    assert getattr(attributions, name).source in text
    rows = text.partition("default")[2].strip().splitlines()
    fields = [one for one in dataclasses.fields(getattr(attributions, name)) if one.name != "model"]
    assert len(rows) == len(fields)
    for row in rows:
        assert len(row.split()) > 4, row
    assert rows[-1].startswith("--[no-]progress")


@pytest.mark.parametrize("name", attributions.__all__)
def test_no_option_of_a_method_is_one_of_explain_itself(name):
    """Such a field needs another name: see options.RENAMED."""
    parser = arguments.command_line()
    needed = ["--model=a", "--images=b", "--method=c", "--output=d"]
    for option in options.option_fields(getattr(attributions, name)):
        _, unknown = parser.parse_known_args(["explain", *needed, option, "1"])
        assert unknown == [option, "1"]


def test_the_demo_trains_explains_and_draws(tmp_path, capsys, monkeypatch):
    """The real thing, with fewer images: it trains for a few seconds of one core."""
    few = {
        name: {key: min(value, 64) for key, value in m.items()} for name, m in demo._MASKS.items()
    }
    few["KernelSHAP"] = {"n_samples": 128}
    monkeypatch.setattr(demo, "_MASKS", few)
    monkeypatch.setattr(demo, "_SHOWN", demo._SHOWN[:1])
    monkeypatch.setattr(demo, "_SCORED", 10)
    folder = tmp_path / "new" / "folder"
    assert main(["demo", "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    assert xai_core._choice.BACKEND in out
    assert xai_core._choice.RULE in out
    for name in attributions.__all__:
        assert f"  {name} " in out
    assert {path.suffix for path in folder.iterdir()} == {".html", ".png"}
    for path in folder.iterdir():
        assert str(path) in out
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 300
                assert np.asarray(picture.convert("L")).std() > 30
    page = (folder / "xai_core_demo.html").read_text(encoding="utf-8")
    assert page.count('alt="') == len(attributions.__all__) + 2
    for name in (*attributions.__all__, "random 7 x 7", "A zero", "held-out images right"):
        assert name in page
    scores = out.partition("insertion")[2].splitlines()[1:]
    order = [line.split("  ")[1] for line in scores if line.startswith("  ")]
    maps = [name for name in attributions.__all__ if name != "RandomMap"]
    randoms = ["random", "random 7 x 7"]
    assert sorted(order) == sorted([*maps, *randoms])
    # Batch normalisation leaves little of the image in a gradient whose signs are all made one.
    judged = [name for name in order if name != "DeconvNet"]
    assert sorted(judged[-2:]) == randoms, "Every other map beats the random ones."


def test_the_demo_fails_where_the_network_did_not_learn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models, "fit_classifier", lambda *arguments, **more: None)
    assert main(["demo", "--output", str(tmp_path)]) == 1
    assert "less than 97%" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_many_methods_share_several_pictures(tmp_path):
    images = np.zeros((1, 8, 8, 1), "float32")
    maps = {f"map {k}": Explanation(images, "Saliency") for k in range(10)}
    paths = demo._draw(maps, images, tmp_path)
    assert [path.name for path in paths] == ["xai_core_demo_1.png", "xai_core_demo_2.png"]
    assert all(path.is_file() for path in paths)
