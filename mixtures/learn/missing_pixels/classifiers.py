"""Classifiers of images of which pixels are missing: one mixture per class, and classical ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from mixtures.coefficients import CoefficientTensor
from mixtures.components import Bernoulli, Product
from mixtures.learn.fit import fit
from mixtures.learn.missing_pixels.images import Array, Images, patches
from mixtures.ltm import LTM
from mixtures.mixture import Mixture
from mixtures.tmm import TMM
from mixtures.tree import Tree


class Classifier(ABC):
    """Learns from whole images, and classifies images of which `seen` says what is left."""

    @abstractmethod
    def learn(self, images: Images) -> None:
        """Learn from images and their labels."""

    @abstractmethod
    def classify(self, x: Array, seen: Array) -> Array:
        """The labels (n,) of images x (n, height, width); pixels not seen are not looked at."""


@dataclass(frozen=True)
class Sizes:
    """What is chosen on validation images: states, components of a patch, pseudo-counts."""

    states: int
    components: int
    pseudo_count: float = 0.03
    pixel_count: float = 0.1


class Mixtures(Classifier):
    """Bayes' rule over one tensorial mixture per class, of patches of black and white pixels.

    deep: a quad tree of latents; otherwise one latent (CP). A component of a patch is a product
    over its pixels, so that pixels are summed out one by one.
    """

    def __init__(self, deep: bool, sizes: Sizes, patch: int, iterations: int, seed: int) -> None:
        self.deep, self.sizes, self.patch = deep, sizes, patch
        self.iterations, self.seed = iterations, seed
        self.models: list[Mixture] = []

    def learn(self, images: Images) -> None:
        """One fit by EM for each class."""
        height, width = images.x.shape[1:]
        grid = height // self.patch, width // self.patch
        rows = patches(black(images.x), self.patch)
        self.labels = numpy.unique(images.labels)
        counts = numpy.array([(images.labels == label).sum() for label in self.labels])
        self.prior = numpy.log(counts / counts.sum())
        self.models = []
        for number, label in enumerate(self.labels):
            random = torch.Generator().manual_seed(self.seed + number)
            model = self._model(grid, random)
            fit(
                model,
                rows[images.labels == label],
                max_iter=self.iterations,
                tol=1e-3,
                pseudo_count=self.sizes.pseudo_count,
                progress=False,
                generator=random,
            )
            self.models.append(model.requires_grad_(False))

    def classify(self, x: Array, seen: Array) -> Array:
        """The class of greatest posterior, missing pixels summed out."""
        rows = patches(black(x), self.patch)
        data = self.models[0].encode(rows, torch.from_numpy(patches(seen, self.patch)))
        logs = [model.log_prob(data).double().numpy() for model in self.models]
        found: Array = self.labels[(numpy.stack(logs, 1) + self.prior).argmax(1)]
        return found

    def _model(self, grid: tuple[int, int], random: torch.Generator) -> Mixture:
        d, sizes = grid[0] * grid[1], self.sizes
        drawn: dict[str, Any] = {"generator": random, "dtype": torch.float32}

        def pixels(numbers: int) -> Bernoulli:
            return Bernoulli(numbers, sizes.components, pseudo_count=sizes.pixel_count, **drawn)

        leaves = Product.of(pixels, (self.patch**2,), d)
        tensor: CoefficientTensor
        if self.deep:
            tensor = LTM(Tree.quad(*grid), sizes.components, sizes.states, **drawn)
        else:
            same = sizes.states == sizes.components
            tensor = TMM(d, sizes.components, sizes.states, emission=not same, **drawn)
        return Mixture(tensor, leaves)


class Imputed(Classifier):
    """A classifier of scikit-learn; pixels that are missing get their mean over the images."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def learn(self, images: Images) -> None:
        """Fit on grey pixels."""
        self.mean = images.x.mean(0)
        self.estimator.fit(images.x.reshape(len(images.x), -1), images.labels)

    def classify(self, x: Array, seen: Array) -> Array:
        """Fill in, then predict."""
        filled = numpy.where(seen, x, self.mean).reshape(len(x), -1)
        found: Array = self.estimator.predict(filled)
        return found


class SeenNeighbours(Classifier):
    """k nearest neighbours by the distance over the pixels that are seen, without imputing."""

    def __init__(self, neighbours: int) -> None:
        self.neighbours = neighbours

    def learn(self, images: Images) -> None:
        """Keep the images."""
        self.x = torch.from_numpy(images.x.reshape(len(images.x), -1)).float()
        self.labels = torch.from_numpy(images.labels)

    def classify(self, x: Array, seen: Array) -> Array:
        """The most frequent label among the nearest images, the nearest one's of equals."""
        mask = torch.from_numpy(seen.reshape(len(x), -1)).float()
        here = torch.from_numpy(x.reshape(len(x), -1)).float() * mask
        found = [self._some(*pair) for pair in zip(here.split(500), mask.split(500), strict=True)]
        return torch.cat(found).numpy()

    def _some(self, here: Tensor, mask: Tensor) -> Tensor:
        distance = mask @ self.x.square().T - 2 * here @ self.x.T  # without what is equal for all
        nearest = distance.topk(self.neighbours, largest=False).indices
        votes = torch.nn.functional.one_hot(self.labels[nearest]).double()
        order = torch.arange(self.neighbours, 0, -1) * 1e-6
        return (votes * (1 + order[:, None])).sum(1).argmax(1)


def black(x: Array) -> Array:
    """Which pixels are more than half black, as 0 and 1."""
    return (x > 0.5).astype(numpy.uint8)
