"""Algorithm 1: the state, its phases, one iteration, and the loop around them."""
