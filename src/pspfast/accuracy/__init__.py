"""Two evaluations against each other."""
