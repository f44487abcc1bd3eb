"""A generated picture that looks like H&E-stained glands, with the exact truth of every pixel and cell.

Colours follow the law of Beer and Lambert: amounts of haematoxylin and eosin per pixel become optical densities with
the reference stain vectors of Macenko et al. (2009). The same seed always gives the same tissue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.schemas import EPITHELIUM

Floats = NDArray[np.float64]
Spot = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows and columns of some pixels."""

BACKGROUND, STROMA, GLAND = (c.id for c in EPITHELIUM.classes)
CELL_CLASSES = ("epithelial", "inflammatory", "fibroblast")

_HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062])
_EOSIN = np.array([0.2159, 0.8012, 0.5581])

_GAP_UM = 9.0
_EPITHELIUM_UM = 21.0
_SPACING_UM = 5.6


@dataclass(frozen=True)
class PhantomCell:
    """One nucleus: its value in the instance map, its class, its centre and area in pixels."""

    id: int
    cell_class: str
    x: float
    y: float
    area_px: int


@dataclass(frozen=True, eq=False)
class Phantom:
    """A generated field of tissue and its truth.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    regions : ndarray of uint8, shape (H, W)
        Class ids of the schema ``epithelium``; a gland counts with its lumen.
    instances : ndarray of uint16, shape (H, W)
        0 or the id of the nucleus.
    cells : tuple of PhantomCell
        One per nucleus that is at least partly inside.
    mpp : float
        µm per pixel.
    """

    image: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    cells: tuple[PhantomCell, ...]
    mpp: float


@dataclass(frozen=True, eq=False)
class _Gland:
    """A star-shaped gland: its radius by direction, in pixels."""

    y: float
    x: float
    radii: Floats

    def radius(self, angle: Floats) -> Floats:
        turns = (angle / (2 * np.pi)) % 1.0 * len(self.radii)
        radius: Floats = np.interp(turns, np.arange(len(self.radii) + 1), np.append(self.radii, self.radii[0]))
        return radius


def make_phantom(seed: int = 0, *, size_px: int = 768, mpp: float = 0.5) -> Phantom:
    """A square field of glands in fibrous stroma with a strip of empty glass.

    Parameters
    ----------
    seed : int
    size_px : int
        Side of the field, at least 128.
    mpp : float
        µm per pixel; lengths of glands and nuclei are in µm, so it only changes the magnification.
    """
    field = _Field(seed, size_px, mpp)
    for gland in field.place_glands():
        field.add_gland(gland)
    field.add_lymphocytes()
    field.add_fibroblasts()
    return field.finish()


