"""Slow, obvious NumPy versions of class activation maps, in float64; see `oracles`."""

import numpy as np

import oracles
from oracles import activations, head, logits, resize


def space(maps):
    return tuple(range(1, maps.ndim - 1))


# --- rules: (activation, gradient), both (N, *spatial, C) -> map (N, *spatial) -------------------


def layer_cam(activation, grad):
    return (np.maximum(grad, 0) * activation).sum(-1)


def hires_cam(activation, grad):
    return (grad * activation).sum(-1)


def xgrad_cam(activation, grad):
    total = activation.sum(axis=space(activation), keepdims=True)
    weight = (grad * activation).sum(axis=space(activation), keepdims=True)
    weight = np.divide(weight, total, out=np.zeros_like(weight), where=total != 0)
    return (weight * activation).sum(-1)


def eigen_cam(activation, grad=None):
    del grad
    found = np.empty(activation.shape[:-1])
    for n, one in enumerate(activation):
        matrix = one.reshape(-1, one.shape[-1])
        _, _, right = np.linalg.svd(matrix, full_matrices=False)
        projection = matrix @ right[0]
        if abs(projection.min()) > abs(projection.max()):
            projection = -projection
        found[n] = projection.reshape(one.shape[:-1])
    return found


def eigen_grad_cam(activation, grad):
    return eigen_cam(activation * grad)


def fem(kappa):
    def rule(activation, grad=None):
        del grad
        found = np.zeros(activation.shape[:-1])
        for n, k in np.ndindex(len(activation), activation.shape[-1]):
            channel = activation[n, ..., k]
            marked = channel >= channel.mean() + kappa * channel.std()
            found[n] += channel.mean() * marked
        return found

    return rule


def laid_over(maps, size, signed=False):
    """A map in the size of the input, rectified unless ``signed``."""
    return resize(maps if signed else np.maximum(maps, 0), size)[..., None]


# --- maps of the twins at ``conv2`` -------------------------------------------------------------


def of_gradients(rule, signed=False):
    """(kind, x, targets) -> map by a rule of activations and gradients."""

    def explain(kind, x, targets):
        return oracles.cam_of(
            kind, x, targets, lambda a, g, size, s: laid_over(rule(a, g), size, s), signed
        )

    return explain


def finer_cam(gamma, count, signed=False):
    def explain(kind, x, targets):
        outputs = logits(kind, x)
        weights = np.zeros_like(outputs)
        for n, target in enumerate(targets):
            gaps = abs(outputs[n] - outputs[n, target])
            order = [k for k in np.argsort(gaps) if k != target]
            weights[n, target] = 1
            weights[n, order[:count]] = -gamma / count
        maps = activations(kind, np.asarray(x, float))

        def scores(a):
            return (head(kind, a) * np.repeat(weights, len(a) // len(weights), axis=0)).sum(1)

        return oracles.grad_cam(maps, oracles.gradient(scores, maps), x.shape[1:-1], signed)

    return explain


def ablation_cam(signed=False):
    def explain(kind, x, targets):
        maps = activations(kind, np.asarray(x, float))
        found = np.zeros(maps.shape[:-1])
        for n, target in enumerate(targets):
            whole = head(kind, maps[n : n + 1])[0, target]
            for k in range(maps.shape[-1]):
                without = maps[n : n + 1].copy()
                without[..., k] = 0
                weight = (whole - head(kind, without)[0, target]) / abs(whole)
                found[n] += weight * maps[n, ..., k]
        return laid_over(found, x.shape[1:-1], signed)

    return explain


def channel_masks(maps, size):
    """(N, K, *size): channels in the size of the input, from 0 to 1."""
    found = []
    for one in maps:
        for k in range(maps.shape[-1]):
            large = resize(one[None, ..., k], size)[0]
            span = large.max() - large.min()
            found.append((large - large.min()) / span if span else np.zeros(size))
    return np.stack(found).reshape(len(maps), maps.shape[-1], *size)


def score_cam(baselines=(0.0,), signed=False, function=None):
    """``function`` acts on the logits of the masked inputs."""

    def explain(kind, x, targets):
        x = np.asarray(x, float)
        maps = activations(kind, x)
        masks = channel_masks(maps, x.shape[1:-1])
        found = np.zeros(maps.shape[:-1])
        for n, target in enumerate(targets):
            scores = np.zeros(maps.shape[-1])
            for k, mask in enumerate(masks[n]):
                for baseline in baselines:
                    row = baseline + mask[..., None] * (x[n] - baseline)
                    out = logits(kind, row[None])
                    out = out if function is None else function(out)
                    scores[k] += out[0, target] / len(baselines)
            found[n] = maps[n] @ oracles.softmax(scores)
        return laid_over(found, x.shape[1:-1], signed)

    return explain


def full_grad(kind, x, targets):
    """Terms of the layers of a twin: gradient times input, and times each implicit bias."""
    x = np.asarray(x, float)
    weights = oracles.weights(kind)
    trunk = [
        lambda a: oracles.convolve(a, *weights["conv1"]),
        oracles.softplus,
        oracles.halve,
        lambda a: oracles.convolve(a, *weights["conv2"]),
        np.tanh,
    ]

    def rest(layers):
        def scores(a):
            for layer in layers:
                a = layer(a)
            out = head(kind, a)
            return out[np.arange(len(out)), np.repeat(targets, len(out) // len(targets))]

        return scores

    def bias(layer, a):
        step = 1e-30
        return layer(a) - layer(a * (1 + step * 1j)).imag / step

    total = abs(x * oracles.gradient(rest(trunk), x)).sum(-1)
    a = x
    for k, layer in enumerate(trunk):
        after = layer(a)
        term = abs(bias(layer, a) * oracles.gradient(rest(trunk[k + 1 :]), after)).sum(-1)
        total = total + resize(term, x.shape[1:-1])
        a = after
    return total[..., None]
