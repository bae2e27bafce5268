"""Benchmarks: `python -m bench`. Figures of one run on one machine; what is compared is compared within the run."""
