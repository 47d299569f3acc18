"""What survives between tasks: exemplars, weights, and the state folder that holds both."""
