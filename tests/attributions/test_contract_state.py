"""What no method changes, also when it is interrupted; over the rows of `cases.CASES`."""

import _thread
import functools
import signal
import threading

import keras
import numpy as np
import pytest

import tiny_models
import xai_core as xai
from cases import BY_NAME, EACH, MODEL_BASED, PAIRS, TARGETS
from model_state import draws, framework_state, outputs, traces_left, weights
from oracles import assert_same
from tiny_models import KINDS


@pytest.mark.parametrize(("case", "kind"), PAIRS)
def test_inputs_and_model_are_untouched(case, kind):
    model = case.model(kind.name, case.name)
    x, targets = kind.inputs(), TARGETS.copy()
    before = x.tobytes(), weights(model), outputs(model, x), traces_left(model)
    case.build(model)(x, targets)
    assert x.tobytes() == before[0]
    assert targets.tolist() == TARGETS.tolist()
    for old, new in zip(before[1], weights(model), strict=True):
        assert old.tobytes() == new.tobytes()
    assert outputs(model, x).tobytes() == before[2].tobytes()
    assert traces_left(model) == before[3]


def failing(exception, at):
    """An operator that works ``at`` times and then raises."""
    calls = []

    def operator(model, inputs, targets):
        calls.append(1)
        if len(calls) > at:
            raise exception
        return xai.operators.classification(model, inputs, targets)

    return operator


INTERRUPTED = [
    pytest.param(case, KINDS[name], id=f"{case.name}-{name}")
    for case in MODEL_BASED
    for name in ("image", "torch_image")
    if name in case.kinds and "operator" not in case.refused
]


@pytest.mark.parametrize(
    ("exception", "at"),
    [(RuntimeError, 0), (RuntimeError, 1), (KeyboardInterrupt, 0), (KeyboardInterrupt, 1)],
)
@pytest.mark.parametrize(("case", "kind"), INTERRUPTED)
def test_exception_inside_leaves_everything_as_it_was(case, kind, exception, at):
    model, x = case.model(kind.name, "broken"), kind.inputs()
    expected = case.build(model)(x, TARGETS).values
    before = weights(model), outputs(model, x), traces_left(model), framework_state()
    broken = case.build(model, operator=failing(exception, at), batch_size=2)
    with pytest.raises(exception):
        broken(x, TARGETS)
    assert framework_state() == before[3]
    assert traces_left(model) == before[2]
    for old, new in zip(before[0], weights(model), strict=True):
        assert old.tobytes() == new.tobytes()
    assert outputs(model, x).tobytes() == before[1].tobytes()
    assert np.array_equal(case.build(model)(x, TARGETS).values, expected)


def interrupt_until(done):
    # An interrupt that meets a finalizer is lost, as that of a user would be; so there are more.
    while not done.wait(2.0):
        _thread.interrupt_main()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["Saliency", "IntegratedGradients"])
def test_interrupt_in_the_middle_of_the_loop_leaves_everything_as_it_was(name):
    model, kind = tiny_models.fresh("table"), KINDS["table"]
    x = kind.inputs()
    expected = BY_NAME[name].build(model, batch_size=1)(x, TARGETS).values
    before = weights(model), traces_left(model), framework_state()
    # Minutes of work, so that the interrupt surely comes in the loop.
    endless = {"steps": 500_000, "rule": "trapezoid"} if name == "IntegratedGradients" else {}
    rows = x if endless else np.repeat(x, 40_000, axis=0)
    explainer = BY_NAME[name].build(model, batch_size=1, **endless)
    done = threading.Event()
    thread = threading.Thread(target=interrupt_until, args=(done,))
    # A job in the background begins with interrupts switched off.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            explainer(rows, 1)
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGINT, handler)
    assert (traces_left(model), framework_state()) == before[1:]
    assert [w.tobytes() for w in weights(model)] == [w.tobytes() for w in before[0]]
    assert_same(BY_NAME[name].build(model, batch_size=1)(x, TARGETS).values, expected)


@pytest.mark.parametrize("case", EACH)
def test_call_prints_nothing(case, capfd):
    case.on("image")(KINDS["image"].inputs(), TARGETS)
    assert capfd.readouterr() == ("", "")


@functools.cache
def seeded_draws():
    """What is drawn from all global generators after seeding: an act that empties caches."""
    keras.utils.set_random_seed(5)
    return draws()


@pytest.mark.parametrize("case", EACH)
def test_global_random_state_and_configuration_are_untouched(case):
    kind = KINDS["image"]
    expected, before = seeded_draws(), framework_state()
    keras.utils.set_random_seed(5)
    case.on("image")(kind.inputs(), TARGETS)
    assert draws() == expected
    assert framework_state() == before
