"""The paper's tables and figures: runs, baselines, and the comparison of both with what was published."""
