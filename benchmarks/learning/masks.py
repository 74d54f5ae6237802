"""The same with lung masks: slices of another contrast, whose masks a team corrects, and a last layer fitted anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from covid_bert.active_learning.choice import Measured, values_of
from covid_bert.active_learning.diversity import standardised
from covid_bert.files import replacing
from covid_bert.lungs.unet import CONTEXT, default_segmenter
from covid_bert.segmentation import border_entropy, input_channels, scale
from covid_bert.volumes.windows import LUNG_WINDOW
from learning.rounds import fitted, sigmoid

FloatArray = npt.NDArray[np.float64]
GRID = 64
COMPONENTS = 32
TEST_SHARE = 0.35
# Neighbouring slices of a study are dealt out together; the set does not say where a study ends.
BLOCK = 14
PIXELS = 400
_LAYERS = ("conv_0", "upcat_1", "upcat_2", "upcat_3", "upcat_4")


@dataclass(frozen=True, eq=False)
class MaskPool:
    """Slices with lung masks, as the shipped lung network sees them.

    Parameters
    ----------
    features
        float32 (slices, pixels, components + 1): the network's feature maps, with a column of ones.
    lungs
        bool (slices, pixels).
    embeddings
        (slices, channels): mean of the deepest features.
    """

    features: npt.NDArray[np.float32]
    lungs: npt.NDArray[np.bool_]
    embeddings: FloatArray


def mask_pool(data: Path, cache: Path) -> MaskPool:
    """Read the slices of ``zenodo20_2d``, 8-bit and contrast-enhanced, and embed them once."""
    segmenter = default_segmenter("cpu")
    assert segmenter is not None
    file = cache / f"masks-{str(segmenter.identity.sha256)[:12]}.npz"
    if not file.exists():
        with np.load(data / "zenodo20_2d" / "slices_every6th.npz", allow_pickle=False) as held:
            images, masks = held["ct"], np.unpackbits(held["lung"], axis=2)[:, :, : held["ct"].shape[2]]
        seen: dict[str, torch.Tensor] = {}
        for name in (*_LAYERS, "down_4"):
            layer = getattr(segmenter.module, name)
            layer.register_forward_hook(lambda _module, _input, output, name=name: seen.update({name: output}))
        features, embeddings = [], []
        for image in images:
            hounsfield = LUNG_WINDOW.lower + image.astype(np.float32) * (LUNG_WINDOW.upper - LUNG_WINDOW.lower) / 255
            slab = input_channels(scale(hounsfield[None], segmenter.window_hu), CONTEXT, np.array([0]))
            with torch.inference_mode():
                segmenter.module(slab.to(segmenter.dtype).contiguous(memory_format=torch.channels_last))
            columns = [_resized(seen[name]) for name in _LAYERS]
            features.append(torch.cat(columns).flatten(1).T.numpy().astype(np.float16))
            embeddings.append(seen["down_4"][0].float().mean((1, 2)).numpy())
        lungs = _resized(torch.from_numpy(masks).float()[None]).numpy() >= 0.5
        with replacing(file) as temporary:
            np.savez(temporary, features=_principal(np.stack(features)), lungs=lungs, embeddings=np.stack(embeddings))
        segmenter.module.requires_grad_(False)
    with np.load(file, allow_pickle=False) as held:
        found = held["features"].astype(np.float32)
        ones = np.ones((*found.shape[:2], 1), np.float32)
        return MaskPool(
            np.concatenate([found, ones], axis=2), held["lungs"].reshape(len(found), -1), held["embeddings"]
        )


def _resized(maps: torch.Tensor) -> torch.Tensor:
    return interpolate(maps.float(), size=(GRID, GRID), mode="bilinear", antialias=True)[0]


def _principal(features: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    flat = features.reshape(-1, features.shape[2]).astype(np.float32)
    flat = (flat - flat.mean(axis=0)) / flat.std(axis=0)
    directions = np.linalg.svd(flat[::37], full_matrices=False)[2][:COMPONENTS]
    found = flat @ directions.T
    return (found / found.std(axis=0).mean()).reshape(*features.shape[:2], COMPONENTS).astype(np.float16)


class MaskTeam:
    """One dealing of the slices to pool and test.

    Parameters
    ----------
    pool
        All slices.
    seed
        Of the dealing, and of the pixels that are learned from.
    """

    def __init__(self, pool: MaskPool, seed: int) -> None:
        generator = np.random.default_rng([seed, 3])
        blocks = np.arange(len(pool.lungs)) // BLOCK
        held = np.isin(blocks, generator.permutation(blocks[-1] + 1)[: round(TEST_SHARE * (blocks[-1] + 1))])
        self._pool, self._embeddings = pool, standardised(pool.embeddings)
        self._candidates, self._test = np.flatnonzero(~held), np.flatnonzero(held)
        self._pixels = generator.permuted(np.tile(np.arange(GRID * GRID), (len(held), 1)), axis=1)[:, :PIXELS]
        self._start = int(generator.choice(self._candidates))

    def full(self) -> float:
        """Mean Dice on the test with all labels."""
        return self._dice(self._fit(self._candidates))

    def curve(self, strategy: str, seed: int, *, labels: int) -> FloatArray:
        """Rows of labels and mean Dice on the test, for slices that are labelled one after the other."""
        generator = np.random.default_rng([seed, 4])
        labelled, found = [self._start], []
        while True:
            head = self._fit(np.array(labelled))
            found.append((len(labelled), self._dice(head)))
            if len(labelled) == labels:
                return np.array(found, np.float64)
            free = np.setdiff1d(self._candidates, labelled)
            if strategy == "random":
                labelled.append(int(generator.choice(free)))
                continue
            known = Measured(self._borders(free, head)[None], self._embeddings[free], self._embeddings[labelled])
            labelled.append(int(free[np.argmax(values_of(strategy, known))]))

    def _fit(self, slices: npt.NDArray[np.intp]) -> FloatArray:
        pixels = self._pixels[slices]
        features = np.concatenate([self._pool.features[item][some] for item, some in zip(slices, pixels, strict=True)])
        lungs = np.concatenate([self._pool.lungs[item][some] for item, some in zip(slices, pixels, strict=True)])
        return fitted(features.astype(np.float64), lungs)

    def _dice(self, head: FloatArray) -> float:
        marked, lungs = self._pool.features[self._test] @ head > 0, self._pool.lungs[self._test]
        return float((2 * (marked & lungs).sum(axis=1) / np.maximum(marked.sum(axis=1) + lungs.sum(axis=1), 1)).mean())

    def _borders(self, slices: npt.NDArray[np.intp], head: FloatArray) -> FloatArray:
        maps = sigmoid(self._pool.features[slices] @ head).reshape(-1, 1, GRID, GRID).astype(np.float32)
        found = [border_entropy(np.stack([1 - lung, lung]), (lung > 0.5).astype(np.uint8)) for lung in maps]
        return np.array([np.nan if value is None else value for value in found])
