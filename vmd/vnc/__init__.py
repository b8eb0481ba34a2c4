"""The VNC server: the simulated screen for those who look, and their keys and mice."""
