"""What a model has learned: clusters, and reconstructions."""
