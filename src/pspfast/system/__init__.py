"""What the machine gives: whole files, threads, processes, standard streams, libraries that may be missing."""
