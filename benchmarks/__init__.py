"""Benchmarks of sseparse and of other libraries: `python -m benchmarks`.

fixtures: the streams. peers: the parsers. runs: how times are measured.
parsing, adopters, drivers, end_to_end, scale, rules: the measurements.
clients, worker, server: what end_to_end measures, and with what.
report: tables, charts, README block.
"""
