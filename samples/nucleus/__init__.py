"""The sample nucleus; see nucleus.py."""
