"""What ``make bench-full`` measures beside the rounds: latency, memory, and what time and size change."""
