"""The checks of the conformance kit as the page about it lists them.

`python kit_list.py` puts the list in the page.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
KIT = ROOT / "multirun_core" / "src" / "multirun_core" / "testing"
PAGE = ROOT / "docs" / "plugins" / "conformance.md"
BEGIN, END = "<!-- checks -->\n", "<!-- end of checks -->\n"
# In the order in which `RunnerConformance` and `SchedulerConformance` have them, which is that of
# their base classes' bases.
MODULES = ("contract", "execution", "sweeping", "ending", "tidiness", "faults_driver")
MODULES += ("faults_tree", "faults_results", "faults_programs", "faults_disk")
MODULES += ("scheduler_commands", "scheduler_outputs", "scheduler_live")


def checks(kind: ast.ClassDef) -> list[str]:
    """Return the checks of a class, each with the capabilities that it requires."""
    found: list[str] = []
    for function in kind.body:
        if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
            continue
        required = [
            word.value
            for decorator in function.decorator_list
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "requires"
            for word in decorator.args
            if isinstance(word, ast.Constant)
        ]
        needs = f" ({', '.join(f'`{word}`' for word in required)})" if required else ""
        found.append(f"- {function.name.removeprefix('test_').replace('_', ' ')}{needs}\n")
    return found


def listing() -> str:
    """Return the list, with a heading for each class of checks."""
    text = ""
    for name in MODULES:
        for kind in ast.parse((KIT / f"{name}.py").read_text()).body:
            if isinstance(kind, ast.ClassDef) and (found := checks(kind)):
                promise = (ast.get_docstring(kind) or "").partition("\n")[0].rstrip(".")
                text += f"\n### {promise}\n\n" + "".join(found)
    return text + "\n"


def main() -> None:
    page = PAGE.read_text()
    both = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    PAGE.write_text(both.sub(lambda _: BEGIN + listing() + END, page))


if __name__ == "__main__":
    main()
