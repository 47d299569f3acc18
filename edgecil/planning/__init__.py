"""What fits a byte budget: proposed before anything is trained, and chosen after every task."""
