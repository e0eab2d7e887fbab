"""First stages: each finds candidates in the whole corpus and returns a Run."""
