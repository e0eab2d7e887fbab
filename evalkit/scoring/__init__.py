"""Scoring pairs once: the store of what has been scored."""
