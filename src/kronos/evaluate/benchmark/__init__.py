"""The rolling benchmark: a task is data, runs can be resumed, and tripwires run with it."""
