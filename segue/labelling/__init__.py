"""Labels from nothing, and labels by hand: what to label, and how it comes back."""
