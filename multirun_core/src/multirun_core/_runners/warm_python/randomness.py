"""Which random numbers all forks would share."""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEEP = 8  # how far above a generator the module is looked for that holds it
_SEED_BITS = 64  # who seeds by hand has fewer
_FRAME = type(sys._getframe())  # pyright: ignore[reportPrivateUsage] - older ones show up
_defaults: list[Any] = []


def renew() -> None:
    """Seed anew what a fresh process seeds from the system."""
    for one in _own():  # the module `random` sees to itself
        if hasattr(one, "seed"):
            one.seed()
        else:
            one._bit_generator.state = type(one._bit_generator)().state


def made() -> str | None:
    """Return who holds a generator that an import has made, or the seeds of one; None if nobody."""
    if not _generators():
        return None
    gc.collect()  # what nobody has any more is drawn from by nobody
    _find_defaults()
    for one in _generators():
        return _holder(one)
    return None


def _own() -> list[Any]:
    own: Any = getattr(sys.modules.get("numpy.random"), "mtrand", None)
    return _defaults if own is None else [own._rand, *_defaults]


def _find_defaults() -> None:
    """Find defaults of arguments that the system has seeded; scikit-learn has some.

    No object of Python's refers to those of an extension.
    """
    numpy: Any = sys.modules.get("numpy.random")
    kinds = [getattr(numpy, name, None) for name in ("RandomState", "Generator")]
    known = set(map(id, _own()))
    there: list[Any] = gc.get_objects()
    for one in there:
        if type(one) in kinds and id(one) not in known:
            seeds: Any = getattr(one._bit_generator, "_seed_seq", None)
            entropy: Any = getattr(seeds, "entropy", None)
            if type(entropy) is int and entropy.bit_length() > _SEED_BITS:
                holders: list[Any] = gc.get_referrers(one)
                if all(holder is there or _of_arguments(holder) for holder in holders):
                    _defaults.append(one)


def _of_arguments(holder: Any) -> bool:
    """Whether it is a frame of our own, or the defaults of a function."""
    functions: list[Any] = gc.get_referrers(holder)
    return type(holder) is _FRAME or any(
        type(one) is type(made) and (holder is one.__defaults__ or holder is one.__kwdefaults__)
        for one in functions
    )


def _generators() -> list[object]:
    """Return all generators there are, but for those that each run seeds anew."""
    random: Any = sys.modules.get("random")
    numpy: Any = sys.modules.get("numpy.random")
    safe: Any = getattr(random, "SystemRandom", ())
    kinds: list[type] = [random.Random] if safe else []
    for name in ("RandomState", "Generator", "BitGenerator", "SeedSequence"):
        kinds += [kind] if (kind := getattr(numpy, name, None)) is not None else []
    there: list[Any] = gc.get_objects()
    suspect = {
        kind
        for kind in set(map(type, there))
        if issubclass(kind, tuple(kinds)) and not issubclass(kind, safe)
    }
    if not suspect:
        return []
    own: list[object] = [getattr(random, "_inst", None)]
    for one in _own():
        bits = getattr(one, "_bit_generator", None)
        own += [one, bits, getattr(bits, "_seed_seq", None)]
    # Names of temporary files: each process makes a generator of its own.
    names: Any = getattr(sys.modules.get("tempfile"), "_RandomNameSequence", None)
    own += [getattr(one, "_rng", None) for one in there if type(one) is names]
    return [one for one in there if type(one) in suspect and not any(one is other for other in own)]


def _holder(one: object) -> str:
    """Return the name in a module that refers to it, directly or not; else its kind."""
    spaces: dict[int, str] = {}
    for name, module in list(sys.modules.items()):
        if isinstance(module, type(sys)):
            spaces[id(vars(module))] = name
    seen = {id(spaces)}
    holders: list[Any] = [one]
    for _ in range(_DEEP):
        held = set(map(id, holders))
        seen |= {id(holders), *held}
        upper: list[Any] = gc.get_referrers(*holders)
        for space in upper:
            if id(space) in spaces:
                for name, value in space.items():
                    if id(value) in held:
                        return f"{spaces[id(space)]}.{name}"
        holders = [holder for holder in upper if id(holder) not in seen]
    return type(one).__name__


class Watch:
    """Notes the state of generators of random numbers as they come to be."""

    _WATCHED = ("random", "numpy.random.mtrand")

    def __init__(self) -> None:
        self._states: dict[str, object] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self._WATCHED:
            return None
        for finder in sys.meta_path:
            spec: Any = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Noting(spec, self._states)
                return spec
        return None

    def changed(self) -> list[str]:
        """Return the modules whose own generator was seeded or drawn from since."""
        return [name for name, state in self._states.items() if _state(name) != state]


class _Noting:
    """Loads a module, then notes its state."""

    def __init__(self, spec: Any, states: dict[str, object]) -> None:
        self._spec = spec
        self._loader = spec.loader
        self._states = states

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = self._spec.loader = self._loader
        self._loader.exec_module(module)
        self._states[module.__name__] = _state(module.__name__)


def _state(name: str) -> object:
    module: Any = sys.modules[name]
    if name == "random":
        return module.getstate()
    _, keys, *rest = module._rand.get_state()
    return keys.tobytes(), rest
