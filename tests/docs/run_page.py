"""Execute the code blocks of one page, in order, in the current directory.

Blocks of Python share one namespace; the commands of `console` blocks go to sh. An error shows the
page and its line. Usage: python run_page.py PAGE
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from pages import Block, blocks


def run_python(page: Path, block: Block, namespace: dict[str, Any]) -> str:
    printed = io.StringIO()
    code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    return printed.getvalue()


def run_console(page: Path, block: Block) -> str:
    """Run the lines that begin with `$ `; the other lines are what they print."""
    commands: list[tuple[str, list[str]]] = []
    for line in block.code.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands and commands[-1][0].endswith("\\"):
            commands[-1] = (commands[-1][0][:-1] + line.strip(), [])
        elif commands and line.strip():
            commands[-1][1].append(line)
    for number, (command, shown) in enumerate(commands, 1):
        expected = int(block.value or 0) if number == len(commands) and block.kind == "exit" else 0
        done = subprocess.run(  # noqa: S602 - a shell is what a console is
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
            check=False,
        )
        if done.returncode != expected:
            sys.exit(
                f"{page}:{block.line}: {command!r} ended with {done.returncode}, not {expected}:\n"
                f"{done.stdout}"
            )
        compare(page, block, shown, done.stdout)
    return ""


def compare(page: Path, block: Block, shown: list[str], printed: str) -> None:
    """Check that what the page shows was printed, line by line, blanks aside."""
    if not shown:
        return
    parts = [
        ".*" if line.strip() == "…" else
        r"\s*" + r"\s+".join(
            "[^\n]*".join(re.escape(part) for part in word.split("…")) for word in line.split()
        )
        + r"\s*?\n"
        for line in shown
        if line.strip()
    ]  # fmt: skip
    lines = "".join(line + "\n" for line in printed.splitlines() if line.strip())
    if not re.fullmatch("".join(parts), lines, re.DOTALL):
        sys.exit(
            f"{page}:{block.line}: the page shows\n{chr(10).join(shown)}\n\nbut it prints\n{lines}"
        )


def main() -> None:
    page = Path(sys.argv[1])
    sys.path.insert(0, str(Path.cwd()))  # as in a session of Python
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        match block.kind, block.language:
            case "not run", _:
                continue
            case "file", _:
                Path(block.value or "").write_text(block.code)
            case "output", _:
                compare(page, block, block.code.splitlines(), printed)
            case _, "python":
                printed = run_python(page, block, namespace)
            case _, "console":
                printed = run_console(page, block)
            case _:
                continue


if __name__ == "__main__":
    main()
