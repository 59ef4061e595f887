"""`advkit visualize`: what its commands do, one a file; their options are in advkit.cli.commands.visualize."""
