"""`multirun completion`."""

from __future__ import annotations

import click

from multirun_core._cli.common import Command

_HELP = """Print what makes a shell complete commands, options, runners and their options.

\b
Examples, each for the next shells that you start:
  multirun completion bash > ~/.local/share/bash-completion/completions/multirun
  multirun completion zsh > ~/.zfunc/_multirun      # with fpath+=~/.zfunc before compinit
  multirun completion fish > ~/.config/fish/completions/multirun.fish

\b
For the present one only:
  eval "$(multirun completion bash)"
"""


@click.command("completion", cls=Command, help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion of a shell."""
    from click.shell_completion import ShellComplete, get_completion_class

    from multirun_core._cli.program import COMPLETE, program

    kind = get_completion_class(shell)
    if kind is None:
        raise AssertionError(f"click knows {shell}")
    # The method of the base: that of bash executes bash to look at its version.
    complete = kind(program, {}, "multirun", COMPLETE)
    click.echo(ShellComplete.source(complete))
    if shell == "zsh":
        # A file that is loaded from fpath completes at its first call only, and at the second
        # registers the function for the third.
        click.echo(f"compdef {complete.func_name} multirun")
    return 0
