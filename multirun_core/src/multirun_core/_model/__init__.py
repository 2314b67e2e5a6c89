"""What a sweep is made of: parameters, commands, files, runs, statuses. No I/O beyond `stat`."""
