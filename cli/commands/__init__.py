"""What is typed: each command with its options, without importing torch; what it does is `run` in advkit.cli.NAME."""
