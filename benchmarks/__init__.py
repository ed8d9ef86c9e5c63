"""What the performance table in the README is made with."""
