"""Language models, local or behind an address, and the prompts that they are asked with."""
