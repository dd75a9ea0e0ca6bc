"""Slow, obvious NumPy versions of what the package computes, in float64.

Nothing here imports Keras or the package. Each kind of tiny model has its weights, its inputs and a
NumPy twin in this file; `tiny_models` builds the same networks in Keras and torch.
"""

import functools
import itertools
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("golden.npz")
SHAPES = {
    "table": (4,),
    "series": (9, 3),
    "image": (7, 10, 2),
    "gray": (7, 10, 1),
    "volume": (2, 5, 4, 2),
}
CLASSES = 3
SEED = 2794
STREAMS = {"volume": 75}
"""With these weights the predicted class is not the same for all inputs, of any kind."""


# --- weights and inputs -------------------------------------------------------------------------


@functools.cache
def weights(kind):
    """The weights of a tiny network as {layer name: (kernel, bias)}, in float32 exactly."""
    generator = np.random.default_rng([SEED, STREAMS.get(kind, list(SHAPES).index(kind))])

    def layer(*shape):
        scale = 1.5 / np.sqrt(np.prod(shape[:-1]))
        kernel = generator.normal(0.0, scale, shape)
        bias = generator.normal(0.0, 0.3, shape[-1:])
        return kernel.astype("float32").astype("float64"), bias.astype("float32").astype("float64")

    channels = SHAPES[kind][-1]
    if kind == "table":
        return {"hidden": layer(channels, 5), "logits": layer(5, CLASSES)}
    window = (3,) * (len(SHAPES[kind]) - 1)
    return {
        "conv1": layer(*window, channels, 4),
        "conv2": layer(*window, 4, 6),
        "logits": layer(6, CLASSES),
    }


def inputs(kind, rows=5, seed=0):
    """Standard normal inputs of a kind; row i never depends on how many rows are asked for."""
    draws = [np.random.default_rng([seed, row]).normal(size=SHAPES[kind]) for row in range(rows)]
    return np.stack(draws).astype("float32")


# --- the twins ----------------------------------------------------------------------------------


def softplus(z):
    return np.log(1.0 + np.exp(z))


