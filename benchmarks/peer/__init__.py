"""The same training iteration in PyTorch, as fast as we can write it: what our speed is measured against.

It needs torch and NumPy and nothing of mpcc_jax, so that it can run in an environment of its own.
"""
