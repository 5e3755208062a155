"""What a plan will take, before it runs: time, memory and disk of each stage, and how each number is known."""
