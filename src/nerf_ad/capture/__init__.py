"""A video of one person becomes a dataset, step by step."""
