"""What the decoder costs, beside other parsers: `python -m benchmarks`."""
