"""A runner for multirun that has its runs carried out by a Dask cluster."""
