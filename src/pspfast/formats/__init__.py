"""The files that stages hand to each other, each with its reader beside its writer."""
