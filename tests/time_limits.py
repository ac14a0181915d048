"""How long a test may take, so that one that hangs ends and says where it stood."""

TIME_LIMITS = {"unit": 120, "property": 300, "integration": 600, "cluster": 900}
"""Seconds, by folder: several times what the longest test of it takes on two busy cores."""
