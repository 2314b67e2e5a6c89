"""Run directories and the inputs in them: check, keep one copy for the sweep, put in place."""
