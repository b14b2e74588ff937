"""What each step of a run does, as a function."""
