"""Long work as generators, and the lane that runs them."""
