"""What the commands of the command line do; imported only when a command runs, so that help answers at once."""
