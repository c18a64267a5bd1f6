"""What is unusual: pure rules over what the flow exporter saw in one tick, and what they have learned before."""
