"""What is kept between tasks: encoded exemplars, encoded weights, and the state of both."""
