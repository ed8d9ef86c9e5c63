"""The rooms of `benchmarks.gpu_suite`: configurations, programs, stages, the plan that runs them, and the report."""
