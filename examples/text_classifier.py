"""Explain a small text classifier at its embedding: one number per word.

Run it with `KERAS_BACKEND=jax python examples/text_classifier.py` (or tensorflow, or torch). It
writes text_classifier.png.
"""

# %% Reviews of hotels, put together from parts, with one opinion and much else in each
import keras
import matplotlib.pyplot as plt
import numpy as np

import xai_core as xai

generator = np.random.default_rng(0)
things = "room bed breakfast staff view pool lobby bar".split()
good = "lovely spotless delicious friendly stunning quiet".split()
bad = "dirty noisy cold rude broken smelly".split()
fillers = "we stayed three nights in may and the hotel is near the old station".split()
vocabulary = ["<pad>", "was", "not", "very", *things, *good, *bad, *dict.fromkeys(fillers)]
index = {word: k for k, word in enumerate(vocabulary)}
LENGTH = 12


def review():
    """Return the words of a review, and whether it praises; "not" turns an opinion round."""
    praises, negated = (bool(one) for one in generator.random(2) < 0.5)
    opinion = generator.choice(good if praises else bad)
    statement = [generator.choice(things), "was", *["not"] * negated, "very", opinion]
    start = int(generator.integers(0, len(fillers) - 6))
    around = fillers[start : start + 6]
    place = int(generator.integers(0, 7))
    return [*around[:place], *statement, *around[place:]], int(praises != negated)


def tokens(reviews):
    """Return the numbers of the words, filled up with those of <pad>."""
    padded = [[*words, *["<pad>"] * (LENGTH - len(words))] for words in reviews]
    return np.array([[index[word] for word in words] for words in padded])


# %% A network of one convolution, trained in seconds
reviews, labels = zip(*(review() for _ in range(3000)), strict=True)
network = keras.Sequential(
    [
        keras.Input((LENGTH,), dtype="int32"),
        keras.layers.Embedding(len(vocabulary), 16, name="words"),
        keras.layers.Conv1D(32, 3, activation="relu", padding="same"),
        keras.layers.GlobalMaxPooling1D(),
        keras.layers.Dense(2),
    ]
)
network.compile(
    keras.optimizers.Adam(0.01),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
network.fit(tokens(reviews), np.array(labels), epochs=6, batch_size=64, verbose=0)
model = xai.wrap(network, class_names=("complaint", "praise"))

# %% The embedding is found by itself; a baseline is a token, here that of <pad>
new = ["we stayed and the room was not very dirty", "the breakfast was very delicious in may"]
x = tokens([text.split() for text in new])
explanation = xai.attributions.DeepLIFT(model, baseline=index["<pad>"])(x)
print(f"{explanation.notes[0]} The gap is at most {abs(explanation.completeness_gap).max():.0e}.")

# %% Which words speak for the class that the network chose: "not" and "dirty" do together, and
# "was", where "not" could stand
figure, axes = plt.subplots(len(x), 1, figsize=(9, 3), layout="constrained")
for row, (axis, text) in enumerate(zip(axes, new, strict=True)):
    words, values = text.split(), explanation.values[row]
    axis.bar(range(len(words)), values[: len(words)], color=np.where(values >= 0, "C3", "C0"))
    axis.set_xticks(range(len(words)), words)
    axis.set_title(explanation.label(row))
    first, second = (words[k] for k in values[: len(words)].argsort()[::-1][:2])
    print(f"{explanation.label(row)}: {first!r} and {second!r} speak for it most.")
figure.savefig("text_classifier.png", dpi=120)
