"""The benchmarks: what is measured, how, and what is told about it."""
