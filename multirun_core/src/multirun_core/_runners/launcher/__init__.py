"""The launcher: one small process a sweep that is the parent of all local runs.

`server` and what it imports (`starting`, `explain`, `tree`, `tags`, `wire`) run in that process,
as a package of the name `launcher`: they import the standard library, lightly, and each other, and
nothing else of this project. `client` is the driver's half; `threads` does without the process
where the system lacks what it needs.
"""
