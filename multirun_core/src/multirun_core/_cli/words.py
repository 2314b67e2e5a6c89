"""What is written behind `-i`, `--env` and `-R`."""

from __future__ import annotations

from typing import Any

from multirun_core.errors import UsageError

_LINKAGES = ("copy", "shared", "link")


def parse_input(text: str) -> Any:
    """Convert the value of `-i`."""
    from multirun_core._model.files import FileResource

    parts = text.split(":")
    linkage: Any
    path, linkage, rename = text, "shared", None
    if len(parts) > 2 and parts[-2] in _LINKAGES:
        path, linkage, rename = ":".join(parts[:-2]), parts[-2], parts[-1]
    elif len(parts) > 1 and parts[-1] in _LINKAGES:
        path, linkage = ":".join(parts[:-1]), parts[-1]
    if not path or rename == "":
        raise UsageError(f"-i {text!r} must read PATH[:LINKAGE[:RENAME]], as in mesh.dat:link")
    return FileResource(path, linkage, rename)


def parse_env(texts: tuple[str, ...]) -> dict[str, str] | None:
    """Convert all `--env`."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, separator, _) in zip(texts, pairs, strict=True):
        if not separator or not name:
            raise UsageError(f"--env {text!r} must read NAME=VALUE")
    return {name: value for name, _, value in pairs} or None


def parse_runner_options(name: str, texts: tuple[str, ...]) -> dict[str, Any]:
    """Convert all `-R` for the runner of this name."""
    from multirun_core._options import parse_option_text
    from multirun_core._registry import Registry

    if not texts:
        return {}
    registry = Registry()
    registry.factory(name)  # says plainly what is wrong where it cannot be imported
    spec = registry.resolve(name)
    options: dict[str, Any] = {}
    for text in texts:
        key, value = parse_option_text(spec, text)
        if key in options:
            raise UsageError(f"-R {key} is given twice")
        options[key] = value
    return options
