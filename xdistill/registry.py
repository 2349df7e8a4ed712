"""Names of encoders, projectors, losses, modalities, datasets and settings, plugins' included.

A plugin package publishes objects through entry points, one group for each kind:

    [project.entry-points."xdistill.losses"]
    my_loss = "my_package.losses:MyLoss"

The entry point is listed at once and imported only when the name is asked for, so that a plugin
costs nothing until it is used and a broken one breaks only its own name.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from torch import nn

    from xdistill.data.cards import DatasetCard
    from xdistill.data.splits import Splits
    from xdistill.experiment.setting import Setting
    from xdistill.losses.parts.loss import Loss
    from xdistill.modalities import Modality
    from xdistill.types import EncoderModule

T = TypeVar("T")
Registered = TypeVar("Registered")


@dataclass(frozen=True)
class _Entry:
    """One name: either the object itself or the entry point that leads to it."""

    provider: str
    target: Any
    modality: str | None = None

    @property
    def lazy(self) -> bool:
        return isinstance(self.target, EntryPoint)

    def leads_to(self, target: Any) -> bool:
        """Whether it is the object, or the entry point that names the object."""
        if not self.lazy:
            return self.target is target
        place = (getattr(target, "__module__", None), getattr(target, "__qualname__", None))
        return place == (self.target.module, self.target.attr)


class Registry(Generic[T]):
    """Maps explicit names to objects of one kind.

    Args:
        kind: what an entry is, in the singular ("loss"); used in messages.
        group: entry-point group that plugins use ("xdistill.losses").
        builtin: modules that register our own entries when they are imported.
    """

    def __init__(self, kind: str, group: str, builtin: tuple[str, ...] = ()):
        self.kind = kind
        self.group = group
        self._builtin = builtin
        self._entries: dict[str, list[_Entry]] = {}
        self._broken: dict[str, str] = {}
        self._prefixes: dict[str, Callable[..., Any]] = {}
        self._loaded_builtin = False

    def register(
        self, name: str, *, modality: str | None = None, provider: str | None = None
    ) -> Callable[[Registered], Registered]:
        """Decorator that gives an object a name. A second object under the name is an error.

        Args:
            name: the name.
            modality: what the object is made for, where listings can filter by it.
            provider: the module that provides it; the object's `__module__` when None.
        """
        given = provider

        def decorate(target: Registered) -> Registered:
            provider = given or str(getattr(target, "__module__", "?"))
            if not provider.startswith(self._builtin):
                self._load()  # ours come first, so that the clash is told here and now
            present = self._entries.get(name, [])
            if any(entry.leads_to(target) for entry in present):
                return target
            if present:
                raise ValueError(
                    f"{self.kind} {name!r} from {provider} is already registered by "
                    f"{present[0].provider}; choose another name"
                )
            self._entries[name] = [_Entry(provider, target, modality)]
            return target

        return decorate

    def register_prefix(self, prefix: str) -> Callable[[Registered], Registered]:
        """Decorator: the object serves every name "prefix/rest" as `create(rest, **options)`."""

        def decorate(create: Registered) -> Registered:
            self._prefixes[prefix] = create  # type: ignore[assignment]
            return create

        return decorate

    def prefixes(self) -> list[str]:
        """The libraries whose models go by "prefix/name"."""
        self._load()
        return sorted(self._prefixes)

    def list(self, *, modality: str | None = None) -> list[str]:
        """All names in alphabetical order, plugins included, without importing any plugin.

        Args:
            modality: only the entries made for this modality; a plugin's entry has to be imported
                to tell, and one that fails to import is left out.
        """
        self._load()
        if modality is None:
            return sorted(self._entries)
        return sorted(name for name in self._entries if self._modality(name) == modality)

    def broken(self) -> dict[str, str]:
        """The names that cannot be used and why, as far as they have been tried."""
        self._load()
        clashes = {
            name: self._clash(name) for name, found in self._entries.items() if len(found) > 1
        }
        return {**self._broken, **clashes}

    def provider(self, name: str) -> str:
        """The package (or module) that provides a name."""
        self._load()
        return " and ".join(entry.provider for entry in self._entries[name])

    def get(self, name: str) -> T:
        """The object behind a name, imported if need be.

        Raises:
            ValueError: unknown name (with the near ones), or two packages provide it.
            ImportError: the plugin behind the name cannot be imported.
        """
        self._load()
        prefix, _, rest = name.partition("/")
        if rest and prefix in self._prefixes:
            return partial(self._prefixes[prefix], rest)  # type: ignore[return-value]
        if name not in self._entries:
            raise ValueError(self._unknown(name))
        if len(self._entries[name]) > 1:
            raise ValueError(self._clash(name))
        (entry,) = self._entries[name]
        if entry.lazy:
            entry = _Entry(entry.provider, self._import(name, entry), entry.modality)
            self._entries[name] = [entry]
        return entry.target

    def _import(self, name: str, entry: _Entry) -> T:
        try:
            return entry.target.load()
        except Exception as error:
            self._broken[name] = f"{type(error).__name__}: {error}"
            raise ImportError(
                f"{self.kind} {name!r} is provided by {entry.provider}, which failed to load "
                f"({type(error).__name__}: {error}); repair or uninstall that package"
            ) from error

    def _modality(self, name: str) -> str | None:
        if len(self._entries[name]) > 1:
            return None
        (entry,) = self._entries[name]
        if entry.modality is None:
            try:
                return getattr(self.get(name), "modality", None)
            except ImportError:
                return None
        return entry.modality

    def _load(self) -> None:
        if not self._loaded_builtin:
            self._loaded_builtin = True  # set first: our modules register while they are imported
            for module in self._builtin:
                importlib.import_module(module)
            for point in entry_points(group=self.group):
                package = point.dist.name if point.dist is not None else point.value
                self._entries.setdefault(point.name, []).append(_Entry(package, point))

    def _clash(self, name: str) -> str:
        providers = " and ".join(entry.provider for entry in self._entries[name])
        return (
            f"{self.kind} {name!r} is provided by {providers}; uninstall one of them or have it "
            "renamed"
        )

    def _unknown(self, name: str) -> str:
        prefix = name.partition("/")[0]
        known = sorted(self._entries)
        near = near_names(name, known)
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"known: {known}"
        if "/" in name:
            hint = f"no provider {prefix!r}; providers: {sorted(self._prefixes)}"
        return f"unknown {self.kind} {name!r}; {hint}"


def near_names(name: str, known: list[str], count: int = 3) -> list[str]:
    """The known names most like a mistyped one, letters in a wrong order included."""

    def likeness(other: str) -> float:
        as_typed = difflib.SequenceMatcher(None, name, other).ratio()
        by_letters = difflib.SequenceMatcher(None, sorted(name), sorted(other)).ratio()
        return (as_typed + by_letters) / 2

    near = [other for other in known if likeness(other) >= 0.6]
    return sorted(near, key=likeness, reverse=True)[:count]


modalities: Registry[Modality] = Registry(
    "modality", "xdistill.modalities", ("xdistill.modalities",)
)
encoders: Registry[Callable[..., EncoderModule]] = Registry(
    "encoder", "xdistill.encoders", ("xdistill.encoders",)
)
projectors: Registry[Callable[..., nn.Module]] = Registry(
    "projector", "xdistill.projectors", ("xdistill.projectors",)
)
losses: Registry[type[Loss]] = Registry("loss", "xdistill.losses", ("xdistill.losses",))
datasets: Registry[Callable[..., Splits]] = Registry(
    "dataset", "xdistill.datasets", ("xdistill.data.adapters",)
)
settings: Registry[Setting] = Registry(
    "setting", "xdistill.settings", ("xdistill.experiment.settings",)
)


def register_modality(modality: T) -> T:
    """Register a Modality under its own name."""
    return modalities.register(modality.name)(modality)  # type: ignore[attr-defined]


def register_encoder(name: str, *, modality: str | None = None) -> Callable[[T], T]:
    """Register an encoder class or factory; `modality` lets listings filter it.

    Raises:
        ValueError: the modality is not registered, or the name is taken.
    """
    if modality is not None and modality not in modalities.list():
        raise ValueError(
            f"encoder {name!r} is registered for an unknown modality {modality!r}; known: "
            f"{', '.join(modalities.list())}. Register another with xd.register_modality first"
        )
    return encoders.register(name, modality=modality)


def register_projector(name: str) -> Callable[[T], T]:
    """Register a factory `(in_dim, out_dim, **options) -> nn.Module`."""
    return projectors.register(name)


def register_loss(name: str) -> Callable[[T], T]:
    """Register a subclass of Loss."""
    return losses.register(name)


def register_dataset(card: DatasetCard | str) -> Callable[[T], T]:
    """Register a factory of paired datasets.

    Args:
        card: the data set's card, whose name is the factory's; `xdistill datasets` lists it. It
            becomes the factory's attribute `card`, which a factory behind an entry point may have
            as well. A data set without a card has a name alone.
    """
    name = card if isinstance(card, str) else card.name

    def decorate(factory: T) -> T:
        factory.card = None if isinstance(card, str) else card  # type: ignore[attr-defined]
        return datasets.register(name)(factory)

    return decorate


def create_encoder(name: str, **options: Any) -> EncoderModule:
    """Make an encoder: one of ours, of another library's, or a plugin's.

    `xdistill list encoders` prints all names, `xdistill list encoders NAME` the options of one.

    Args:
        name: "video_small", "timm/resnet18", "torchvision/mc3_18", "braindecode/EEGNet",
            "hf/<local folder>", …; see `list_encoders`.
        options: the encoder's own. Nearly all take `num_classes` (None for no classifier),
            `in_channels` and `modality`, and ours `dim` and `dropout`.

    Raises:
        ValueError: unknown name (with the near ones), or a value that the encoder does not take.
        TypeError: an option that the encoder does not have; the message lists those it has.
        ImportError: the library that the encoder needs is missing; the message names the extra.
    """
    create = encoders.get(name)
    try:
        return create(**options)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise TypeError(
            f"encoder {name!r} was created with options that it does not take ({error}); its "
            f"options: {', '.join(options_of(create))}"
        ) from error


def options_of(create: Callable[..., Any]) -> list[str]:
    """The options of a factory as "name=default", then the names of those that it passes on."""
    bound = create.args if isinstance(create, partial) else ()
    function = create.func if isinstance(create, partial) else create
    signature = inspect.signature(function, eval_str=False)
    found, passes_on = {}, False
    for option in list(signature.parameters.values())[len(bound) :]:
        if option.kind is option.VAR_KEYWORD:
            passes_on = True
        else:
            default = "" if option.default is option.empty else f"={option.default!r}"
            found[option.name] = option.name + default
    inner = getattr(function, "passes_options_to", None)
    if inner is None and passes_on and isinstance(signature.return_annotation, str):
        inner = getattr(inspect.unwrap(function), "__globals__", {}).get(
            signature.return_annotation
        )
    if passes_on and inner is not None:
        names = [one.partition("=")[0] for one in options_of(inner)]
        found |= {one: one for one in names if one not in found}  # it may pass other defaults on
    elif passes_on:
        found["…"] = "and those of the model behind it"
    return list(found.values())


def create_projector(name: str, in_dim: int, out_dim: int, **options: Any) -> nn.Module:
    """Make a projector [B, in_dim] -> [B, out_dim]."""
    return projectors.get(name)(in_dim, out_dim, **options)


def create_loss(name: str, **options: Any) -> Loss:
    """Make a loss."""
    return losses.get(name)(**options)


def create_dataset(name: str, **options: Any) -> Splits:
    """Make the paired datasets of a benchmark: three parts that share no subject."""
    return datasets.get(name)(**options)


def list_modalities() -> list[str]:
    """Names of all modalities."""
    return modalities.list()


def list_encoders(modality: str | None = None) -> list[str]:
    """Names of all encoders, or of those for one modality."""
    return encoders.list(modality=modality)


def list_projectors() -> list[str]:
    """Names of all projectors."""
    return projectors.list()


def list_losses() -> list[str]:
    """Names of all losses."""
    return losses.list()


def list_datasets() -> list[str]:
    """Names of all datasets."""
    return datasets.list()


def list_settings() -> list[str]:
    """Names of all settings of experiments."""
    return settings.list()
