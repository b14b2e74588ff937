"""Vendors' programs behind one small runner: arguments in, text and exit status out."""
