"""Nuclei of one stain, painted into tissue that never was: random grounds and random colours for outlined nuclei.

Freely licensed images of nuclei are mostly purple on an even ground, while H&E slides show pink fibres, cytoplasm and
white gaps in colours that differ from laboratory to laboratory. A network that has seen the same outlined nuclei on
endless random grounds has to go by what they have in common (domain randomisation, Tobin et al. 2017, IROS). Images
are composed as light passes through tissue: optical densities of haematoxylin and eosin add up (Beer-Lambert law;
Ruifrok and Johnston 2001).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]
"""One value for each pixel, shape (H, W)."""

# Directions in optical density near those that Ruifrok and Johnston (2001) measured; each image draws its own around
# them.
_HAEMATOXYLIN = np.array([0.62, 0.72, 0.30])
_EOSIN = np.array([0.12, 0.90, 0.40])
_LEAST_STAIN = 0.15
_STRONG = 0.8  # quantile of the stain inside nuclei that counts as 1
_SCALE_LIMITS = (0.35, 2.2)
_RIM_WEIGHT = 1.0
_CONTACT_WEIGHT = 4.0


@dataclass(frozen=True, eq=False)
class Nuclei:
    """An image of outlined nuclei, taken apart.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W, 3)
        RGB in 0..1.
    density : ndarray of float32, shape (H, W)
        Amount of nuclear stain: about 0 on the ground and 1 in nuclei.
    depth : ndarray of float32, shape (H, W)
        0 outside nuclei and at their border, 1 in the middle of each.
    instances : ndarray of int32, shape (H, W)
        0 for the ground, another number for each nucleus.
    area_px : float
        Median area of its nuclei.
    """

    image: NDArray[np.float32]
    density: Field
    depth: Field
    instances: NDArray[np.int32]
    area_px: float


@dataclass(frozen=True, eq=False)
class Textures:
    """Random fields of mean 0 and deviation 1, shape (K, S, S) each, from grains to clouds, and fibres."""

    fine: NDArray[np.float32]
    middle: NDArray[np.float32]
    coarse: NDArray[np.float32]
    fibres: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Painting:
    """What a network learns from.

    Parameters
    ----------
    image : ndarray of float32, shape (S, S, 3)
        RGB in 0..1.
    labels : ndarray of int64, shape (S, S)
        0 ground, 1 nucleus, 2 boundary: the outermost pixels of nuclei and narrow gaps between them.
    weight : ndarray of float32, shape (S, S)
        Larger at boundaries, largest where nuclei touch.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.int64]
    weight: Field


@dataclass(frozen=True)
class Look:
    """How nuclei are shown.

    Parameters
    ----------
    side_px : int
        Of the painting.
    area_px : float
        Median area of a nucleus at magnification 1.
    magnification : tuple of float
        Range of factors on that area.
    plain : float
        Share of paintings that keep the colours and the ground of the image.
    crowded : float
        Share of the others that get nuclei of a second image on top.
    """

    side_px: int
    area_px: float
    magnification: tuple[float, float] = (0.4, 2.5)
    plain: float = 0.2
    crowded: float = 0.35


def take_apart(image: NDArray[np.uint8], instances: NDArray[np.integer]) -> Nuclei:
    """The nuclei of an image (H, W, 3) with its instance map (H, W)."""
    light = np.asarray(image, np.float32) / np.float32(255)
    density = _optical_density(light)
    inside = instances > 0
    ground = np.median(density[~inside], axis=0) if not inside.all() else np.zeros(3)
    colour = np.maximum(density[inside].mean(axis=0) - ground, 1e-3) if inside.any() else _HAEMATOXYLIN
    colour = _unit(colour)
    amount = (density - ground) @ colour
    strong = float(np.quantile(amount[inside], _STRONG)) if inside.any() else 1.0
    areas = np.bincount(instances.ravel())[1:]
    return Nuclei(
        image=light,
        density=np.clip(amount / max(strong, _LEAST_STAIN), -0.3, 2.0).astype(np.float32),
        depth=_depth(instances),
        instances=instances.astype(np.int32),
        area_px=float(np.median(areas[areas > 20])) if (areas > 20).any() else 400.0,
    )


