"""The live bar, by rich: on a terminal, and in a notebook."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from multirun_core._display.pace import Pace, outlook
from multirun_core._display.stream import SafeStream, one_line

if TYPE_CHECKING:
    from multirun_core._model.status import RunStatistics

_MIN_BAR, _MAX_BAR, _MAX_LABEL = 6, 40, 30
_NOTEBOOK_WIDTH = 100


def layout(label: str, statistics: RunStatistics, pace: Pace, width: int) -> Table:
    """Lay one line out for a width: the bar shrinks first, then the least important parts go."""
    label = one_line(label)[:_MAX_LABEL]
    done = f"{statistics.complete_count}/{statistics.total_count}"
    # In the order in which they are given up, the last ones first.
    parts: list[tuple[str, str]] = [(done, "bold")]
    if statistics.failure_count:
        parts.append((f"{statistics.failure_count} failed", "red"))
    said = outlook(pace)
    parts += [(text, "cyan") for text in said[1:]]
    if statistics.running_count:
        parts.append((f"{statistics.running_count} running", ""))
    if statistics.skipped_count:
        parts.append((f"{statistics.skipped_count} skipped", "yellow"))
    parts += [(text, "dim") for text in said[:1]]
    room = width - 1
    shown: list[tuple[str, str]] = []
    for text, style in parts:
        if len(text) > room:
            break
        shown.append((text, style))
        room -= len(text) + 2
    grid = Table.grid(padding=(0, 2, 0, 0))
    cells: list[Any] = []
    if cell_len(label) + 2 + _MIN_BAR <= room:
        cells.append(Text(label))
        room -= cell_len(label) + 2
    if room >= _MIN_BAR:
        cells.append(
            ProgressBar(
                total=max(1, statistics.total_count),
                completed=statistics.complete_count,
                width=min(_MAX_BAR, room),
                complete_style="red" if statistics.failure_count else "green",
                finished_style="red" if statistics.failure_count else "green",
            )
        )
    cells += [Text(text, style=style, no_wrap=True) for text, style in shown]
    for _ in cells:
        grid.add_column(no_wrap=True)
    grid.add_row(*cells)
    return grid


class TerminalBar:
    """A bar in the last line of a terminal."""

    def __init__(self, stream: SafeStream, label: str, *, force: bool) -> None:
        self._label = label
        self._console = Console(
            file=cast(TextIO, stream),
            force_terminal=True if force else None,
            force_jupyter=False,
            soft_wrap=False,
            highlight=False,
            emoji=False,
            markup=False,
        )
        # Prints of the user's own program appear above the bar, but only where they would have
        # gone to the terminal anyway: what is piped stays piped.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
        )
        self._live.start()
        # Hidden, it would stay so in a terminal whose driver was killed.
        self._console.show_cursor(True)

    def draw(self, statistics: RunStatistics, pace: Pace) -> None:
        """Show this state."""
        line = layout(self._label, statistics, pace, self._console.width)
        self._live.update(line, refresh=True)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is, show the cursor again."""
        self._live.stop()


class NotebookBar:
    """A bar in the output of a notebook's cell, which is updated in place."""

    def __init__(self, stream: SafeStream, label: str) -> None:
        self._stream, self._label = stream, label
        self._handle: Any = None

    def draw(self, statistics: RunStatistics, pace: Pace) -> None:
        """Show this state."""
        import IPython.display

        console = Console(
            file=io.StringIO(),
            width=_NOTEBOOK_WIDTH,
            record=True,
            force_jupyter=False,
            force_terminal=True,
            color_system="truecolor",
        )
        console.print(layout(self._label, statistics, pace, _NOTEBOOK_WIDTH))
        html = console.export_html(
            inline_styles=True, clear=False, code_format='<pre style="margin:0">{code}</pre>'
        )
        bundle = {"text/plain": console.export_text().rstrip(), "text/html": html}
        show: Any = IPython.display.display  # pyright: ignore
        if self._handle is None:
            self._handle = show(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def say(self, text: str) -> None:
        """Print a line."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave the bar as it is."""


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False
