"""Speed and memory against named baselines; see README.md."""
