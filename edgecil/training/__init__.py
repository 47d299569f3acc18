"""The loop, and the learner that goes from task to task."""
