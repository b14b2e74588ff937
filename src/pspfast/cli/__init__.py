"""The command line: options in, exit statuses out; nothing is computed here."""
