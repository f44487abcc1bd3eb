"""Regions of a label array as polygons along pixel edges: exact, so that filling them gives the labels back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.schema import LabelSchema

Ring = list[tuple[int, int]]
"""Closed outline as (x, y) pixel corners; the last point repeats the first."""

Run = tuple[int, tuple[int, int], tuple[int, int]]

_STRIP_PX = 1024


def feature_collection(labels: NDArray[np.uint8], schema: LabelSchema) -> dict[str, Any]:
    """GeoJSON of every connected region, in full-resolution pixels, x before y, as QuPath reads it.

    Parameters
    ----------
    labels : ndarray of uint8, shape (H, W)
        Class ids; 255 belongs to no region.
    schema : LabelSchema
    """
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": rings},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": c.name, "color": list(c.rgb)},
            },
        }
        for c in schema.classes
        for rings in polygons(labels == c.id)
    ]
    return {"type": "FeatureCollection", "features": features}


def polygons(mask: NDArray[np.bool_]) -> list[list[Ring]]:
    """Polygons of the 4-connected regions of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)

    Returns
    -------
    list of polygons
        Each a list of rings: the outline, then its holes. No ring touches itself, as the OGC standard demands.
    """
    from scipy import ndimage

    components, n = ndimage.label(mask)
    outlines: list[list[Ring]] = [[] for _ in range(n)]
    for component, ring in _rings(components):
        outlines[component - 1].append(ring)
    return [sorted(rings, key=_area, reverse=True) for rings in outlines]


def object_polygons(instances: NDArray[np.uint32]) -> dict[int, list[list[Ring]]]:
    """Polygons of each object of an instance map, by its number; see `polygons`.

    Parameters
    ----------
    instances : ndarray of uint32, shape (H, W)
        0 belongs to no object.
    """
    outlines: dict[int, list[Ring]] = defaultdict(list)
    for number, ring in _rings(instances.astype(np.int32)):
        outlines[number].append(ring)
    return {
        number: [rings] if len(rings) == 1 else _parted(instances, number, rings) for number, rings in outlines.items()
    }


def _parted(instances: NDArray[np.uint32], number: int, rings: list[Ring]) -> list[list[Ring]]:
    """Polygons of an object with holes or in several pieces."""
    corners = np.array([corner for ring in rings for corner in ring])
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    parts = polygons(instances[y0:y1, x0:x1] == number)
    return [[[(x + x0, y + y0) for x, y in ring] for ring in part] for part in parts]


def _rings(components: NDArray[np.int32]) -> list[tuple[int, Ring]]:
    """Every simple ring with the component it bounds, the component on the right of the way (y points down)."""
    found: list[tuple[int, Ring]] = []
    starts: dict[tuple[int, tuple[int, int]], list[tuple[int, int]]] = defaultdict(list)
    for component, begin, end in _runs(components):
        starts[component, begin].append(end)
    while starts:
        component, first = next(iter(starts))
        way, seen = [first], {first: 0}
        while True:
            ends = starts[component, way[-1]]
            point = ends.pop()
            if not ends:
                del starts[component, way[-1]]
            if point in seen:  # a ring is complete; what came before it goes on
                at = seen[point]
                found.append((component, [*way[at:], point]))
                for passed in way[at + 1 :]:
                    del seen[passed]
                del way[at + 1 :]
                if at == 0:
                    break
            else:
                seen[point] = len(way)
                way.append(point)
    return found


def _runs(components: NDArray[np.int32]) -> Iterator[Run]:
    """Straight pieces of all outlines: (component, begin, end) in (x, y), the component on the right.

    Strip by strip, so that the memory stays small; an upright piece ends where its strip does.
    """
    height, width = components.shape
    for top in range(0, height, _STRIP_PX):
        bottom = min(top + _STRIP_PX, height)
        strip = np.zeros((bottom - top + 2, width + 2), np.int32)
        strip[1:-1, 1:-1] = components[top:bottom]
        if top > 0:
            strip[0, 1:-1] = components[top - 1]
        last = len(strip) if bottom == height else len(strip) - 1  # the next strip has the line between both
        above, below = strip[: last - 1, 1:-1], strip[1:last, 1:-1]
        left, right = strip[1:-1, :-1], strip[1:-1, 1:]
        for y, start, stop, component in _lines(np.where(below != above, below, 0)):
            yield component, (start, y + top), (stop, y + top)
        for y, start, stop, component in _lines(np.where(below != above, above, 0)):
            yield component, (stop, y + top), (start, y + top)
        for x, start, stop, component in _lines(np.where(left != right, left, 0).T):
            yield component, (x, start + top), (x, stop + top)
        for x, start, stop, component in _lines(np.where(left != right, right, 0).T):
            yield component, (x, stop + top), (x, start + top)


def _lines(edges: NDArray[np.int32]) -> list[tuple[int, int, int, int]]:
    """(row, start, stop, value) of each run of an equal non-zero value along the rows."""
    padded = np.pad(edges, ((0, 0), (1, 1)))
    change = padded[:, 1:] != padded[:, :-1]
    begins = change & (padded[:, 1:] != 0)
    ends = change & (padded[:, :-1] != 0)
    rows, first = np.nonzero(begins)
    _, last = np.nonzero(ends)
    values = edges[rows, first]
    return list(zip(rows.tolist(), first.tolist(), last.tolist(), values.tolist(), strict=True))


def _area(ring: Ring) -> float:
    """Signed area in pixels, positive for an outline and negative for a hole."""
    points = np.asarray(ring, np.int64)
    x, y = points[:, 0], points[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
