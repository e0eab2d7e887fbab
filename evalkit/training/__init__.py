"""Training rerankers: data with hard negatives, the leak check, objectives, the trainer."""
