"""Second stages: each reorders candidates and returns a Run."""