def softmax(z):
    e = np.exp(z - z.real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def convolve(x, kernel, bias):
    """A stride 1 convolution with zero padding "same", over the spatial axes."""
    spatial = kernel.shape[:-2]
    padded = np.pad(x, [(0, 0), *[(size // 2, size // 2) for size in spatial], (0, 0)])
    out = bias
    for offset in np.ndindex(*spatial):
        window = tuple(slice(o, o + n) for o, n in zip(offset, x.shape[1:-1], strict=True))
        out = out + padded[(slice(None), *window)] @ kernel[offset]
    return out


def halve(x):
    """Average pooling by 2 along every spatial axis; a last odd position is dropped."""
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis] // 2
        pairs = [np.take(x, np.arange(size) * 2 + o, axis) for o in (0, 1)]
        x = (pairs[0] + pairs[1]) / 2
    return x


def activations(kind, x):
    """What the layer ``conv2`` of a convolutional twin returns."""
    w = weights(kind)
    return np.tanh(convolve(halve(softplus(convolve(x, *w["conv1"]))), *w["conv2"]))


def head(kind, maps):
    """The logits from the output of ``conv2``."""
    kernel, bias = weights(kind)["logits"]
    return maps.mean(axis=tuple(range(1, maps.ndim - 1))) @ kernel + bias


def logits(kind, x):
    """The (N, 3) output of the twin of a kind."""
    x = np.asarray(x, complex if np.iscomplexobj(x) else float)
    if kind != "table":
        return head(kind, activations(kind, x))
    w = weights(kind)
    return np.tanh(x @ w["hidden"][0] + w["hidden"][1]) @ w["logits"][0] + w["logits"][1]


def score(kind, targets, function=None):
    """x -> (N,) scores; ``targets`` are (N,) integers, ``function`` acts on the logits first."""

    def scores(x):
        out = logits(kind, x)
        out = out if function is None else function(out)
        return out[np.arange(len(out)), np.repeat(targets, len(out) // len(targets))]

    return scores


# --- gradients and explanations -----------------------------------------------------------------


def gradient(scores, x):
    """d scores_n / d x_n by the complex step: exact to float64 for analytic functions."""
    x = np.asarray(x, float)
    size = x[0].size
    steps = 1e-30j * np.eye(size).reshape(size, *x.shape[1:])
    rows = (x[:, None] + steps[None]).reshape(-1, *x.shape[1:])
    return scores(rows).imag.reshape(x.shape) / 1e-30


def difference_gradient(scores, x, step=1e-5):
    """The same by central differences, to check the complex step."""
    x = np.asarray(x, float)
    out = np.empty_like(x)
    for index in np.ndindex(*x.shape[1:]):
        up, down = x.copy(), x.copy()
        up[(slice(None), *index)] += step
        down[(slice(None), *index)] -= step
        out[(slice(None), *index)] = (scores(up) - scores(down)) / (2 * step)
    return out


def nodes(rule, steps):
    """Positions on the path from 0 to 1 and their weights."""
    if rule == "trapezoid":
        weight = np.full(steps, 1.0 / (steps - 1))
        weight[[0, -1]] /= 2
        return np.linspace(0.0, 1.0, steps), weight
    position, weight = np.polynomial.legendre.leggauss(steps)
    return (position + 1) / 2, weight / 2


def integrated_gradients(scores, x, baseline=0.0, steps=50, rule="trapezoid"):
    x = np.asarray(x, float)
    delta = x - baseline
    total = np.zeros_like(x)
    for position, weight in zip(*nodes(rule, steps), strict=True):
        total += weight * gradient(scores, baseline + position * delta)
    return delta * total


def resize(maps, size):
    """Bilinear resize of (N, *spatial) with half-pixel centres and clamped borders."""
    for axis, target in enumerate(size, start=1):
        source = maps.shape[axis]
        place = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, source - 1)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(maps.ndim)])
        maps = np.take(maps, low, axis) * (1 - share) + np.take(maps, high, axis) * share
    return maps


def grad_cam(activation, grad, size, signed=False):
    """(N, *size, 1) from an activation and the score's gradient there, both (N, *spatial, C)."""
    spatial = tuple(range(1, activation.ndim - 1))
    maps = (grad.mean(axis=spatial, keepdims=True) * activation).sum(-1)
    return resize(maps if signed else np.maximum(maps, 0), size)[..., None]


def grad_cam_plus_plus(activation, grad, size, signed=False):
    """The same for Grad-CAM++; a position whose denominator is 0 counts for nothing."""
    spatial = tuple(range(1, activation.ndim - 1))
    below = 2 * grad**2 + activation.sum(axis=spatial, keepdims=True) * grad**3
    share = np.divide(grad**2, below, out=np.zeros_like(grad), where=below != 0)
    weight = (share * np.maximum(grad, 0)).sum(axis=spatial, keepdims=True)
    maps = (weight * activation).sum(-1)
    return resize(maps if signed else np.maximum(maps, 0), size)[..., None]


def cam_of(kind, x, targets, rule, signed=False):
    """A class activation map at ``conv2`` of a convolutional twin, by one of the rules above."""
    maps = activations(kind, np.asarray(x, float))
    grad = gradient(
        lambda a: head(kind, a)[np.arange(len(a)), np.repeat(targets, len(a) // len(targets))], maps
    )
    return rule(maps, grad, x.shape[1:-1], signed)


def grad_cam_of(kind, x, targets, signed=False):
    """Grad-CAM at ``conv2`` of a convolutional twin."""
    return cam_of(kind, x, targets, grad_cam, signed)


def low_pass(maps, sigma):
    """(N, *spatial, C) without the frequencies beyond ``sigma`` cycles per longest side."""
    spatial = tuple(range(1, maps.ndim - 1))
    sides = [maps.shape[axis] for axis in spatial]
    maps = np.asarray(maps, float)
    spectrum = np.fft.fftn(maps, axes=spatial)
    for place in np.ndindex(*sides):
        cycles = [k if k <= n // 2 else k - n for k, n in zip(place, sides, strict=True)]
        radius = max(sides) * np.linalg.norm([k / n for k, n in zip(cycles, sides, strict=True)])
        if radius > sigma + 1e-9:
            spectrum[(slice(None), *place)] = 0
    kept = np.fft.ifftn(spectrum, axes=spatial)
    assert np.abs(kept.imag).max() <= 1e-12 * max(1, np.abs(maps).max())
    return kept.real


REDUCERS = {
    "max": lambda v: v.max(-1, keepdims=True),
    "mean": lambda v: v.mean(-1, keepdims=True),
    "sum": lambda v: v.sum(-1, keepdims=True),
    "abs_max": lambda v: np.abs(v).max(-1, keepdims=True),
    "abs_mean": lambda v: np.abs(v).mean(-1, keepdims=True),
    None: lambda v: v,
}


def reduce(values, reducer):
    """Reduce the channels of images and volumes (the last axis); others stay as they are."""
    return REDUCERS[reducer](values) if values.ndim > 3 else values


def assert_same(actual, expected, tolerance=1e-5):
    """The one tolerance: max|a - b| <= 1e-5 max|b|, for arrays of the same shape."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    assert actual.shape == expected.shape
    error, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    assert error <= tolerance * scale, f"differs by {error:.3g}, the largest value is {scale:.3g}"


def differ(first, second):
    """True where two maps are not the same by a clear margin, or have other shapes."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape:
        return True
    return bool(np.abs(first - second).max() > 1e-3 * np.abs(second).max())


# --- metrics ------------------------------------------------------------------------------------


def changed_rows(x, maps, baseline, counts, insert=False):
    """(N, S + 1, ...): the inputs with the first elements of the ranking removed, or inserted.

    ``counts`` says how many of them at each step; equal values keep their order, and the channels
    of an image are one element.
    """
    x, maps = np.asarray(x, float), np.asarray(maps, float)
    if x.ndim > 3:
        maps = maps.sum(-1, keepdims=True)
    rows = []
    for one, values, start in zip(x, maps, np.broadcast_to(baseline, x.shape), strict=True):
        order = sorted(range(values.size), key=lambda k, v=values: -v.flat[k])
        for count in counts:
            first = np.zeros(values.size, bool)
            first[order[:count]] = True
            kept = first if insert else ~first
            rows.append(np.where(kept.reshape(values.shape), one, start))
    return np.stack(rows).reshape(len(x), len(counts), *x.shape[1:])


def step_counts(size, steps):
    """How many of ``size`` elements are changed at each step, never less than one more."""
    steps = size if steps is None else min(steps, size)
    return [step * size // steps for step in range(steps + 1)]


def area(curves, counts):
    """The areas under curves (N, S + 1) on [0, 1], trapezoid by trapezoid."""
    total = np.zeros(len(curves))
    for k in range(1, len(counts)):
        width = (counts[k] - counts[k - 1]) / counts[-1]
        total += width * (curves[:, k] + curves[:, k - 1]) / 2
    return total


def flip_share(classes, counts):
    """The share at which each row of predicted classes (N, S + 1) first changes, or NaN."""
    found = []
    for row in classes:
        changes = [count for one, count in zip(row, counts, strict=True) if one != row[0]]
        found.append(changes[0] / counts[-1] if changes else np.nan)
    return np.array(found)


# --- noise --------------------------------------------------------------------------------------


def threefry(key, counters):
    """Two words from two counters: Threefry-2x32 with 20 rounds, on arrays of uint32."""
    keys = [np.uint32(key[0]), np.uint32(key[1])]
    keys.append(keys[0] ^ keys[1] ^ np.uint32(0x1BD11BDA))
    rotations = [13, 15, 26, 6, 17, 29, 16, 24]
    a, b = (np.asarray(one, "uint32") for one in counters)
    with np.errstate(over="ignore"):
        a, b = a + keys[0], b + keys[1]
        for block in range(5):
            for bits in rotations[4 * (block % 2) : 4 * (block % 2) + 4]:
                a = a + b
                b = (b << np.uint32(bits) | b >> np.uint32(32 - bits)) ^ a
            a = a + keys[(block + 1) % 3]
            b = b + keys[(block + 2) % 3] + np.uint32(block + 1)
    return a, b


def normal(seed, samples, size, first=0):
    """Standard normal numbers (samples, size): cosines of Box and Muller, then sines."""
    pairs = (size + 1) // 2
    element, sample = np.meshgrid(np.arange(pairs) + first // 2, np.asarray(samples))
    words = threefry((seed & 0xFFFFFFFF, seed >> 32), (element, sample))
    u, v = ((word >> np.uint32(9)) / 2.0**23 for word in words)
    radius, angle = np.sqrt(-2 * np.log(u + 2.0**-24)), 2 * np.pi * v
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :size]


def noisy_maps(function, x, noise, n_samples, seed=0, scale="absolute"):
    """``function`` of noisy copies of channels-last inputs, (n_samples, N, ...)."""
    x = np.asarray(x, float)
    if scale == "range":
        axes = 1 if x.ndim == 3 else tuple(range(1, x.ndim))
        noise = noise * (x.max(axes, keepdims=True) - x.min(axes, keepdims=True))
    drawn = normal(seed, range(n_samples), x[0].size).reshape(n_samples, 1, *x.shape[1:])
    return np.stack([function(x + noise * one) for one in drawn])


STATISTICS = {
    "SmoothGrad": lambda maps: maps.mean(0),
    "SquareGrad": lambda maps: (maps**2).mean(0),
    "VarGrad": lambda maps: maps.var(0, ddof=1),
}


def statistic(name, maps):
    """A statistic of maps (n, ...) and its standard error."""
    n = len(maps)
    if name == "VarGrad":
        fourth, variance = ((maps - maps.mean(0)) ** 4).mean(0), maps.var(0, ddof=1)
        return variance, np.sqrt((fourth - (n - 3) / (n - 1) * variance**2) / n)
    samples = maps**2 if name == "SquareGrad" else maps
    return samples.mean(0), np.sqrt(samples.var(0, ddof=1) / n)


# --- occlusion ----------------------------------------------------------------------------------


def starts(side, size, stride):
    """Where the patches begin along one axis: the last one ends where the input does."""
    found, start = [], 0
    while start + size < side:
        found.append(start)
        start += stride
    return [*found, side - size]


def occlusion(scores, x, size, stride, baselines=(0.0,), per_channel=False):
    """The mean drop over each element (N, ...), and the drop per patch (N, d), channels last."""
    x = np.asarray(x, float)
    sides = x.shape[1:-1] if x.ndim > 2 else x.shape[1:]
    corners = itertools.product(*(starts(*one) for one in zip(sides, size, stride, strict=True)))
    channels = range(x.shape[-1]) if per_channel else [slice(None)]
    total, times, drops = np.zeros_like(x), np.zeros_like(x), []
    for corner, channel in itertools.product(corners, channels if x.ndim > 2 else [None]):
        box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        box = (slice(None), *box, *(() if channel is None else (channel,)))
        changed = []
        for baseline in baselines:
            masked = x.copy()
            masked[box] = np.broadcast_to(baseline, x.shape)[box]
            changed.append(scores(x) - scores(masked))
        drop = np.mean(changed, axis=0)
        total[box] += drop.reshape(-1, *[1] * (total[box].ndim - 1))
        times[box] += 1
        drops.append(drop)
    maps = total / times
    return maps if per_channel or x.ndim == 2 else maps[..., :1], np.stack(drops, axis=1)


def ablation(scores, x, mask, baseline=0.0):
    """The drop of the group of each element, of masks (N, ...) that broadcast against x."""
    x, baseline = np.asarray(x, float), np.broadcast_to(baseline, x.shape)
    maps, features = np.zeros(np.shape(mask)), []
    for group in np.unique(mask):
        drop = scores(x) - scores(np.where(mask == group, baseline, x))
        held = (mask == group).reshape(len(x), -1).any(axis=1)
        maps += np.where(mask == group, drop.reshape(-1, *[1] * (x.ndim - 1)), 0)
        features.append(np.where(held, drop, np.nan))
    # Each row's own groups come first, in their order.
    features = np.stack(features, axis=1)
    order = np.argsort(np.isnan(features), axis=1, kind="stable")
    features = np.take_along_axis(features, order, axis=1)
    return maps, features[:, ~np.isnan(features).all(axis=0)]


# --- golden values ------------------------------------------------------------------------------

STORED = ("table", "series", "image", "gray")
GOLDEN_TARGETS = np.array([2, 0, 1, 1, 0])


def golden():
    """{name: array} of small reference results: the numbers every backend is held to."""
    out = {}
    for kind in STORED:
        x, targets = inputs(kind), GOLDEN_TARGETS
        scores = score(kind, targets)
        grad = gradient(scores, x)
        out[f"{kind}/scores"] = scores(np.asarray(x, float))
        out[f"{kind}/Saliency"] = reduce(np.abs(grad), "max")
        out[f"{kind}/GradientInput"] = reduce(grad * x, "sum")
        for rule in ("trapezoid", "gauss_legendre"):
            path = integrated_gradients(scores, x, steps=12, rule=rule)
            out[f"{kind}/IntegratedGradients/{rule}"] = reduce(path, "sum")
        scale = "absolute" if kind == "table" else "range"
        maps = noisy_maps(
            lambda z, f=scores: gradient(f, z), x, 0.1, 5, seed=2**40 + 3, scale=scale
        )
        out[f"{kind}/SmoothGrad/{scale}"] = reduce(STATISTICS["SmoothGrad"](maps), "abs_mean")
        if kind != "table":
            out[f"{kind}/GradCAM"] = grad_cam_of(kind, x, targets)
    return out


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden())
