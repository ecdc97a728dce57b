"""Timings against the libraries of the field, in one interleaved run: `python -m benchmarks`."""
