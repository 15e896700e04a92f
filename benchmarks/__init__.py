"""Benchmarks of sseparse and of other libraries: `python -m benchmarks`.

fixtures: the streams. peers: the parsers. runs: how times are measured.
parsing, adopters, drivers, end_to_end, scale, rules: the measurements.
clients, worker, server: the clients of end_to_end, their processes and their server.
report: tables, charts, README block.
"""
