"""Is a difference between systems more than chance? Tests, corrections, effect sizes, power."""