def make_textures(*, count: int, side_px: int, seed: int) -> Textures:
    """``count`` fields of each kind, ``side_px`` wide, that repeat without a seam."""
    rng = np.random.default_rng(seed)

    def clouds(low: float, high: float) -> NDArray[np.float32]:
        return np.stack([_noise(side_px, rng.uniform(low, high), 1.0, rng) for _ in range(count)])

    fine, middle, coarse = clouds(1, 2.5), clouds(4, 10), clouds(15, 40)
    y, x = np.mgrid[:side_px, :side_px].astype(np.float32)
    fibres = []
    for bend in coarse:
        straight = _noise(side_px, rng.uniform(1, 2.5), rng.uniform(6, 14), rng)
        fibres.append(ndimage.map_coordinates(straight, [y + bend * rng.uniform(10, 35), x], order=1, mode="grid-wrap"))
    return Textures(fine, middle, coarse, np.stack(fibres))


def paint(nuclei: Sequence[Nuclei], textures: Textures, look: Look, rng: np.random.Generator) -> Painting:
    """One random painting of a random image's nuclei."""
    view = _look_at(nuclei, look, rng)
    if rng.random() < look.plain:
        instances = view.instances()
        density = _recoloured(view.image(), rng)
    else:
        seen = view.seen()
        if rng.random() < look.crowded:
            seen = _on_top(seen, _look_at(nuclei, look, rng).seen(), rng)
        instances = seen.instances
        density = _composed(seen, textures, rng)
    labels, weight = _targets(instances)
    return Painting(_exposed(density, rng), labels, weight)


# -- where nuclei are seen -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Seen:
    """Stain, depth and numbers of the nuclei of one painting, (S, S) each."""

    density: Field
    depth: Field
    instances: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _View:
    """A square of an image, mirrored beyond its edges; ``places`` are the rows and columns (2, S, S) that it shows."""

    source: Nuclei
    places: NDArray[np.float64]

    def seen(self) -> _Seen:
        return _Seen(self._at(self.source.density), self._at(self.source.depth), self.instances())

    def instances(self) -> NDArray[np.int32]:
        numbers = ndimage.map_coordinates(self.source.instances, self.places, order=0, mode="mirror")
        return np.asarray(numbers, np.int32)

    def image(self) -> NDArray[np.float32]:
        return np.stack([self._at(self.source.image[..., c]) for c in range(3)], axis=-1)

    def _at(self, values: Field) -> Field:
        return np.asarray(ndimage.map_coordinates(values, self.places, order=1, mode="mirror"), np.float32)


def _look_at(nuclei: Sequence[Nuclei], look: Look, rng: np.random.Generator) -> _View:
    """A random image in a random place, orientation and magnification."""
    source = nuclei[int(rng.integers(len(nuclei)))]
    low, high = look.magnification
    area_px = look.area_px * math.exp(rng.uniform(math.log(low), math.log(high)))
    scale = float(np.clip(math.sqrt(source.area_px / area_px), *_SCALE_LIMITS))
    angle, stretch = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(-0.15, 0.15))
    y, x = np.mgrid[: look.side_px, : look.side_px] - look.side_px / 2
    x, y = x * scale * stretch * rng.choice([-1, 1]), y * scale / stretch
    height, width = source.instances.shape
    rows = rng.uniform(0, height) + x * math.sin(angle) + y * math.cos(angle)
    columns = rng.uniform(0, width) + x * math.cos(angle) - y * math.sin(angle)
    return _View(source, np.stack([rows, columns]))


