"""Runs forked from an interpreter that has imported what they need.

This is executed by the user's own interpreter, as a package of the name `warm_python`: it imports
the standard library, lightly, and itself, and nothing else of this project. `begin` is the script,
`loading` imports what is wanted, `randomness` knows what forks would draw alike, `forking` makes
the runs, `title` and `ending` see to how they are listed and how they end. `launcher/warm.py` is at
the other end of the connection.
"""
