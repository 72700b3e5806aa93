"""Models: a causal LM as a policy, a classifier as scorer and critic, the frozen reference, loading and saving."""
