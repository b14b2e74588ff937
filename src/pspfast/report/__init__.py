"""What a run found, as one page to look at: a single HTML file that needs no network and no scripts.

The page is rendered with jinja2, of the extra ``run``; nothing is imported until it is used.
"""
