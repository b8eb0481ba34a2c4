"""The qtest socket: a line protocol on which a test pokes guest memory and moves guest time."""
