"""pspfast inside other libraries, a module each; nothing here is imported by the rest of pspfast.

A module raises ImportError, and says what to install, where its library is missing.
"""
