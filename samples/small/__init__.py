"""The recipe of the small model; see everyday.py."""
