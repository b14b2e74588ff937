"""The vendors' tools: what pspfast calls them with and makes of what they do. None of them is here; see fakes.py."""
