"""What families are built from: the chain, mask heads, and small layers."""
