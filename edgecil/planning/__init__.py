"""What fits a byte budget, and what the planner proposes for it, before anything is trained."""
