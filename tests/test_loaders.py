"""Everything that yields batches, through `stream`; loaders of a framework on that framework."""

import collections
import itertools

import keras
import numpy as np
import pytest
from keras import ops

import tiny_models
from cases import TARGETS
from naming import shown
from oracles import assert_same
from tiny_models import BACKEND, KINDS
from xai_core.attributions import Occlusion, RandomMap, Saliency

X = KINDS["table"].inputs()
LABELS = TARGETS.astype("int64")
CUTS = (slice(0, 2), slice(2, 4), slice(4, 5))
BATCHES = [X[cut] for cut in CUTS]
PAIRS = [(X[cut], LABELS[cut]) for cut in CUTS]


def explainer():
    return Saliency(tiny_models.model("table"), absolute=False)


def check(stream, targets=None):
    """The Explanations are those of one call with all rows."""
    found = list(stream)
    assert [len(part) for part in found] == [2, 2, 1]
    whole = explainer()(X, targets)
    assert_same(np.concatenate([part.values for part in found]), whole.values)
    np.testing.assert_array_equal(np.concatenate([part.targets for part in found]), whole.targets)


class Sequence(keras.utils.PyDataset):
    """Batches by their number, which it tells by ``__len__``."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


class Endless(keras.utils.PyDataset):
    """As many batches as are asked for."""

    num_batches = None

    def __getitem__(self, index):
        return BATCHES[index % 3], LABELS[CUTS[index % 3]]


def generator(batches):
    yield from batches


FORMS = {
    "list": list,
    "tuple": tuple,
    "deque": collections.deque,
    "iterator": iter,
    "generator": generator,
    "islice": lambda batches: itertools.islice(batches, 9),
    "PyDataset": Sequence,
}


# --- x, (x, y), (x, y, weights) -----------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("arity", [0, 1, 2, 3])
def test_every_form_of_batches(form, arity):
    weighted = [(x, y, np.ones(len(x))) for x, y in PAIRS]
    batches = [batch[:arity] for batch in weighted] if arity else BATCHES
    check(explainer().stream(FORMS[form](batches)))
    check(explainer().stream(FORMS[form](batches), 1), 1)
    if arity > 1:
        check(explainer().stream(FORMS[form](batches), "labels"), TARGETS)


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: y.tolist(),
        lambda y: y[:, None],
        lambda y: np.eye(3, dtype="float32")[y],
        lambda y: ops.convert_to_tensor(y),
        lambda y: y.astype("uint8"),
    ],
    ids=["list", "column", "one-hot", "tensor", "uint8"],
)
def test_labels_in_every_form(labels):
    found = list(explainer().stream([(x, labels(y)) for x, y in PAIRS], "labels"))
    whole = explainer()(X, TARGETS)
    assert_same(np.concatenate([part.values for part in found]), whole.values)


def test_targets_of_a_stream_hold_for_every_batch():
    weights = [0.5, -1.0, 0.0]
    for targets in (2, np.int64(2)):
        check(explainer().stream(BATCHES, targets), 2)
    found = list(explainer().stream([X[:2], X[2:4]], np.tile(weights, (2, 1))))
    assert_same(found[1].values, explainer()(X[2:4], np.tile(weights, (2, 1))).values)


@pytest.mark.parametrize("convert", [ops.convert_to_tensor, lambda x: x.tolist(), list])
def test_batches_of_tensors_and_lists(convert):
    check(explainer().stream([convert(x) for x in BATCHES]))
    check(explainer().stream([(convert(x), y) for x, y in PAIRS], "labels"), TARGETS)


@pytest.mark.parametrize("structure", ["dict", "tuple"])
def test_several_inputs(structure):
    given = tiny_models.several_input_rows(structure=structure)
    own = Saliency(tiny_models.several_inputs(structure))
    whole = own(given, TARGETS)

    def cut(rows):
        return keras.tree.map_structure(lambda x: x[rows], given)

    batches = [(cut(rows), LABELS[rows]) for rows in CUTS]
    found = list(own.stream(batches, "labels"))
    key = "series" if structure == "dict" else 1
    assert_same(np.concatenate([part[key].values for part in found]), whole[key].values)
    if structure == "tuple":  # a list of arrays, as Keras takes it, also where the last is shorter
        lists = [(list(x), y) for x, y in batches]
        again = list(own.stream(lists, "labels"))
        assert_same(np.concatenate([part[1].values for part in again]), whole[1].values)


def test_a_dict_may_name_its_arrays_in_any_order():
    given = tiny_models.several_input_rows()
    turned = dict(reversed(given.items()))
    own = Saliency(tiny_models.several_inputs())
    first, second = own.stream([given, turned], 1)
    assert_same(first["table"].values, second["table"].values)


# --- lazy, endless, used up ---------------------------------------------------------------------


def test_batches_are_taken_one_by_one():
    taken = []

    def batches():
        for k in itertools.count():
            taken.append(k)
            yield X[:2] + k

    stream = RandomMap().stream(batches())
    assert taken == []
    assert [len(one) for one in itertools.islice(stream, 3)] == [2, 2, 2]
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("endless", [lambda: itertools.cycle(PAIRS), Endless], ids=["cycle", "set"])
def test_part_of_an_endless_loader(endless):
    found = list(itertools.islice(explainer().stream(endless(), "labels"), 4))
    whole = explainer()(X, TARGETS)
    assert_same(found[2].values, whole.values[4:])
    assert_same(found[3].values, whole.values[:2])


def test_list_can_be_streamed_again_and_a_generator_cannot():
    for _ in range(2):
        check(explainer().stream(BATCHES))
    used = generator(BATCHES)
    list(RandomMap().stream(used))
    with pytest.raises(ValueError, match=r"`data` must yield at least one.*generator.*only once"):
        list(RandomMap().stream(used))


def test_errors_of_the_loader_pass_unchanged():
    def broken():
        yield X[:2]
        raise OSError("the disk")

    stream = RandomMap().stream(broken())
    assert len(next(stream)) == 2
    with pytest.raises(OSError, match="the disk"):
        next(stream)


def test_what_was_explained_before_a_bad_batch_is_kept():
    stream = explainer().stream([X[:2], X[:2, :3]])
    assert_same(next(stream).values, explainer()(X[:2]).values)
    with pytest.raises(ValueError, match=r"`data`.*\(4,\) in the first batch.*\(3,\) in batch 2"):
        next(stream)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (3, TypeError, "iterable of batches.*3"),
        (None, TypeError, "iterable of batches.*None"),
        (X, TypeError, "iterable of batches.*ndarray.*single batch"),
        (ops.ones((2, 4)), TypeError, "iterable of batches.*single batch"),
        ({"x": X}, TypeError, "iterable of batches.*dict.*single batch"),
        ("images", TypeError, "iterable of batches.*str"),
        ([], ValueError, "at least one batch.*list that yields nothing.$"),
        (iter([]), ValueError, "at least one batch.*only once"),
        (Sequence([]), ValueError, "at least one batch.*Sequence"),
        ([X, X[:, :3]], ValueError, r"one shape, \(4,\) in the first.*\(3,\) in batch 2"),
        ([X, X[:, :, None]], ValueError, r"one shape, \(4,\).*\(4, 1\) in batch 2"),
        ([(X, X), (X[:, :2], X)], ValueError, r"one shape, \(4,\).*\(2,\) in batch 2"),
        ([{"a": X, "b": X}, {"a": X}], ValueError, r"\(4,\), \(4,\) in the first.*\(4,\) in b"),
        ([(X, X, X, X)], ValueError, "x, .x, y. or .x, y, weights.*4 items"),
        ([()], ValueError, "x, .x, y. or .x, y, weights.*0 items"),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else shown(value),
)
def test_what_is_no_loader(data, error, says):
    with pytest.raises(error, match=f"`data` must .*{says}"):
        list(RandomMap().stream(data))


@pytest.mark.parametrize("batches", [BATCHES, [(X,)], [(X, None)]], ids=["x", "(x,)", "None"])
def test_labels_are_needed_where_they_are_asked_for(batches):
    with pytest.raises(ValueError, match=r"`targets=\"labels\"` needs batches \(x, y\)"):
        list(explainer().stream(batches, "labels"))


@pytest.mark.parametrize("form", ["iterator", "generator", "islice", "PyDataset"])
@pytest.mark.parametrize("model", ["keras", "black box"])
def test_a_loader_given_to_a_call_names_stream(form, model):
    own = explainer() if model == "keras" else Occlusion(lambda x: x)
    for batches in (BATCHES, PAIRS):
        with pytest.raises(TypeError, match=r"`inputs` must be an array.*`stream`"):
            own(FORMS[form](batches), 0)


# --- loaders of the framework -------------------------------------------------------------------

if BACKEND == "tensorflow":
    import tensorflow as tf

    @pytest.mark.parametrize("labels", [False, True])
    def test_tensorflow_dataset(labels):
        data = tf.data.Dataset.from_tensor_slices((X, LABELS) if labels else X)
        batches = data.batch(2).prefetch(1)
        check(explainer().stream(batches))
        if labels:
            check(explainer().stream(batches, "labels"), TARGETS)
        with pytest.raises(TypeError, match=r"`inputs` must be an array.*`stream`"):
            explainer()(batches)

    def test_tensorflow_dataset_of_dicts_that_never_ends():
        given = tiny_models.several_input_rows()
        data = tf.data.Dataset.from_tensor_slices((given, LABELS)).repeat().batch(5)
        own = Saliency(tiny_models.several_inputs())
        first, second = itertools.islice(own.stream(data, "labels"), 2)
        assert_same(first["series"].values, own(given, TARGETS)["series"].values)
        assert_same(second["table"].values, first["table"].values)

    def test_empty_tensorflow_dataset():
        with pytest.raises(ValueError, match=r"`data` must yield at least one batch"):
            list(explainer().stream(tf.data.Dataset.from_tensor_slices(X).take(0).batch(2)))


if BACKEND == "torch":
    import torch
    from torch.utils import data as torch_data

    class Stream(torch_data.IterableDataset):
        """Rows without a length."""

        def __iter__(self):
            yield from zip(torch.tensor(X), LABELS, strict=True)

    def loader(*arrays):
        tensors = [torch.tensor(array) for array in arrays]
        return torch_data.DataLoader(torch_data.TensorDataset(*tensors), batch_size=2)

    @pytest.mark.parametrize("kind", ["table", "torch_table"])
    def test_torch_data_loader(kind):
        own = Saliency(tiny_models.model(kind), absolute=False)
        check(own.stream(loader(X)))
        check(own.stream(loader(X, LABELS)))
        check(own.stream(loader(X, LABELS), "labels"), TARGETS)
        check(own.stream(loader(X, LABELS, np.ones(5)), "labels"), TARGETS)

    def test_torch_data_loader_of_rows_without_a_length():
        check(explainer().stream(torch_data.DataLoader(Stream(), batch_size=2), "labels"), TARGETS)

    def test_torch_data_loader_of_dicts():
        given = tiny_models.several_input_rows()
        rows = [({name: array[k] for name, array in given.items()}, LABELS[k]) for k in range(5)]
        own = Saliency(tiny_models.several_inputs())
        (found,) = own.stream(torch_data.DataLoader(rows, batch_size=5), "labels")
        assert_same(found["series"].values, own(given, TARGETS)["series"].values)

    @pytest.mark.parametrize("data", [loader(X, LABELS), loader(X, LABELS).dataset], ids=shown)
    def test_torch_loader_given_to_a_call_names_stream(data):
        with pytest.raises(TypeError, match=r"`inputs` must be an array.*`stream`"):
            explainer()(data)
