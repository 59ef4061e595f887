"""The commands and their options, without importing torch; advkit.cli.NAME has the code that runs."""
