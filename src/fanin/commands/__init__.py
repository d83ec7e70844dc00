"""The command line: one command a file, options once, one loader of targets."""
