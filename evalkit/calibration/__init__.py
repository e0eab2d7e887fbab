"""From scores to probabilities of relevance, how far they can be trusted, where to cut them."""
