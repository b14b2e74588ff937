"""Picture and label files to arrays, and where a picture is in a network's canvas."""
