"""The models that can be chosen, known without importing torch.

A model is one file in ``models/zoo/`` (or a module that another package names in the entry-point group
``napari_histoseg.models``)::

    from torch import nn

    from napari_histoseg.core.schemas import BCSS5
    from napari_histoseg.models.registry import register
    from napari_histoseg.models.spec import ModelSpec

    SPEC = ModelSpec(id="segformer_b0", classes=BCSS5.classes, ...)


    class SegFormer(nn.Module): ...


    @register(SPEC)
    def build(num_classes: int, *, width: int = 32) -> nn.Module:
        return SegFormer(num_classes, width)

Listing models must be quick, since a panel does it when it opens, while importing torch takes seconds. So the registry
reads only the *head* of such a file: the statements above its first function or class, without imports of anything
but the standard library and this package's light rooms (``core``, ``models.spec``). The specs must therefore stand in
the head and use nothing else. The file itself is imported when a network is built. A file may hold further
specs, for example ``TIED = replace(SPEC, id="...", variant={"tied": True})`` with ``@register(SPEC, TIED)``: each is
listed, and ``build`` receives its ``variant``.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from napari_histoseg.core.errors import ModelError
from napari_histoseg.core.suggestion import suggestion
from napari_histoseg.models import context, zoo
from napari_histoseg.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    Builder = Callable[..., nn.Module]

GROUP = "napari_histoseg.models"
"""Entry-point group through which other packages add model modules."""

_LIGHT_ROOMS = ("napari_histoseg.core", "napari_histoseg.models.spec", "napari_histoseg.models.registry")

_builders: dict[str, Builder] = {}


def register(*specs: ModelSpec) -> Callable[[Builder], Builder]:
    """Decorator for ``build(num_classes, **variant) -> nn.Module`` that makes it the builder of ``specs``."""

    def remember(build: Builder) -> Builder:
        for spec in specs:
            _builders[spec.id] = build
        return build

    return remember


@dataclass(frozen=True)
class RegisteredModel:
    """A spec and the module that builds it."""

    spec: ModelSpec
    module: str

    def build(self, num_classes: int | None = None, **variant: Any) -> nn.Module:
        """A new network with random weights, in training mode.

        Parameters
        ----------
        num_classes : int, optional
            Number of output channels; by default one for each class of the spec.
        **variant
            Options that replace those of ``spec.variant``. Besides those of its builder every network that makes maps
            of images of any size has ``context_margin``, see `models.context`.

        Raises
        ------
        ModelError
            When an option does not exist or the module cannot be imported.
        """
        build = self._builder()
        options = {**self.spec.variant, **variant}
        unknown = sorted(set(options) - set(self.options()))
        if unknown:
            known = ", ".join(self.options()) or "none"
            raise ModelError(f"Model '{self.spec.id}' has no option '{unknown[0]}'; its options are: {known}.")
        margin_px = options.pop(context.OPTION, 0)
        network = build(len(self.spec.classes) if num_classes is None else num_classes, **options)
        return context.with_context(network, margin_px)

    def options(self) -> tuple[str, ...]:
        """Names of the options that `build` takes, in alphabetic order; errors are those of `build`."""
        own = self._builder().__kwdefaults__ or {}
        return tuple(sorted([*own, context.OPTION] if context.takes_context(self.spec) else own))

    def _builder(self) -> Builder:
        try:
            importlib.import_module(self.module)
        except ImportError as error:
            raise ModelError(
                f"Model '{self.spec.id}' needs a package that cannot be imported ({error}); install it."
            ) from error
        if self.spec.id not in _builders:
            raise ModelError(f"Nothing in '{self.module}' builds model '{self.spec.id}'; add @register to its builder.")
        return _builders[self.spec.id]


def list_models() -> tuple[RegisteredModel, ...]:
    """All models, those of this package first; torch is not imported."""
    return tuple(_models().values())


def get_model(model_id: str) -> RegisteredModel:
    """The model of that id; ``ModelError`` names the nearest when there is none."""
    models = _models()
    if model_id in models:
        return models[model_id]
    raise ModelError(f"There is no model '{model_id}'; {suggestion(model_id, models)}")


@cache
def _models() -> dict[str, RegisteredModel]:
    models: dict[str, RegisteredModel] = {}
    for module in _module_names():
        for spec in read_specs(module):
            models.setdefault(spec.id, RegisteredModel(spec, module))
    return models


def _module_names() -> Iterator[str]:
    for info in sorted(pkgutil.iter_modules(zoo.__path__), key=lambda info: info.name):
        if not info.name.startswith("_"):
            yield f"{zoo.__name__}.{info.name}"
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        yield entry.module


def read_specs(module: str) -> tuple[ModelSpec, ...]:
    """The specs in the head of a model module, which is not imported.

    Raises
    ------
    ModelError
        When the module is missing or its head holds no spec or cannot stand alone.
    """
    found = importlib.util.find_spec(module)
    get_source = getattr(found.loader if found else None, "get_source", None)
    source = get_source(module) if get_source else None
    if source is None:
        raise ModelError(f"The model module '{module}' has no readable source; reinstall the package it belongs to.")
    namespace: dict[str, Any] = {"__name__": f"{module}.head"}
    head = ast.Module(body=list(_head(ast.parse(source))), type_ignores=[])
    try:
        exec(compile(head, f"{module} (head)", "exec"), namespace)
    except (NameError, AttributeError, ImportError, TypeError, ValueError) as error:
        raise ModelError(
            f"The specs of '{module}' need more than the standard library and napari_histoseg ({error}); "
            "put what needs other packages below the first class or function."
        ) from error
    specs = tuple(value for value in namespace.values() if isinstance(value, ModelSpec))
    if not specs:
        raise ModelError(f"The model module '{module}' has no SPEC above its first class or function; add one.")
    return specs


def _head(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements above the first definition, without imports of what may be heavy."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            return
        if isinstance(node, ast.ImportFrom) and not _is_light(node.module or ""):
            continue
        if isinstance(node, ast.Import) and not all(_is_light(name.name) for name in node.names):
            continue
        yield node


def _is_light(module: str) -> bool:
    is_own = any(module == room or module.startswith(f"{room}.") for room in _LIGHT_ROOMS)
    return is_own or module.partition(".")[0] in sys.stdlib_module_names
