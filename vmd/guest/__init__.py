"""The simulated guest: small programs that live in guest RAM and speak on the serial line."""