def _on_top(below: _Seen, above: _Seen, rng: np.random.Generator) -> _Seen:
    """Some nuclei of one image over those of another, so that they touch and overlap as in thick sections."""
    is_kept = rng.random(above.instances.max() + 1) < rng.uniform(0.2, 1)
    kept = (above.instances > 0) & is_kept[above.instances]
    strength = np.float32(rng.uniform(0.8, 1.2))
    return _Seen(
        np.where(kept, above.density * strength, below.density),
        np.where(kept, above.depth, below.depth),
        np.where(kept, above.instances + below.instances.max(), below.instances),
    )


# -- what they look like -------------------------------------------------------------------------------------------


def _recoloured(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float64]:
    """Optical density of the image itself with stronger or weaker colours."""
    density = _optical_density(image) * rng.uniform(0.7, 1.35) * np.exp(rng.normal(0, 0.12, 3))
    return density + rng.uniform(0, 0.15, 3) * (rng.random() < 0.5)


def _composed(seen: _Seen, textures: Textures, rng: np.random.Generator) -> NDArray[np.float64]:
    """Optical density (S, S, 3) of the nuclei on a random ground in random colours."""
    inside = ndimage.gaussian_filter((seen.instances > 0).astype(np.float32), rng.uniform(0.4, 1.0))
    nuclear = _nuclear_stain(seen, inside, textures, rng) * rng.uniform(0.85, 1.7)
    cytoplasm, eosin = _ground(textures, seen.instances.shape[0], rng)
    haematoxylin = (
        np.clip(nuclear, 0, 2.5) * inside
        + np.clip(nuclear, -0.1, 0.5) * (1 - inside)
        + cytoplasm * (1 - inside * rng.uniform(0.3, 1))
    )
    eosin = eosin * (1 - inside * rng.uniform(0.1, 0.95))
    blue = _unit(np.clip(_HAEMATOXYLIN + rng.normal(0, 0.09, 3), 0.05, None)) * rng.uniform(0.7, 1.5)
    pink = _unit(np.clip(_EOSIN + rng.normal(0, 0.10, 3), 0.02, None)) * rng.uniform(0.35, 1.1)
    return np.asarray(haematoxylin[..., None] * blue + eosin[..., None] * pink + rng.uniform(0, 0.06), np.float64)


def _nuclear_stain(seen: _Seen, inside: Field, textures: Textures, rng: np.random.Generator) -> Field:
    """Stain of the nuclei: often pale inside with clumps of chromatin, and of another strength in each nucleus."""
    stain = seen.density
    if rng.random() < 0.65:
        paleness, rim = rng.uniform(0.1, 0.65), rng.uniform(0.12, 0.5)
        pale = np.clip(seen.depth / rim, 0, 1) ** rng.uniform(0.7, 2) * inside
        stain = stain * (1 - paleness * pale)
        if rng.random() < 0.7:
            clumps = np.clip(_pick(textures.fine, stain.shape[0], rng) - rng.uniform(0.3, 1.2), 0, 2)
            stain = stain + clumps * rng.uniform(0.1, 1.2) * pale * max(paleness, 0.3)
    if rng.random() < 0.7:
        strengths = np.exp(rng.normal(0, 0.25, seen.instances.max() + 1)).astype(np.float32)
        stain = np.where(seen.instances > 0, stain * strengths[seen.instances], stain)
    return stain


