"""How fast attacks and training are, beside what they cannot do without."""
