"""Polyport: a small OpenStack-compatible cloud for network functions, in one process."""

__version__ = "0.1.0"