def _ground(textures: Textures, side_px: int, rng: np.random.Generator) -> tuple[Field, Field]:
    """Haematoxylin and eosin of a random ground: clouds and fibres, perhaps with gaps, membranes and blood."""

    def pick(kind: NDArray[np.float32]) -> Field:
        return _pick(kind, side_px, rng)

    def up_to(most: float) -> float:
        return float(rng.uniform(0, most))

    fine, middle, coarse, fibres = (
        pick(kind) for kind in (textures.fine, textures.middle, textures.coarse, textures.fibres)
    )
    cytoplasm = up_to(0.25) + up_to(0.12) * (middle + coarse) + up_to(0.08) * fine + up_to(0.12) * fibres
    cytoplasm = np.clip(cytoplasm, 0, 0.45)
    eosin = rng.uniform(0.15, 0.9) + up_to(0.25) * middle + up_to(0.3) * coarse + up_to(0.12) * fine
    if rng.random() < 0.6:
        eosin = eosin + up_to(0.45) * fibres
    eosin = np.clip(eosin, 0, 2.5)
    if rng.random() < 0.6:
        shape = pick(textures.middle if rng.random() < 0.6 else textures.coarse) + up_to(0.25) * fine
        gap = 1 / (1 + np.exp((rng.uniform(0.4, 1.8) - shape) * rng.uniform(4, 14)))
        eosin, cytoplasm = eosin * (1 - gap * rng.uniform(0.7, 1)), cytoplasm * (1 - gap)
    if rng.random() < 0.25:
        membranes = np.exp(-((pick(textures.middle) / rng.uniform(0.08, 0.25)) ** 2)) * rng.uniform(0.2, 0.9)
        eosin, cytoplasm = eosin + membranes, cytoplasm + membranes * up_to(0.3)
    if rng.random() < 0.15:
        eosin = eosin + np.clip(pick(textures.middle) - 1.2, 0, 1.5) * rng.uniform(0.5, 1.5)
    return cytoplasm, eosin


def _exposed(density: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """The image (S, S, 3) a camera would take: blur, exposure, noise, gamma."""
    blur_px = rng.uniform(0, 1.3)
    if blur_px > 0.4:
        density = ndimage.gaussian_filter(density, (blur_px, blur_px, 0))
    image = np.exp(-np.clip(density, 0, None)) * rng.uniform(0.85, 1.05)
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(0.003, 0.03), image.shape)
    return (np.clip(image, 0, 1) ** math.exp(rng.normal(0, 0.15))).astype(np.float32)


# -- what is to be learned -----------------------------------------------------------------------------------------


def _targets(instances: NDArray[np.int32]) -> tuple[NDArray[np.int64], Field]:
    """Labels and weights of an instance map."""
    labels = (instances > 0).astype(np.int64)
    labels[(instances > 0) & (ndimage.minimum_filter(instances, 3) == 0)] = 2
    labels[_touches(instances, 3)] = 2
    weight = 1 + _RIM_WEIGHT * (labels == 2) + _CONTACT_WEIGHT * _touches(instances, 5)
    return labels, weight.astype(np.float32)


def _touches(instances: NDArray[np.int32], size_px: int) -> NDArray[np.bool_]:
    """Where the square around a pixel holds two nuclei."""
    highest = ndimage.maximum_filter(instances, size_px)
    lowest = ndimage.minimum_filter(np.where(instances > 0, instances, np.iinfo(np.int32).max), size_px)
    return np.asarray((highest > 0) & (highest != lowest), bool)


def _depth(instances: NDArray[np.integer]) -> Field:
    depth = np.zeros(instances.shape, np.float32)
    for number, place in enumerate(ndimage.find_objects(instances), start=1):
        if place is not None:
            distance = ndimage.distance_transform_edt(np.pad(instances[place] == number, 1))[1:-1, 1:-1]
            depth[place] += distance / max(distance.max(), 1)
    return depth


def _noise(side_px: int, grain_px: float, length: float, rng: np.random.Generator) -> Field:
    field = ndimage.gaussian_filter(
        rng.standard_normal((side_px, side_px)).astype(np.float32), (grain_px, grain_px * length), mode="wrap"
    )
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _pick(fields: NDArray[np.float32], side_px: int, rng: np.random.Generator) -> Field:
    """A square of a random field, turned and flipped at random."""
    field = fields[rng.integers(len(fields))]
    y, x = rng.integers(0, field.shape[0] - side_px + 1, 2)
    square = np.rot90(field[y : y + side_px, x : x + side_px], int(rng.integers(4)))
    return np.asarray(square[:, ::-1] if rng.random() < 0.5 else square, np.float32)


def _optical_density(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return -np.log(np.clip(image, 1 / 255, 1))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector), np.float64)
