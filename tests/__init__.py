"""The suite; a package, since other libraries install a package of this name that would be found first."""