class _Field:
    """The tissue while it grows: stain amounts and truth, pixel by pixel."""

    def __init__(self, seed: int, size_px: int, mpp: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.mpp = mpp
        self.size_px = size_px
        self.yy, self.xx = np.mgrid[:size_px, :size_px].astype(float)
        self.instances = np.zeros((size_px, size_px), np.uint16)
        self.cells: list[tuple[str, float, float]] = []
        edge = self.xx / size_px + 0.05 * self.smooth(45 / mpp) + 0.015 * self.smooth(8 / mpp)
        self.regions = np.where(edge < 0.86, STROMA, BACKGROUND).astype(np.uint8)
        self.flow = 1.1 + 0.9 * self.smooth(60 / mpp)
        self.base_um = 0.35 * self.smooth(4 / mpp)
        self.height_um = _EPITHELIUM_UM + 1.8 * self.smooth(7 / mpp)
        self.grain = self.smooth(1.2 / mpp)
        self.mucin = 0.05 * np.clip(self.smooth(9 / mpp), 0, None)
        self._dye_stroma()

    def smooth(self, sigma_px: float) -> Floats:
        """Random field of mean 0 and deviation 1, smooth over ``sigma_px``."""
        from scipy import ndimage

        noise = ndimage.gaussian_filter(self.rng.standard_normal((self.size_px, self.size_px)), sigma_px, mode="wrap")
        field: Floats = (noise - noise.mean()) / noise.std()
        return field

    def fibres(self, length_px: float) -> Floats:
        """Random field stretched along the flow of the stroma, by averaging noise along stream lines."""
        noise = self.smooth(0.8)
        total = noise.copy()
        for step in (-2.0, 2.0):
            dy, dx = step * np.sin(self.flow), step * np.cos(self.flow)
            y, x = self.yy.copy(), self.xx.copy()
            for _ in range(int(length_px / 2)):
                at = y.astype(int) % self.size_px, x.astype(int) % self.size_px
                y += dy[at]
                x += dx[at]
                total += noise[at]
        field: Floats = (total - total.mean()) / total.std()
        return field

    def _dye_stroma(self) -> None:
        fibres = self.fibres(30 / self.mpp)
        clefts = 1 / (1 + np.exp(-6 * (fibres + 0.55 * self.smooth(14 / self.mpp) + 1.35)))
        tissue = (self.regions == STROMA) * 1.0
        self.eosin = tissue * clefts * np.clip(0.27 + 0.06 * fibres + 0.05 * self.smooth(20 / self.mpp), 0.05, None)
        self.haematoxylin = tissue * clefts * np.clip(0.07 + 0.02 * fibres, 0, None)

    def place_glands(self) -> list[_Gland]:
        """Glands that touch neither each other nor the edge of the tissue."""
        from scipy import ndimage

        inside_px = ndimage.distance_transform_edt(np.pad(self.regions == STROMA, 200, mode="edge"))[200:-200, 200:-200]
        angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        glands: list[_Gland] = []
        for _ in range(600):
            y, x = self.rng.uniform(-20, self.size_px + 20, 2)
            long_um = self.rng.uniform(32, 58)
            short_um, turn = long_um * self.rng.uniform(0.62, 0.95), self.rng.uniform(0, np.pi)
            radii = long_um * short_um / np.hypot(short_um * np.cos(angles - turn), long_um * np.sin(angles - turn))
            for k in (2, 3, 4, 5):
                radii = radii * (1 + self.rng.normal(0, 0.07 / k) * np.cos(k * angles + self.rng.uniform(0, 6.3)))
            gland = _Gland(y, x, radii / self.mpp)
            at = int(np.clip(y, 0, self.size_px - 1)), int(np.clip(x, 0, self.size_px - 1))
            if inside_px[at] > gland.radii.max() + 6 and not any(self._touch(gland, g) for g in glands):
                glands.append(gland)
        return glands

    def _touch(self, a: _Gland, b: _Gland) -> bool:
        towards = np.arctan2(b.y - a.y, b.x - a.x) + np.linspace(-0.7, 0.7, 9)
        reach = a.radius(towards).max() + b.radius(towards + np.pi).max()
        return bool(np.hypot(b.y - a.y, b.x - a.x) < reach + _GAP_UM / self.mpp)

    def add_gland(self, gland: _Gland) -> None:
        """Epithelium around a lumen, nuclei at its base."""
        dy, dx = self.yy - gland.y, self.xx - gland.x
        angle, distance = np.arctan2(dy, dx), np.hypot(dy, dx)
        depth_um = (gland.radius(angle) - distance) * self.mpp  # below the base of the cells
        depth_um = depth_um + self.base_um
        inside = depth_um > 0
        self.regions[inside] = GLAND
        lumen = depth_um > self.height_um
        eosin = 0.25 + 0.04 * self.grain + 0.10 * np.exp(-(((depth_um - self.height_um) / 1.3) ** 2))
        eosin += 0.16 * np.exp(-((depth_um / 0.9) ** 2))  # basement membrane
        haematoxylin = 0.17 + 0.03 * self.grain
        eosin = np.where(lumen, 0.03 + self.mucin, eosin)
        haematoxylin = np.where(lumen, 0.03, haematoxylin)
        self.eosin[inside] = eosin[inside]
        self.haematoxylin[inside] = haematoxylin[inside]
        count = max(8, int(2 * np.pi * gland.radii.mean() * self.mpp / _SPACING_UM))
        for k in range(count):
            self._add_column(gland, 2 * np.pi * (k + self.rng.uniform(-0.2, 0.2)) / count, 2 * np.pi / count)

    def _add_column(self, gland: _Gland, angle: float, width: float) -> None:
        """One columnar cell: borders, a nucleus, perhaps a vacuole of mucin."""
        radius = float(gland.radius(np.array([angle]))[0])
        for tilt in (-0.5, 0.5):
            self._dye_border(gland, angle + tilt * width, radius)
        if self.rng.random() < 0.22:
            depth = self.rng.uniform(12, 15) / self.mpp
            spot = self._ellipse(gland, angle, radius - depth, self.rng.uniform(3.4, 4.6), 2.3)
            self.eosin[spot] *= 0.35
            self.haematoxylin[spot] = 0.10
        depth = self.rng.choice([6.2, 7.4, 9.6]) + self.rng.normal(0, 0.5)
        size = self.rng.normal((4.4, 2.5), (0.4, 0.2))
        spot = self._ellipse(gland, angle, radius - depth / self.mpp, size[0], size[1])
        self._add_nucleus(spot, "epithelial", self.rng.normal(0.72, 0.07))

    def _dye_border(self, gland: _Gland, angle: float, radius: float) -> None:
        steps = np.arange(radius - _EPITHELIUM_UM / self.mpp, radius, 0.5)
        y = np.rint(gland.y + steps * np.sin(angle)).astype(int)
        x = np.rint(gland.x + steps * np.cos(angle)).astype(int)
        on = (y >= 0) & (y < self.size_px) & (x >= 0) & (x < self.size_px)
        self.eosin[y[on], x[on]] += 0.05

    def _ellipse(self, gland: _Gland, angle: float, distance_px: float, long_um: float, short_um: float) -> Spot:
        return self._spot(
            gland.y + distance_px * np.sin(angle), gland.x + distance_px * np.cos(angle), angle, long_um, short_um
        )

    def _spot(self, y: float, x: float, angle: float, long_um: float, short_um: float) -> Spot:
        """Pixels of a slightly irregular ellipse, inside the field."""
        reach = int(long_um * 1.4 / self.mpp) + 2
        rows = np.arange(max(0, int(y) - reach), min(self.size_px, int(y) + reach + 1))
        columns = np.arange(max(0, int(x) - reach), min(self.size_px, int(x) + reach + 1))
        dy, dx = np.meshgrid(rows - y, columns - x, indexing="ij")
        along = (dx * np.cos(angle) + dy * np.sin(angle)) * self.mpp / long_um
        across = (dy * np.cos(angle) - dx * np.sin(angle)) * self.mpp / short_um
        way = np.arctan2(across, along)
        wobble = 1 + sum(self.rng.normal(0, 0.05) * np.cos(k * way + self.rng.uniform(0, 6.3)) for k in (2, 3, 4))
        inside = np.hypot(along, across) < wobble
        at = np.nonzero(inside)
        return rows[at[0]], columns[at[1]]

    def _add_nucleus(self, spot: Spot, cell_class: str, dye: float) -> bool:
        """Dye a nucleus and write it down, unless it is tiny, would cover another or leave its tissue."""
        home = GLAND if cell_class == "epithelial" else STROMA
        free = (self.instances[spot] == 0) & (self.regions[spot] == home)
        if len(free) < 12 or free.mean() < 0.97:
            return False
        rows, columns = spot[0][free], spot[1][free]
        self.cells.append((cell_class, float(columns.mean()), float(rows.mean())))
        self.instances[rows, columns] = len(self.cells)
        self.haematoxylin[rows, columns] = dye
        self.eosin[rows, columns] = 0.22
        return True

    def add_lymphocytes(self) -> None:
        """Round dark nuclei in loose clusters between the glands."""
        room = self._room_um(4.5)
        for _ in range(max(3, int(self.regions.size * self.mpp**2 / 9000))):
            y, x = self.rng.uniform(0, self.size_px, 2)
            for _ in range(self.rng.integers(2, 16)):
                at = self.rng.normal((y, x), 11 / self.mpp)
                if self._is_inside(at) and room[int(at[0]), int(at[1])]:
                    size = self.rng.normal(3.0, 0.25)
                    spot = self._spot(at[0], at[1], self.rng.uniform(0, 3.1), size, size * self.rng.uniform(0.85, 1))
                    self._add_nucleus(spot, "inflammatory", self.rng.normal(1.0, 0.08))

    def add_fibroblasts(self) -> None:
        """Spindle-shaped nuclei along the fibres."""
        room = self._room_um(3.0)
        for _ in range(int(self.regions.size * self.mpp**2 / 300)):
            at = self.rng.uniform(0, self.size_px, 2)
            if self._is_inside(at) and room[int(at[0]), int(at[1])]:
                angle = float(self.flow[int(at[0]), int(at[1])] + self.rng.normal(0, 0.15))
                spot = self._spot(at[0], at[1], angle, self.rng.normal(6.0, 1.0), self.rng.normal(1.6, 0.2))
                self._add_nucleus(spot, "fibroblast", self.rng.normal(0.85, 0.08))

    def _room_um(self, margin_um: float) -> NDArray[np.bool_]:
        """Stroma at least this far from glands and glass."""
        from scipy import ndimage

        room: NDArray[np.bool_] = ndimage.distance_transform_edt(self.regions == STROMA) * self.mpp > margin_um
        return room

    def _is_inside(self, at: Floats) -> bool:
        return bool((at >= 0).all() and (at < self.size_px).all())

    def finish(self) -> Phantom:
        """The picture through a microscope: chromatin, blur, light, camera noise."""
        from scipy import ndimage

        nuclei = self.instances > 0
        rim = nuclei & ~ndimage.binary_erosion(nuclei, iterations=max(1, round(0.5 / self.mpp)))
        chromatin = 1 + 0.16 * self.smooth(0.9 / self.mpp) + 0.18 * rim
        haematoxylin = np.where(nuclei, self.haematoxylin * np.clip(chromatin, 0.3, None), self.haematoxylin)
        sigma_px = 0.45 / self.mpp
        haematoxylin, eosin = (ndimage.gaussian_filter(dye, sigma_px) for dye in (haematoxylin, self.eosin))
        density = haematoxylin[..., None] * _HAEMATOXYLIN + eosin[..., None] * _EOSIN
        light = np.array([243.0, 241.0, 244.0]) * 10.0**-density
        light += 1.6 * self.rng.standard_normal(light.shape)
        areas = np.bincount(self.instances.ravel(), minlength=len(self.cells) + 1)
        cells = tuple(
            PhantomCell(k, cell_class, round(x, 2), round(y, 2), int(areas[k]))
            for k, (cell_class, x, y) in enumerate(self.cells, 1)
        )
        image = np.clip(np.rint(light), 0, 255).astype(np.uint8)
        return Phantom(image, self.regions, self.instances, cells, self.mpp)
