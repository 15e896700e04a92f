"""The commands that this package adds to `sseparse`, each a file of its own.

The entry points of the group "sseparse.commands" name them.
"""
