"""The loop, the recipes, and the learner that goes from task to task."""
