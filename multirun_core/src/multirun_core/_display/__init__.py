"""What people see while a sweep runs; it knows statistics, not sweeps."""
