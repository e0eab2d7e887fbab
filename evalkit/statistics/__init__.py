"""How sure one can be that systems differ: paired tests, corrections, effect sizes, power."""
