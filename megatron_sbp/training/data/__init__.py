"""Training datasets: epochs, packed pairs, blends."""
