"""The sample balloon; see balloon.py."""
