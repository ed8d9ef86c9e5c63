"""What the tables of docs/performance.md are made with."""
