"""The paper's tables and figures again: runs, baselines and what they are compared with."""
