"""Runs as jobs of a queue system: batching, one poller, verdicts on evidence, adoption."""

JOBS = "jobs"
"""In a sweep's directory: the folder with a directory for each submission."""
