"""The command line: one file a command; exit codes and argument parsing live here and nowhere else."""
