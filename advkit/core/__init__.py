"""What every attack is made of: see the module of each piece."""
