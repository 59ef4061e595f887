"""`advkit visualize`: the code of its commands, one a file; advkit.cli.commands.visualize has their options."""
