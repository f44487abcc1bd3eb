"""Making and dressing the layers that show a project: pixels, labels, marks of what was edited."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_histoseg.core.box import Box
from napari_histoseg.core.image import ImageRef, image_from_array
from napari_histoseg.core.schema import IGNORE, LabelSchema

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Points
    from napari.utils.colormaps import DirectLabelColormap

MAX_SIDE_PX = 8192
"""Labels of larger images do not fit a texture of common graphics drivers and are not painted in one piece."""

METADATA = "histoseg"
"""Key of our entry in ``layer.metadata``."""

_MICROMETRES = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}
_EDIT_COLORS: dict[int | None, str] = {1: "#F0E442", 2: "#009E73"}
_CHUNK_PX = 1024


def image_ref(layer: Image) -> ImageRef:
    """Reference to the pixels of an image layer, with µm per pixel when the layer's units tell it.

    Raises
    ------
    InputError
        When the layer holds nothing that can be segmented.
    """
    known = layer.metadata.get(METADATA, {}).get("ref")
    if isinstance(known, ImageRef):
        return known
    path = layer.source.path
    ref = image_from_array(layer.data, name=layer.name, rgb=layer.rgb, path=None if path is None else str(path))
    mpp = layer_mpp(layer)
    return ref if mpp is None else ref.with_mpp(mpp)


def layer_mpp(layer: Image) -> float | None:
    """µm per pixel by the layer's own scale and units; None when it has none or its pixels are not square."""
    told = layer.metadata.get(METADATA, {}).get("mpp")
    if told is not None:
        return float(told)
    factors = [_MICROMETRES.get(str(unit)) for unit in layer.units[-2:]]
    if None in factors:
        return None
    sides = [abs(float(s)) * float(f or 0) for s, f in zip(layer.scale[-2:], factors, strict=True)]
    return sides[0] if 0 < sides[0] <= 100 and np.isclose(sides[0], sides[1], rtol=0.01) else None


def image_layer_data(ref: ImageRef) -> tuple[Any, dict[str, Any], str]:
    """Pixels and settings of an image layer, lazily when it is large, in µm when they are known, as napari takes them.

    Returns
    -------
    tuple of (array or list of arrays, dict, "image")
    """
    data: Any = [_lazy(ref, level) for level in range(len(ref.levels))]
    if len(data) == 1:
        data = data[0] if max(ref.shape) > MAX_SIDE_PX else ref.read(0, Box.of_shape(ref.shape))
    settings: dict[str, Any] = {"name": ref.name, "rgb": True, "metadata": {METADATA: {"ref": ref}}}
    if ref.mpp is not None:
        settings |= {"scale": (ref.mpp, ref.mpp), "units": ("um", "um")}
    return data, settings, "image"


def add_image_layer(viewer: ViewerModel, ref: ImageRef) -> Image:
    """Show an image of the project."""
    data, settings, _ = image_layer_data(ref)
    return viewer.add_image(data, **settings)


def _lazy(ref: ImageRef, level: int) -> Any:
    import dask.array as da

    height, width = ref.levels[level]

    def read(block_info: Any = None) -> NDArray[np.uint8]:
        (y0, y1), (x0, x1) = block_info[None]["array-location"][:2]
        return ref.read(level, Box(y0, x0, y1, x1))

    rows, columns = (
        tuple(min(_CHUNK_PX, side - start) for start in range(0, side, _CHUNK_PX)) for side in (height, width)
    )
    return da.map_blocks(read, chunks=(rows, columns, (3,)), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))


def _place_of(layer: Image | Labels) -> dict[str, Any]:
    """The settings that put another layer into the same place of the world."""
    return {name: getattr(layer, name) for name in ("scale", "translate", "rotate", "shear", "affine", "units")}


def add_labels_layer(viewer: ViewerModel, source: Image, labels: NDArray[np.uint8], *, name: str) -> Labels:
    """A labels layer right above its image and in the same place of the world; other layers stay where they are."""
    layer = viewer.add_labels(
        labels,
        name=name,
        opacity=0.5,
        **_place_of(source),
    )
    viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(source) + 1)
    return layer


def add_edits_layer(viewer: ViewerModel, labels: Labels, state: NDArray[np.uint8], *, name: str) -> Labels:
    """Outlines of edited (yellow) and verified (green) regions, above the labels; it cannot be painted on."""
    from napari.utils.colormaps import DirectLabelColormap

    colors: dict[int | None, str] = {0: "transparent", None: "transparent"}
    colors.update(_EDIT_COLORS)
    layer = viewer.add_labels(
        state,
        name=name,
        opacity=1.0,
        colormap=DirectLabelColormap(color_dict=colors),
        features={"index": [0, 1, 2], "pixels": ["unreviewed", "edited", "verified"]},
        **_place_of(labels),
        metadata={METADATA: {"shows": "edits"}},
    )
    layer.contour = max(1, round(2 / (viewer.camera.zoom * float(np.min(np.abs(labels.scale))))))
    layer.editable = False
    viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(labels) + 1)
    return layer


def add_cells_layer(viewer: ViewerModel, source: Image, codes: NDArray[np.uint16], image_id: str) -> Labels:
    """A layer for the cells of an image, on top and in the same place of the world; it cannot be painted on."""
    layer = viewer.add_labels(
        codes,
        name=f"{source.name} – cells",
        opacity=1.0,
        **_place_of(source),
        metadata={METADATA: {"image": image_id, "shows": "cells"}},
    )
    layer.editable = False
    return layer


def add_points_layer(viewer: ViewerModel, source: Image, side_px: float, *, name: str) -> Points:
    """An empty layer of points above all others, in the same place of the world as an image."""
    return viewer.add_points(
        np.empty((0, 2)),
        name=name,
        size=side_px,
        border_width=0.05,
        border_color="white",
        face_color="white",
        metadata={METADATA: {"shows": "points"}},
        **_place_of(source),
    )


def class_colormap(schema: LabelSchema, hidden: Collection[int] = ()) -> DirectLabelColormap:
    """Colours of the classes; ``IGNORE`` and hidden classes are transparent.

    The background value, which napari's eraser paints, is class 0 where the schema has one, else ``IGNORE``.
    """
    from napari.utils.colormaps import DirectLabelColormap

    colors: dict[int | None, Any] = {c.id: "transparent" if c.id in hidden else c.color for c in schema.classes}
    colors |= {IGNORE: "transparent", None: "transparent"}
    return DirectLabelColormap(color_dict=colors, background_value=0 if 0 in schema else IGNORE)


def class_features(schema: LabelSchema) -> dict[str, list[Any]]:
    """The table that makes napari show the class name under the pointer."""
    return {
        "index": [*schema.ids, IGNORE],
        "class": [*(c.name for c in schema.classes), "not segmented"],
    }


def visible_box(layer: Image | Labels, shape: tuple[int, int]) -> Box | None:
    """What of an array of ``shape`` is on screen, in its pixels; None when nothing is."""
    (y0, x0), (y1, x1) = (corner[-2:] for corner in layer.corner_pixels)
    factor = layer.downsample_factors[layer.data_level][-2:] if layer.multiscale else (1, 1)
    box = Box(int(y0 * factor[0]), int(x0 * factor[1]), int((y1 + 1) * factor[0]), int((x1 + 1) * factor[1])).clip(
        shape
    )
    return None if box.area <= 1 else box
