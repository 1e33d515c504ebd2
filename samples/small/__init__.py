"""The sample small; see small.py."""
