"""What sseparse costs, beside others who do the same: `python -m benchmarks`.

fixtures: the streams. peers: the parsers. runs: how the times come about.
parsing, drivers, end_to_end, scale, conformance: what is measured. report: what is told.
"""
