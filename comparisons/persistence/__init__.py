"""P1, persistence: whether simple information stays readable at every stage. Pure statistics; rules are in verdicts."""
